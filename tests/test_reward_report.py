"""The reward report on hand-made data, where every figure is known beforehand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import write_data
from typer.testing import CliRunner

from armap_agents import (
    FunctionReward,
    Observation,
    Status,
    Step,
    Task,
    Trajectory,
    register_reward,
)
from armap_agents.cli.reward_report import report as report_command
from armap_agents.errors import ConfigurationError
from armap_agents.reward.calibration import Calibration
from armap_agents.reward.render import Rendering
from armap_agents.training.pairs import LESS
from armap_agents.training.records import PAIRS, Dataset, Pair, PrefixValue
from armap_agents.training.report_accuracy import accuracies, accuracy_of, familiarity, right, sides
from armap_agents.training.report_calibration import auroc, singles, value_quality
from armap_agents.training.report_controls import (
    coverage,
    easy_share,
    shuffled_instructions,
    surface_margins,
)
from armap_agents.training.reward_report import Training, reward_report, training_of
from armap_agents.training.split import draw_split

LETTERS = "abcdefgh"


def box(task: int, letter: str, steps: int = 2, environment: str = "boxes") -> Trajectory:
    """Look around, then open a box: number 3 lies in box d, and no word gives that away."""
    asked = f"Bring number {task % len(LETTERS)}."
    looks = [Step("look around", Observation("There are boxes.")) for _ in range(steps - 1)]
    opened = Step(f"open box {letter}", Observation("It is open."), done=True)
    where = Task(f"t{task}", environment)
    opening = Observation("You are in a room.")
    return Trajectory(where, asked, opening, (*looks, opened), Status.ENDED)


def boxes(
    tasks: int = 60, environment: str = "boxes", *, longer: int = 0, depth: int | None = None
) -> Dataset:
    """A pair a task; the worse side opens the next box, after `longer` further looks."""
    data = Dataset()
    for k in range(tasks):
        good = box(k, LETTERS[k % 8], environment=environment)
        bad = box(k, LETTERS[(k + 1) % 8], 2 + longer, environment=environment)
        data.trajectories |= {t.id: t for t in (good, bad)}
        pair = Pair(
            environment,
            good.instruction,
            good.id,
            len(good) if depth is None else depth,
            bad.id,
            len(bad) if depth is None else depth,
            f"t{k}",
            "llm" if k % 4 == 0 else "perturb",
            "wrong box" if k % 2 else "",
        )
        data.pairs.append(pair)
    return data


def knows(trajectory: Trajectory) -> float:
    """Whether the box is the one that holds the number."""
    number = "".join(filter(str.isdecimal, trajectory.instruction))
    return float(bool(number) and trajectory.actions[-1] == f"open box {LETTERS[int(number)]}")


def luck(trajectory: Trajectory) -> float:
    text = f"{trajectory.task.id} {trajectory.actions} {trajectory.instruction}"
    return float(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))


PERFECT = FunctionReward(knows, "perfect")
RANDOM = FunctionReward(luck, "random")
SHORT = FunctionReward(lambda t: -len(t), "short")


# --- accuracy and controls ------------------------------------------------------------------------


async def test_a_model_that_reads_the_instruction_is_told_from_one_that_is_lucky() -> None:
    found = (await reward_report(PERFECT, boxes()))["environments"]["boxes"]
    accuracy, controls = found["accuracy"], found["controls"]
    assert accuracy["all"] == {"accuracy": 1.0, "ci95": (1.0, 1.0), "pairs": 60, "tasks": 60}
    assert controls["without"]["accuracy"] == 0.5
    assert controls["shuffled"] is not None
    assert controls["shuffled"]["accuracy"] is not None
    assert controls["shuffled"]["accuracy"] < 0.6
    assert controls["surface"]["accuracy"] == 0.5  # nothing on the surface differs
    assert controls["easy"] == 0
    lucky = (await reward_report(RANDOM, boxes(400)))["environments"]["boxes"]
    assert lucky["accuracy"]["all"]["accuracy"] == pytest.approx(0.5, abs=0.08)
    interval = lucky["accuracy"]["all"]["ci95"]
    assert interval is not None
    assert interval[0] < 0.5 < interval[1]


async def test_a_model_that_counts_steps_is_caught_by_the_controls() -> None:
    found = (await reward_report(SHORT, boxes(longer=1)))["environments"]["boxes"]
    controls = found["controls"]
    assert found["accuracy"]["all"]["accuracy"] == 1.0
    assert controls["without"]["accuracy"] == 1.0
    assert controls["shuffled"] is not None
    assert controls["shuffled"]["accuracy"] == 1.0
    assert controls["surface"]["accuracy"] == 1.0
    assert controls["rules"]["shortest"]["accuracy"] == 1.0
    assert controls["rules"]["ended"]["accuracy"] == 0.5
    assert controls["easy"] == 1.0


async def test_accuracy_is_broken_down_by_what_the_pairs_are() -> None:
    data = boxes(40)
    for pair in boxes(40, depth=1).pairs:  # one look around: nobody can tell
        data.pairs.append(replace(pair, source="search-environment", label=0.8))
    accuracy = (await reward_report(PERFECT, data))["environments"]["boxes"]["accuracy"]
    assert accuracy["all"]["accuracy"] == 0.75
    by = {
        name: {k: (a["accuracy"], a["pairs"]) for k, a in accuracy[name].items()}
        for name in ("depth", "source", "kind", "ending")
    }
    assert by["depth"] == {"1": (0.5, 40), "2": (1.0, 40)}
    assert by["source"] == {"llm": (1, 10), "perturb": (1, 30), "search-environment": (0.5, 40)}
    assert by["kind"] == {"unnamed": (0.75, 40), "wrong box": (0.75, 40)}
    assert by["ending"] == {"full": (1.0, 40), "partial": (0.5, 40)}
    assert accuracy["states"] is None
    assert accuracy["states_reason"]


async def test_the_same_episode_under_another_instruction_needs_the_instruction() -> None:
    data = boxes()
    data.pairs = [
        replace(
            pair,
            rejected=pair.chosen,
            rejected_instruction=f"Bring number {(int(pair.task[1:]) + 3) % 8}.",
        )
        for pair in data.pairs
    ]
    found = (await reward_report(PERFECT, data))["environments"]["boxes"]
    assert found["accuracy"]["all"]["accuracy"] == 1.0
    assert found["controls"]["without"]["accuracy"] == 0.5
    assert found["controls"]["shuffled"] is not None
    assert found["controls"]["shuffled"]["accuracy"] == 0.5


async def test_environments_are_reported_apart() -> None:
    data, other = boxes(20), boxes(20, "chests", longer=1)
    data.trajectories |= other.trajectories
    data.pairs += other.pairs
    found = (await reward_report(SHORT, data))["environments"]
    assert {name: part["accuracy"]["all"]["accuracy"] for name, part in found.items()} == {
        "boxes": 0.5,
        "chests": 1.0,
    }


async def test_one_instruction_for_all_cannot_be_shuffled() -> None:
    data = boxes(8)
    data.pairs = [replace(pair, instruction="Bring number 1.") for pair in data.pairs]
    controls = (await reward_report(PERFECT, data))["environments"]["boxes"]["controls"]
    assert controls["shuffled"] is None
    assert controls["shuffled_reason"]


def test_a_shuffled_instruction_is_another_tasks() -> None:
    pairs = boxes(50).pairs
    for pair, both in zip(pairs, shuffled_instructions(pairs, Rendering()), strict=True):
        assert both[0].instruction == both[1].instruction != pair.instruction
        owners = {other.task for other in pairs if other.instruction == both[0].instruction}
        assert pair.task not in owners
        assert (both[0].trajectory, both[0].steps) == (pair.chosen, pair.chosen_steps)


def test_instructions_that_read_alike_cannot_be_shuffled() -> None:
    numbers_alike = Rendering(shorten=((r"\d+", "x"),))
    assert not shuffled_instructions(boxes(50).pairs, numbers_alike)


@given(st.lists(st.tuples(st.integers(-2, 2), st.sampled_from([0.1, 0.9, 1.0]))))
def test_right_wrong_and_ties(told: list[tuple[int, float]]) -> None:
    hits = right(np.array([m for m, _ in told], float), np.array([y for _, y in told], float))
    for hit, (margin, label) in zip(hits, told, strict=True):
        agrees = (margin > 0) == (label > 0.5)
        assert hit == (0.5 if margin == 0 else float(agrees))


def test_pairs_of_one_task_are_no_independent_evidence() -> None:
    hits, tasks = np.array([1.0, 0, 1, 1, 0, 1, 1, 0]), [f"t{k}" for k in range(8)]
    once = accuracy_of(hits, tasks)
    often = accuracy_of(np.repeat(hits, 9), list(np.repeat(tasks, 9)))
    assert once["ci95"] == often["ci95"]
    assert (once["pairs"], often["pairs"]) == (8, 72)
    assert accuracy_of(hits, ["t0"] * 8)["ci95"] is None


def test_the_surface_model_learns_from_other_tasks_alone() -> None:
    # Within every task the feature tells the labels apart, in a direction of the task's own.
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], 200)
    margins = surface_margins(sign[:, None], np.ones(200), [f"t{k}" for k in range(200)])
    assert np.mean(right(margins, np.ones(200))) < 0.65
    same = surface_margins(np.ones((10, 1)), np.ones(10), ["t0"] * 10)
    assert not same.any()


def test_easy_pairs_are_those_that_the_rules_agree_on() -> None:
    directed = np.array([[1, 1, 0], [1, 0, 0], [1, 1, -1], [2, 1, 3], [0, 0, 0]], float)
    assert easy_share(directed, np.ones(5)) == 2 / 5
    assert easy_share(directed[:, :1], np.ones(5)) == 4 / 5
    assert easy_share(np.zeros((3, 2)), np.ones(3)) == 0


def test_coverage_counts_the_content_words_that_were_named() -> None:
    seen = Step("take the kettle", Observation("You have 3 cups."))
    asked = "Put the kettle and 3 spoons there"  # kettle, 3, spoons, there
    trajectory = Trajectory(Task("t", "e"), asked, Observation("A kitchen."), (seen,))
    assert coverage(trajectory) == 2 / 4
    assert coverage(replace(trajectory, instruction="go on")) == 0


# --- which tasks, which states --------------------------------------------------------------------


async def test_the_report_is_on_the_tasks_that_training_did_not_see() -> None:
    data = boxes(100)
    keys = [("boxes", f"t{k}") for k in range(100)]
    training = Training(frozenset(data.pairs[:70]), frozenset(keys[:80]))
    found = await reward_report(PERFECT, data, training)
    assert found["environments"]["boxes"]["tasks"] == 20
    assert "held out" in found["tasks"]
    states = found["environments"]["boxes"]["accuracy"]["states"]
    assert states is not None
    assert {name: a["pairs"] for name, a in states.items()} == {"seen": 20}
    whole = await reward_report(PERFECT, data, training, everything=True)
    assert whole["environments"]["boxes"]["tasks"] == 100
    with pytest.raises(ConfigurationError, match="--all"):
        await reward_report(PERFECT, data, Training(frozenset(data.pairs), frozenset(keys)))


def test_a_models_folder_says_what_it_was_trained_on(tmp_path: Path) -> None:
    data = boxes(50)
    assert training_of(tmp_path, data) is None
    (tmp_path / "training.json").write_text(json.dumps({"sources": ["llm"]}), "utf-8")
    split = draw_split(data, 0.2, 0.5, 3)
    (tmp_path / "split.json").write_text(split.to_json(), "utf-8")
    found = training_of(tmp_path, data)
    assert found is not None
    assert found.tasks == split.learned
    assert found.pairs == {
        pair for pair in data.pairs if pair.source == "llm" and ("boxes", pair.task) in found.tasks
    }
    more = training_of(tmp_path, boxes(80))  # what came later is new to the model
    assert more == found
    (tmp_path / "split.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigurationError, match=r"damaged training.json or split.json"):
        training_of(tmp_path, data)


def test_a_state_is_seen_where_it_stands_in_a_training_pair() -> None:
    data = boxes(8)  # task k opens boxes k and k + 1
    trained, asked = data.pairs[:3], data.pairs[3:]
    found = familiarity(data, asked, trained, Rendering())
    # Training opened a, b, c, d: of the rest, task 3 opens d and e, task 7 opens h and a.
    assert found == ["half", "unseen", "unseen", "unseen", "half"]
    partial = [replace(pair, chosen_steps=1, rejected_steps=1) for pair in asked]
    assert set(familiarity(data, partial, trained, Rendering())) == {"seen"}  # a look around
    newest = Rendering(history="newest")
    assert set(familiarity(data, asked, trained, newest)) == {"seen"}  # "It is open."


async def test_a_limit_leaves_some_out_and_says_how_many() -> None:
    data = boxes(50)
    found = (await reward_report(PERFECT, data, limit=20))["environments"]["boxes"]
    assert (found["pairs"], found["left_out"]) == (20, 30)


# --- values and calibration -----------------------------------------------------------------------


class Valuing(FunctionReward):
    """A reward model with values and a calibration."""

    def __init__(
        self,
        score: Callable[[Trajectory], float],
        value: Callable[[Trajectory], float],
        calibration: Calibration,
    ) -> None:
        super().__init__(score, "valuing")
        self._value = value
        self.probability = calibration.probability
        self.preference = calibration.preference

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        return [self._value(prefix) for prefix in prefixes]


def valued(data: Dataset, chance: Callable[[int, int], float]) -> Dataset:
    """Give each prefix of each task's better episode a return."""
    for k, pair in enumerate(data.pairs):
        for steps in (0, 1):
            done = round(20 * chance(k, steps))
            value = PrefixValue("boxes", pair.instruction, pair.chosen, steps, 20, done, pair.task)
            data.values.append(value)
    return data


