"""A run's journal, made visible: in the terminal, as one offline page, on the LangGraph server.

`document` turns the journal into one plain-JSON document (`steps` holds what was seen, `tree` and
`attempts` how the run went on); `terminal`, `page` and `server` show it. All text in a document
has gone through `text.presentable`, because actions and observations come from models and the web.
"""

from armap_agents.viewer.document import read_document
from armap_agents.viewer.page import render_page
from armap_agents.viewer.runs import find_run
from armap_agents.viewer.terminal import print_trace

__all__ = ["find_run", "print_trace", "read_document", "render_page"]
