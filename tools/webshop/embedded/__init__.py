"""A small invented shop that comes with the package, so that WebShop runs with nothing to download.

`write_embedded` writes it in the official file formats, `generate` makes up its products out of the
words in ``shop.toml``, `pictures` draws them.
"""

from armap_agents.tools.webshop.embedded.generate import write_embedded

__all__ = ["write_embedded"]