async def test_values_that_know_only_the_depth_are_seen_through() -> None:
    # After one step 3 of 4 prefixes are good, at the start 1 of 4.
    data = valued(boxes(200), lambda k, steps: float((k % 4 == 0) != bool(steps)))
    calibration = Calibration(1.0, 1.0, 0.0, 0.5, 10)
    model = Valuing(knows, lambda t: 0.75 if len(t) else 0.25, calibration)
    found = (await reward_report(model, data))["environments"]["boxes"]
    values = found["values"]["thresholds"]["half or more"]
    assert values["within"]["value"] == 0.5
    assert values["pooled"]["value"] == pytest.approx(0.75)
    assert (values["pooled"]["good"], values["pooled"]["bad"]) == (200, 200)
    assert found["calibration"]["value"]["ece"] == pytest.approx(0)
    assert found["calibration"]["value"]["base_rate"] == 0.5


async def test_values_of_too_few_prefixes_are_not_estimable() -> None:
    data = valued(boxes(29), lambda k, steps: float(bool(steps)))
    model = Valuing(knows, len, Calibration(1.0, 1.0, 0.0, 0.5, 10))
    found = (await reward_report(model, data))["environments"]["boxes"]
    pooled = found["values"]["thresholds"]["any success"]["pooled"]
    assert (pooled["value"], pooled["reason"]) == (None, "not estimable, n = 29")
    none = (await reward_report(PERFECT, data))["environments"]["boxes"]["values"]
    assert none == {"thresholds": {}, "reason": "the model gives no prefix values"}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=60, max_size=90))
