"""Selectors: rules that pick one of the stored candidates of a task.

A selector gives each candidate a value and the highest wins; where several share the highest, the
selector is worth the mean of their true scores, so that no order of the candidates helps it. The
trivial ones here are what a reward model has to beat. None of them starts an environment or a
model; selectors that need one (another reward model, a judge prompt, an untrained encoder, a rule
of the environment that looks at observations) keep the `RewardModel` protocol and come in through
`armap_agents.evaluation.rescore`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armap_agents.evaluation.results import Candidate
from armap_agents.trajectory import Status, Trajectory

Floats = NDArray[np.float64]

REWARD = "reward_model"
RESCORED = "reward"
"""``reward:NAME`` is what `rescore` calls the reward model NAME."""
RANDOM = "random"
SURFACE = "surface_model"
UNTRAINED = ("cosine", "judge")
"""Names under which `rescore` stores them; they count among the trivial selectors."""

FOLDS = 5
RIDGE = 1.0
"""Weight of the squared norm in the surface model's loss, in episodes of standardised features."""


@dataclass(frozen=True)
class Draw:
    """The candidates that one planner run chose from.

    Attributes:
        task: Task id.
        seed: Seed of the run.
        instruction: What the candidates were judged against.
        candidates: At least one.
        group: Tasks of one group are drawn together in intervals, and never fitted on one another;
            empty for a task by itself.
    """

    task: str
    seed: int
    instruction: str
    candidates: tuple[Candidate, ...]
    group: str = ""

    @property
    def unit(self) -> str:
        """What intervals draw: the group, else the task."""
        return self.group or self.task

    @property
    def true_scores(self) -> Floats:
        """``(candidates,)``."""
        return np.array([candidate.true_score for candidate in self.candidates])


Rule = Callable[[str, Candidate], float]
"""A candidate's value, from the instruction and the candidate."""


def shortest(instruction: str, candidate: Candidate) -> float:
    """Fewer actions are better."""
    return -float(len(candidate.actions))


def longest(instruction: str, candidate: Candidate) -> float:
    """More actions are better."""
    return float(len(candidate.actions))


def ended(instruction: str, candidate: Candidate) -> float:
    """Whether the environment ended the episode, rather than a limit."""
    return float(candidate.status is Status.ENDED)


def word_overlap(instruction: str, candidate: Candidate) -> float:
    """Share of the instruction's distinct words that the actions contain."""
    asked = _words(instruction)
    return len(asked & _words(" ".join(candidate.actions))) / len(asked) if asked else 0.0


def says_24(instruction: str, candidate: Candidate) -> float:
    """Whether the last action states 24 as its result."""
    last = candidate.actions[-1] if candidate.actions else ""
    return float(re.search(r"=\s*24\s*$", last) is not None)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


_rules: dict[str, Rule] = {
    "shortest": shortest,
    "longest": longest,
    "ended": ended,
    "word_overlap": word_overlap,
}
_environment_rules: dict[str, dict[str, Rule]] = {"game24": {"says_24": says_24}}


def register_selector(environment: str, name: str, rule: Rule) -> None:
    """List `rule` among the trivial selectors of every evaluation on `environment`."""
    _environment_rules.setdefault(environment, {})[name] = rule


def trivial_rules(environment: str) -> dict[str, Rule]:
    """Return the rules for an environment's candidates by name."""
    return _rules | _environment_rules.get(environment, {})


def selector_values(
    environment: str, draws: Sequence[Draw], rescored: Mapping[str, list[Floats]] | None = None
) -> dict[str, list[Floats]]:
    """Return every selector's value of every candidate, one ``(candidates,)`` array per draw.

    A planner sees that a rollout failed and would never answer with it: failed candidates have
    value −∞. `random` alone draws among all of them, since it stands for one sampled rollout.

    Args:
        environment: Registered name.
        draws: What was chosen from.
        rescored: Values that came in through `rescore`, by selector; the trivial ones among them
            are features of the surface model too.
    """
    rules = trivial_rules(environment)
    values: dict[str, list[Floats]] = {RANDOM: [np.zeros(len(d.candidates)) for d in draws]}
    for name, rule in rules.items():
        values[name] = [_apply(rule, draw) for draw in draws]
    values |= rescored or {}
    features = [name for name in values if name not in (RANDOM, "shortest") and not learned(name)]
    values[SURFACE] = surface_model([values[name] for name in features], draws)
    if any(candidate.score is not None for draw in draws for candidate in draw.candidates):
        values[REWARD] = [_scores(draw, [c.score for c in draw.candidates]) for draw in draws]
    return values


