"""Selection rules: how much a child is wanted, as the value of its edge plus a bonus.

Each rule also says what belongs to it: the discount of a return per step, whether finished subtrees
are closed, and what stands in for the value of a child that nobody has evaluated. A rule of your
own is one more `Rule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Literal

Bonus = Callable[[float, int, float, int], float]
"""(exploration constant, visits of the parent, prior of the child, visits of the child) → bonus;
visits include pending ones."""


@dataclass(frozen=True)
class Rule:
    """How children are compared.

    Attributes:
        name: As in a planner's context.
        exploration: Factor c of the bonus.
        bonus: See `Bonus`.
        unvisited: Value of a child without evaluations: 0, its parent's, or +∞.
        discount: γ, by which a return shrinks with each step up.
        closes: Whether a subtree in which everything is finished is left alone from then on.
    """

    name: str
    exploration: float
    bonus: Bonus
    unvisited: Literal["zero", "parent", "infinite"]
    discount: float = 1.0
    closes: bool = True


def _ucb1(c: float, parent: int, prior: float, child: int) -> float:
    return c * sqrt(log(max(parent, 1)) / child) if child else inf


def _predictor(c: float, parent: int, prior: float, child: int) -> float:
    return c * prior * sqrt(max(parent, 1)) / (1 + child)


def _paper(c: float, parent: int, prior: float, child: int) -> float:
    return c * sqrt(log(1 + parent)) / (1 + child)


def uct(exploration: float = sqrt(2)) -> Rule:
    """UCB1 on trees, Q + c·√(ln N / n) (Kocsis & Szepesvári 2006); the unvisited come first."""
    return Rule("uct", exploration, _ucb1, "infinite")


def puct(exploration: float = 1.25) -> Rule:
    """Predictor UCT, Q + c·P·√N / (1 + n) (Silver et al. 2017), with P the policy's prior.

    An unvisited child counts as much as its parent: it is tried where the policy believes in it or
    where its siblings disappoint.
    """
    return Rule("puct", exploration, _predictor, "parent")


def armap(exploration: float = 6.36396) -> Rule:
    """The paper's rule, max return + c·√(ln N) / (1 + n) (arXiv 2502.12130; N starts at 1).

    Returns are discounted by 0.9 a step, an unvisited child is worth 0, a finished child is
    selected again and evaluated at no cost, and ties go to the first proposal.
    """
    return Rule("armap", exploration, _paper, "zero", discount=0.9, closes=False)


RULES: dict[str, Callable[..., Rule]] = {"uct": uct, "puct": puct, "armap": armap}
"""Every rule by its name; call it with an exploration constant, or without for its default."""