def test_the_auroc_is_a_count_over_pairs(told: list[tuple[int, bool]]) -> None:
    predicted = np.array([value for value, _ in told], float)
    good = np.array([label for _, label in told])
    found = auroc(predicted, good)
    pairs = [(a, b) for a in predicted[good] for b in predicted[~good]]
    if min(good.sum(), (~good).sum()) < 30:
        assert found["value"] is None
    else:
        wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
        assert found["value"] == pytest.approx(wins / len(pairs))


def test_within_depth_weighs_depths_by_their_comparisons() -> None:
    depths = [1] * 60 + [2] * 100 + [3] * 10
    returns = np.array([1.0] * 30 + [0.0] * 30 + [1.0] * 50 + [0.0] * 50 + [1.0] * 5 + [0.0] * 5)
    predicted = np.array([1.0] * 30 + [0.0] * 30 + [0.0] * 50 + [1.0] * 50 + [0.0] * 10)
    found = value_quality(returns, predicted, depths, 0.5)
    assert (found["depth"]["1"]["value"], found["depth"]["2"]["value"]) == (1.0, 0.0)
    assert found["depth"]["3"]["reason"] == "not estimable, n = 5"
    assert found["within"]["value"] == pytest.approx(900 / (900 + 2500))


async def test_preferences_are_held_against_the_share_of_pairs_that_came_out_so() -> None:
    # The model is wrong on every fourth task, and sure to the same degree everywhere.
    def score(trajectory: Trajectory) -> float:
        wrong = int(trajectory.task.id[1:]) % 4 == 0
        return knows(trajectory) != wrong

    fitting = float(1 / np.log(0.75 / 0.25))
    told = {}
    for temperature in (fitting, 1e-3):
        model = Valuing(score, len, Calibration(temperature, 1e3, -500.0, 0.5, 10))
        told[temperature] = (await reward_report(model, boxes(100)))["environments"]["boxes"][
            "calibration"
        ]
    assert told[fitting]["preference"]["ece"] == pytest.approx(0, abs=1e-9)
    assert told[1e-3]["preference"]["ece"] == pytest.approx(0.25)
    assert told[fitting]["preference"]["base_rate"] == 0.5
    assert told[fitting]["preference"]["count"] == 200
    # Platt's sigmoid here is a step at ½: certain, and wrong for every fourth task.
    assert told[fitting]["probability"]["ece"] == pytest.approx(0.25)
    assert told[fitting]["probability"]["count"] == 200
    found = (await reward_report(PERFECT, boxes()))["environments"]["boxes"]["calibration"]
    assert found["preference"]["reason"]
    assert found["preference"]["ece"] is None


