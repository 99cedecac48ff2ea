"""Running planners on many tasks, and saying honestly what the figures are worth.

`evaluate` runs a `RunSpec` into a folder that can be killed and resumed; true scores are asked here
and nowhere else; `rescore` tries another selector on the stored candidates; `compare` puts
evaluations with other policies or reward models side by side. The definition of every figure stands
in `intervals`, `quality` and `summary`.
"""

from armap_agents.evaluation.runner import Progress, RunFunction, evaluate, rescore
from armap_agents.evaluation.selectors import Cosine, register_selector
from armap_agents.evaluation.spec import RunSpec, read_spec
from armap_agents.evaluation.summary import Summary, compare

__all__ = [
    "Cosine",
    "Progress",
    "RunFunction",
    "RunSpec",
    "Summary",
    "compare",
    "evaluate",
    "read_spec",
    "register_selector",
    "rescore",
]
