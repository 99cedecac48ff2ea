"""The shop as a web site: the official routes and reading hooks, with pages of its own."""

from armap_agents.tools.webshop.site.app import site
from armap_agents.tools.webshop.site.serve import Site, open_site

__all__ = ["Site", "open_site", "site"]