def test_single_episodes_are_successes_or_failures() -> None:
    data = boxes(4)
    told = singles(data, data.pairs, {})
    assert sorted(told.values()) == [False] * 4 + [True] * 4
    first = data.pairs[0]
    upside_down = replace(first, chosen=first.rejected, rejected=first.chosen)
    assert not singles(data, [first, upside_down], {})
    assert not singles(data, [replace(first, chosen_steps=1, rejected_steps=1)], {})
    graded = replace(first, source="search-environment")
    assert not singles(data, [graded], {})  # better and worse are not yet success and failure
    short = replace(first, kind=LESS)
    assert singles(data, [short], {}) == dict.fromkeys(sides(first), False)
    better, worse = sides(first)
    assert singles(data, [graded], {better: 0.9, worse: 0.2}) == {better: False, worse: False}
    assert singles(data, [upside_down], {better: 1.0}) == {better: True, worse: True}


async def test_scores_that_are_no_numbers_are_one_line() -> None:
    with pytest.raises(ConfigurationError, match="not finite"):
        await reward_report(FunctionReward(lambda _: float("nan"), "broken"), boxes(4))


def test_accuracies_need_no_model() -> None:
    data = boxes(4)
    found = accuracies(data, data.pairs, np.array([1.0, -1.0, 0.0, 2.0]), "nobody knows")
    assert found["all"]["accuracy"] == 2.5 / 4
    assert found["states_reason"] == "nobody knows"


