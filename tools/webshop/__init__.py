"""WebShop: find and buy what an instruction asks for, in a shop of up to a million products.

`environment` is the Environment. `state` and `pages` say what a shop is like, `shop` has one to
hand with its `catalogue`, `goals`, search `index` and `reward`; `site` and `browser` make it real.
`embedded` is a small shop of our own, `tool` the LangChain tools.
"""

from armap_agents.tools.webshop.environment import WebShop

__all__ = ["WebShop"]
