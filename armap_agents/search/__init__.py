"""The search tree and its arithmetic: pure functions over plain JSON records, no I/O.

A tree is a dict of `Node` records under path-like ids: the root is ``0``, the k-th proposal made at
``0.2`` is ``0.2.k``. `new_tree` makes one, `expand` adds what a policy proposed, `select` walks
down to the leaves that a `Rule` wants evaluated, `backup` takes in what their evaluations brought,
`best` names the node of the best finished rollout, `reopen` lets failed nodes be tried again. No
function changes its arguments; `changes`
tells two trees apart, for a checkpoint that stores what is new. Definitions and sources stand with
the functions: `rules` has the selection rules, `values` what a node is worth.
"""

from armap_agents.search.rules import RULES, Rule, armap, puct, uct
from armap_agents.search.selection import Child, Level, Pick, select
from armap_agents.search.tree import ROOT, Node, Tree, changes, children, expand, new_tree, reopen
from armap_agents.search.values import Evaluation, backup, best

__all__ = [
    "ROOT",
    "RULES",
    "Child",
    "Evaluation",
    "Level",
    "Node",
    "Pick",
    "Rule",
    "Tree",
    "armap",
    "backup",
    "best",
    "changes",
    "children",
    "expand",
    "new_tree",
    "puct",
    "reopen",
    "select",
    "uct",
]
