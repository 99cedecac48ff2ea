"""The state of planners that keep a tree: compact records, payloads outside.

The tree is in a `DeltaChannel`, so that a checkpoint stores what its super-step changed and not the
whole tree each time. Observations, actions in full and rollouts stand in the journal under the ids
of their nodes: ``rollout/<node>`` is the trajectory from the root through the node, of which the
first steps are the node's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from langgraph.channels import DeltaChannel
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from armap_agents.graphs.nodes import PlannerInput
from armap_agents.search import ROOT, Node
from armap_agents.trace import Journal
from armap_agents.trajectory import Observation, Task, Trajectory

Outcome = dict[str, Any]
"""What an evaluated node came to: node, status, trajectory (id), error, usage."""


def grow(tree: dict[str, Node], patches: Sequence[dict[str, Node]]) -> dict[str, Node]:
    """Reducer: the tree with the patches' nodes in place of its own."""
    grown = dict(tree)
    for patch in patches:
        grown.update(patch)
    return grown


def gather(old: list[Outcome] | None, new: list[Outcome] | None) -> list[Outcome]:
    """Reducer: an iteration's outcomes in the tree's order; None empties the list."""
    if new is None:
        return []
    return sorted([*(old or []), *new], key=lambda outcome: [*map(int, outcome["node"].split("."))])


class SearchState(PlannerInput):
    """What a search works on and returns; every value is pure JSON.

    Attributes:
        run: Name of the run; its folder holds the journal.
        iteration: Number of the iteration under way, or of those that are done.
        tree: An `armap_agents.search.Tree`.
        left: What the iteration under way may use of the budgets: rollouts, completions. None
            after the last one of a replay.
        selected: Leaves picked in this iteration, to be evaluated or to be expanded.
        outcomes: What they came to.
        rewards: By node: score, objective, value (of the prefix), result (of the rollout).
        best: The best finished trajectory so far: node, trajectory (id), score, objective.
        spent: Costs so far; `Usage`, with `seconds` of wall time.
        granted: Rollouts in all that a person asked for; every other budget is lifted then.
        clock: When the iteration began, on the clock of the process that it names.
        stopped: Why the search ended; None while it goes on.
        tree_view: The tree in a few lines.
        trajectory: The answer.
        score: The reward model's score of the answer.
        candidates: Every rollout: index, node, trajectory, usage, score, objective.
        usage: What the run cost.
    """

    run: str
    iteration: int
    tree: Annotated[dict[str, Node], DeltaChannel(grow, snapshot_frequency=50)]
    left: dict[str, int | None] | None
    selected: list[str]
    outcomes: Annotated[list[Outcome], gather]
    rewards: dict[str, dict[str, Any]]
    best: dict[str, Any] | None
    spent: dict[str, Any]
    granted: int | None
    clock: list[Any]
    stopped: str | None
    tree_view: str
    trajectory: dict[str, Any]
    score: float | None
    candidates: list[dict[str, Any]]
    usage: dict[str, Any]


class NodeJob(TypedDict):
    """Payload of one `Send` to the rollout node."""

    job: dict[str, Any]


def depth_of(node: str) -> int:
    """Return how many actions lead from the root to a node."""
    return node.count(".")


def prefix_of(journal: Journal, task: Task, node: str) -> Trajectory:
    """Return the state of an evaluated node as a trajectory."""
    if node == ROOT:
        opening = journal.find("opening")
        assert opening is not None
        observation = Observation.from_dict(opening["observation"], journal.blob)
        return Trajectory(task, opening["instruction"], observation)
    rollout = journal.find(f"rollout/{node}")
    assert rollout is not None
    return journal.load(rollout["trajectory"]).prefix(depth_of(node))


def proposal_of(journal: Journal, node: str) -> tuple[str, str | None]:
    """Return the whole action that leads to a proposed node, and the thought before it."""
    parent, _, k = node.rpartition(".")
    proposals = journal.find(f"expand/{parent}")
    assert proposals is not None
    item = proposals["items"][int(k)]
    return item["action"], item.get("thought")