# --- the command ----------------------------------------------------------------------------------


def command(*words: object) -> str:
    app = typer.Typer()
    app.command()(report_command)
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_prints_tables_and_writes_json_and_a_picture(tmp_path: Path) -> None:
    calibration = Calibration(1.0, 1.0, 0.0, 0.5, 10)
    register_reward("valuing", lambda: Valuing(knows, lambda t: len(t) / 2, calibration))
    folder = write_data(valued(boxes(80), lambda k, steps: k % 2), tmp_path / "data")
    other = write_data(boxes(20, "chests", longer=1), tmp_path / "more")
    out = tmp_path / "report"
    shown = command("valuing", folder, other, "--json", tmp_path / "r.json", "--out", out)
    for words in ("boxes: 80 pairs of 80 tasks", "chests", "wrong box", "rule: shortest"):
        assert words in shown
    found = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert found == json.loads((out / "reward-report.json").read_text("utf-8"))
    assert found["environments"]["boxes"]["accuracy"]["all"]["accuracy"] == 1.0
    assert (out / "reward-report.png").read_bytes().startswith(b"\x89PNG")


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    register_reward("perfect", lambda: PERFECT)
    folder = write_data(boxes(3), tmp_path / "data")
    with (folder / PAIRS).open("a", encoding="utf-8") as file:
        file.write("{half a line\n")
    with pytest.raises(ConfigurationError, match=r"pairs.jsonl line 4"):
        command("perfect", folder)