def _apply(rule: Rule, draw: Draw) -> Floats:
    return _scores(draw, [rule(draw.instruction, candidate) for candidate in draw.candidates])


def _scores(draw: Draw, scores: Sequence[float | None]) -> Floats:
    return np.array(
        [
            -np.inf if candidate.failed or score is None else score
            for candidate, score in zip(draw.candidates, scores, strict=True)
        ]
    )


def expected_score(values: Floats, true_scores: Floats) -> float:
    """Return the mean true score of the candidates that share the highest value."""
    return float(true_scores[values == values.max()].mean())


def learned(selector: str) -> bool:
    """Return whether a selector is a reward model rather than a trivial rule."""
    return selector == REWARD or selector.startswith(f"{RESCORED}:")


def surface_model(rules: Sequence[Sequence[Floats]], draws: Sequence[Draw]) -> list[Floats]:
    """Return the values of a logistic model of the true score on the trivial rules' values.

    The model that values a task's candidates is fitted on the other folds' tasks only (5 folds,
    tasks or groups of them in order of first appearance). Unlike the other trivial selectors it
    learns from true scores, of other tasks.

    Args:
        rules: Each rule's values, ``(candidates,)`` per draw; `shortest` is `longest` backwards and
            no new feature.
        draws: What they value.
    """
    features = [
        np.array([np.where(np.isfinite(rule[k]), rule[k], 0.0) for rule in rules]).T
        for k in range(len(draws))
    ]
    units = {unit: k for k, unit in enumerate(dict.fromkeys(draw.unit for draw in draws))}
    fold = [units[draw.unit] % FOLDS for draw in draws]
    values: list[Floats] = [np.zeros(len(draw.candidates)) for draw in draws]
    for held_out in set(fold):
        others = [k for k in range(len(draws)) if fold[k] != held_out]
        if not others:
            continue
        kept = np.concatenate([[not c.failed for c in draws[k].candidates] for k in others])
        if not kept.any():
            continue
        x = np.concatenate([features[k] for k in others])[kept]
        y = np.concatenate([draws[k].true_scores for k in others])[kept]
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale < 1e-12] = np.inf  # a feature that never varied says nothing
        weights = fit_logistic((x - mean) / scale, y)
        for k in range(len(draws)):
            if fold[k] == held_out:
                values[k] = ((features[k] - mean) / scale) @ weights
    return [_scores(draw, list(value)) for draw, value in zip(draws, values, strict=True)]


def fit_logistic(x: Floats, y: Floats, iterations: int = 50) -> Floats:
    """Fit a logistic regression with soft targets by Newton's method, with ridge and intercept.

    Minimises Σ cross-entropy(σ(x·w + b), y) + ½·RIDGE·|w|² + ½·10⁻⁶·b²; the last term keeps the
    intercept finite where all targets are 0, or all 1. Hastie, Tibshirani & Friedman, *The Elements
    of Statistical Learning* (2009), section 4.4.1.

    Args:
        x: ``(episodes, features)``, standardised.
        y: ``(episodes,)``, from 0 to 1.
        iterations: At most.

    Returns:
        ``(features,)`` weights; the intercept is left out, because it moves no choice.
    """
    design = np.column_stack([x, np.ones(len(x))])
    penalty = np.append(np.full(x.shape[1], RIDGE), 1e-6)
    weights = np.zeros(design.shape[1])
    for _ in range(iterations):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (p - y) + penalty * weights
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weights -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    fitted: Floats = weights[:-1]
    return fitted


class Cosine:
    """Untrained similarity of instruction and episode, as a reward model for `rescore`.

    Args:
        encode: Texts to vectors ``(texts, width)``; it is called in a thread.
        fingerprint: Names the encoder and its version.
    """

    def __init__(self, encode: Callable[[list[str]], Floats], fingerprint: str) -> None:
        self._encode = encode
        self._fingerprint = f"cosine:{fingerprint}"

    @property
    def fingerprint(self) -> str:
        """The encoder's, marked as an untrained cosine."""
        return self._fingerprint

    async def ascore(self, trajectories: list[Trajectory]) -> list[float]:
        """Score each trajectory with the cosine of its instruction and its actions and end."""
        if not trajectories:
            return []
        asked = [trajectory.instruction for trajectory in trajectories]
        acted = ["\n".join([*t.actions, t.last.text]) for t in trajectories]
        vectors = np.asarray(await asyncio.to_thread(self._encode, asked + acted), float)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        half = len(trajectories)
        return [float(a @ b) for a, b in zip(vectors[:half], vectors[half:], strict=True)]
