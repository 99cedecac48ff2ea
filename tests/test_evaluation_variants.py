"""Variants of planners in one evaluation, what they cost, and evaluations side by side."""

from __future__ import annotations

import json
import random
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from benchmark_modules import benchmark
from rich.console import Console
from test_evaluation import lines, play, spec
from test_evaluation_figures import result, summary_of

from armap_agents.cli.evaluate import evaluate_spec
from armap_agents.cli.planners import (
    needs_reward,
    parse_planners,
    parse_variant,
    run_planner,
    variant_context,
    variant_run,
)
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation import RunSpec, compare, evaluate
from armap_agents.evaluation.picture import draw
from armap_agents.evaluation.table import print_summary
from armap_agents.reward_model import FunctionReward, register_reward
from armap_agents.testing import scripted_policy
from armap_agents.trajectory import Task, Trajectory

LONG = [
    "mcts[completions=96;rollouts=null;value_weight=0.5;selection=puct]",
    "mcts[completions=96;rollouts=null;value_weight=0]",
    "mcts[completions=96;selection=armap;normalisation=none;parallel=1]",
    "beam[completions=96;width=8]",
    "reflexion[completions=96]",
    "best_of_n[n=32]",
    "sampling[n=32]",
    "greedy",
]


def read_length(trajectory: Trajectory) -> float:
    return float(len(trajectory.last.text))


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the untrained encoder out, which may be there and takes seconds to load."""
    monkeypatch.setattr("armap_agents.cli.evaluate.is_pulled", lambda _: False)


def shown(summary: Any, width: int = 80, **options: Any) -> str:
    console = Console(width=width, file=StringIO())
    print_summary(summary, console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


# Labels


def test_labels_are_split_at_commas_outside_of_brackets() -> None:
    text = 'greedy, mcts[a=1,b=2;c={"x":1,"y":2}] ,beam[d=[1,2]],best_of_n'
    assert parse_planners(text) == [
        "greedy",
        'mcts[a=1,b=2;c={"x":1,"y":2}]',
        "beam[d=[1,2]]",
        "best_of_n",
    ]


def test_a_label_is_a_name_and_options_as_json_or_text() -> None:
    assert parse_variant("greedy") == ("greedy", {})
    label = 'mcts[value_weight=0; selection=puct;tokens=null;objective={"length":0.3}]'
    assert parse_variant(label) == (
        "mcts",
        {"value_weight": 0, "selection": "puct", "tokens": None, "objective": {"length": 0.3}},
    )


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("mcts[", "write a name, or name"),
        ("mcts[]", "write a name, or name"),
        ("mcts[n=1]x", "write a name, or name"),
        ("mcts[n]", "KEY=VALUE"),
        ("mcts[n=1;n=2]", "names an option twice"),
        ("mcts[seed=3]", "seed is not for one planner alone"),
        ("mcts[run=x]", "run is not for one planner alone"),
        ("mcts[reward=x]", "reward is not for one planner alone"),
    ],
)
def test_malformed_labels_name_the_cure(label: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refusal:
        parse_variant(label)
    assert "\n" not in str(refusal.value)


def test_a_variants_own_options_go_before_the_evaluations() -> None:
    asked = spec(n=4, temperature=0.3, reward="r-{seed}", limits={"max_steps": 5})
    context = variant_context(asked, "best_of_n[n=9;max_steps=7;rollouts=null]", 2)
    assert (context.n, context.max_steps, context.temperature) == (9, 7, 0.3)
    assert (context.reward, context.seed, context.rollouts) == ("r-2", 2, None)
    assert variant_context(asked, "best_of_n", 2).n == 4


def run_of(label: str, seed: int = 0) -> str:
    return variant_run(label, "901", variant_context(spec(), label, seed))


def test_runs_are_shared_by_equal_draws_alone() -> None:
    draws = run_of("sampling")
    assert draws == run_of("best_of_n") == "draws-901-s0"
    assert run_of('best_of_n[n=96;objective={"length":1}]') == draws
    hot = run_of("sampling[temperature=1.0]")
    assert hot == run_of("best_of_n[n=3;temperature=1]")
    names = {
        draws,
        hot,
        run_of("best_of_n[max_steps=2]"),
        run_of("sampling", seed=1),
        run_of("mcts"),
        run_of("mcts[value_weight=0]"),
        run_of("mcts[value_weight=0.5]"),
        run_of("beam[value_weight=0]"),
    }
    assert len(names) == 8
    assert all(len(name) < 60 for name in names)


def test_all_but_greedy_and_sampling_need_a_reward_model() -> None:
    assert not needs_reward("greedy")
    assert not needs_reward("sampling[n=3]")
    assert all(map(needs_reward, ["best_of_n[n=3]", "mcts[n=3]", "beam", "reflexion"]))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["sampling", "magic[n=3]"], "no planner is called 'magic': use greedy, sampling"),
        (["sampling", "best_of_n[m=3]"], r"planner 'best_of_n\[m=3\]': no option is called 'm'"),
        (["sampling[n=0]"], "n: Input should be greater than or equal to 1, not 0"),
        (["sampling[n=many]"], "n: Input should be a valid integer"),
        (["sampling[n=null]"], "n: Input should be a valid integer"),
    ],
)
async def test_bad_variants_are_refused_before_anything_runs(
    labels: list[str], words: str, tmp_path: Path
) -> None:
    nowhere = spec(planners=labels, policy_url="http://127.0.0.1:9/v1", policy_model="m")
    with pytest.raises(ConfigurationError, match=words):
        await evaluate_spec(nowhere, tmp_path / "out", run_planner)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["best_of_n[n=2]", "reflexion[rollouts=2]"])
async def test_a_missing_reward_model_is_found_out_before_anything_runs(
    label: str, tmp_path: Path
) -> None:
    async with scripted_policy() as server:
        asked = spec(planners=[label], policy_url=server.url, policy_model="scripted")
        with pytest.raises(ConfigurationError, match="no reward model"):
            await evaluate_spec(asked, tmp_path / "out", run_planner)
        requests = [request for request in server.requests if request.prompt]
    assert requests == []
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.mark.usefixtures("no_encoder")
async def test_variants_are_evaluated_on_the_same_tasks_and_seeds(tmp_path: Path) -> None:
    register_reward("read-length", lambda: FunctionReward(read_length, "read-length"))
    labels = ["sampling[n=4]", "best_of_n[n=4]", "best_of_n[n=6]", "best_of_n[n=4;temperature=2]"]
    async with scripted_policy() as server:
        asked = spec(
            tasks=["901", "902"],
            planners=labels,
            seeds=[0, 1],
            policy_url=server.url,
            policy_model="scripted",
            reward="read-length",
        )
        summary: Any = await evaluate_spec(asked, tmp_path, run_planner)
    assert list(summary["planners"]) == labels
    assert len(summary["comparisons"]) == 6
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["spec"]["planners"] == labels
    assert config["identity"] == {"reward_fingerprint": "read-length"}
    found = {(x["planner"], x["task"], x["seed"]): x for x in lines(tmp_path)}
    assert len(found) == 4 * 2 * 2
    for task in asked.tasks:
        for seed in asked.seeds:
            four, best, six, hot = (found[label, task, seed] for label in labels)
            actions = [[c["actions"] for c in run["candidates"]] for run in (four, best, six)]
            assert actions[0] == actions[1] == actions[2][:4]
            assert len(actions[2]) == 6
            assert four["run"] == best["run"] == six["run"] != hot["run"]
            # The shared draws are paid for by everybody who chooses among them.
            assert best["usage"]["completions"] == four["usage"]["completions"] == 12
            # The longest of them took at least the mean of them.
            assert best["seconds"] >= four["usage"]["seconds"] / 4 > 0
    for label, n in zip(labels, (4, 4, 6, 4), strict=True):
        planner = summary["planners"][label]
        assert planner["cost_per_run"]["policy_completions"] == 3 * n
        assert planner["cost_per_run"]["environment_steps"] == 3 * n
        assert planner["cost_per_run"]["scored"] == (0 if label == labels[0] else n)
        assert planner["policy_completions"] == 4 * 3 * n
        if label != labels[0]:
            assert planner["candidates"] == n


# Figures


def test_variants_count_as_their_planner() -> None:
    runs = [
        result(str(k), label, 0, 1.0, 1.0, *[0.0] * more)
        for k in range(3)
        for label, more in (("sampling[n=2]", 1), ("best_of_n[n=2]", 1), ("best_of_n[n=4]", 3))
    ]
    planners = summary_of(*runs)["planners"]
    assert planners["sampling[n=2]"]["score"] == 0.5
    assert (planners["best_of_n[n=2]"]["mean"], planners["best_of_n[n=4]"]["mean"]) == (0.5, 0.25)
    text = shown(summary_of(*runs))
    assert "among the same 2 candidates" in text
    assert "best_of_n[n=2] gets 100.0 %" in text


def eight() -> Any:
    rng = random.Random(0)
    runs = []
    for k in range(40):
        for seed in (0, 1):
            for place, label in enumerate(LONG):
                scores = [float(rng.random() < 0.02 * (9 - place)) for _ in range(4)]
                runs.append(result(str(k), label, seed, max(scores), *scores))
    return summary_of(*runs, policy_model="uniform")


def test_eight_long_labels_stay_readable_on_80_columns(tmp_path: Path) -> None:
    summary = eight()
    text = shown(summary)
    words = text.replace("[", " ").replace("]", " ").replace(";", " ").split()
    for label in LONG:
        parts = label.replace("[", " ").replace("]", "").replace(";", " ").split()
        assert set(parts) <= set(words), label
    assert "…" not in text
    assert "policy uniform" in text
    assert len([row for row in text.splitlines() if "minus" in row]) == 0
    draw(summary, tmp_path / "many.png")
    assert (tmp_path / "many.png").read_bytes().startswith(b"\x89PNG")


def test_many_planners_are_compared_with_one() -> None:
    summary = eight()
    assert len(summary["comparisons"]) == 28
    (known,) = (c for c in summary["comparisons"] if c["planners"] == (LONG[5], LONG[0]))
    points, (low, high) = 100 * known["difference"], (100 * end for end in known["ci95"])
    row = f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
    assert row in " ".join(shown(summary).split())
    back = f"{-points:+.1f} ({-high:+.1f} to {-low:+.1f})"
    spaced = LONG[5].replace("[", " [")  # as the table breaks it
    assert back in " ".join(shown(summary, reference=spaced).split())
    with pytest.raises(ConfigurationError, match="no planner is labelled 'x': use mcts"):
        shown(summary, reference="x")


# Side by side


async def worse(spec: RunSpec, task: Task, seed: int, label: str) -> dict[str, Any]:
    """Answers with a failing candidate's true score of 0 on every second task."""
    found = await play(spec, task, seed, label)
    if int(task.id) % 2:
        found["trajectory"]["status"] = "failed"
        found["trajectory"]["error"] = "it failed"
    return found


async def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    tasks = [str(rank) for rank in range(901, 931)]
    one, other = tmp_path / "llm", tmp_path / "uniform"
    labels = ["best_of_n", "sampling"]
    await evaluate(spec(tasks=tasks, planners=labels, seeds=[0, 1], policy_model="a"), one, play)
    await evaluate(
        spec(tasks=tasks, planners=["best_of_n"], seeds=[0, 1], policy_model="b"), other, worse
    )
    return one, other


async def test_folders_are_compared_run_by_run(tmp_path: Path) -> None:
    folders = await two_folders(tmp_path)
    summary: Any = compare(folders)
    assert list(summary["planners"]) == ["llm: best_of_n", "llm: sampling", "uniform: best_of_n"]
    assert summary["policy"] == "a, b"
    own: Any = json.loads((folders[0] / "summary.json").read_text())
    for label in ("best_of_n", "sampling"):
        assert summary["planners"][f"llm: {label}"]["score"] == own["planners"][label]["score"]
    true = [{(x["task"], x["seed"], x["planner"]): x for x in lines(f)} for f in folders]
    keys = [(task, seed, "best_of_n") for task in own_tasks(folders[0]) for seed in (0, 1)]
    by_hand = [true[1][key]["true_score"] - true[0][key]["true_score"] for key in keys]
    (found,) = (
        c
        for c in summary["comparisons"]
        if c["planners"] == ("uniform: best_of_n", "llm: best_of_n")
    )
    assert found["difference"] == pytest.approx(sum(by_hand) / len(by_hand))
    assert found["difference"] < 0
    assert found["ci95"][0] <= found["difference"] <= found["ci95"][1]
    assert list(compare(folders[:1])["planners"]) == ["best_of_n", "sampling"]
    (pair,) = compare(folders[:1])["comparisons"]
    assert pair["ci95"] == tuple(own["comparisons"][0]["ci95"])


def own_tasks(folder: Path) -> list[str]:
    return json.loads((folder / "config.json").read_text())["spec"]["tasks"]


async def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    for part in ("a", "b"):
        await evaluate(spec(tasks=["901"], n=2), tmp_path / part / "out", play)
    labels = list(compare([tmp_path / "a" / "out", tmp_path / "b" / "out"])["planners"])
    assert labels[0] == f"{tmp_path / 'a' / 'out'}: sampling"
    assert len(labels) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [1]}, "their seeds differ"),
        ({"tasks": ["902"]}, "no task in common"),
        ({"split": "dev", "tasks": ["801"]}, "their split differ"),
    ],
)
async def test_other_tasks_or_seeds_are_not_compared(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    await evaluate(spec(tasks=["901"], n=2), one, play)
    await evaluate(spec(**{"tasks": ["901"], "n": 2} | changes), other, play)
    with pytest.raises(ConfigurationError, match=words):
        compare([one, other])


async def test_the_tasks_count_that_all_folders_have(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    await evaluate(spec(tasks=["901", "902", "903"], n=2), one, play)
    await evaluate(spec(tasks=["902", "903", "904"], n=2), other, play)
    assert {planner["n_tasks"] for planner in compare([one, other])["planners"].values()} == {2}


async def test_unfinished_and_missing_folders_are_refused(tmp_path: Path) -> None:
    await evaluate(spec(tasks=["901"], n=2), tmp_path / "one", play)
    with pytest.raises(ConfigurationError, match="holds no evaluation"):
        compare([tmp_path / "one", tmp_path / "none"])
    path = tmp_path / "one" / "results.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigurationError, match="one is not finished"):
        compare([tmp_path / "one"])


async def test_the_comparison_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = list(await two_folders(tmp_path))
    main = benchmark("compare").main
    main(folders)
    text = " ".join(capsys.readouterr().out.split())
    assert "uniform: best_of_n minus llm: best_of_n, on the same tasks" in text
    main(folders, reference="llm: sampling")
    assert "Compared with llm: sampling" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match="error: no planner is labelled 'x'"):
        main(folders, reference="x")


@pytest.mark.usefixtures("no_encoder")
def test_uniform_rows_of_any_planner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_reward("read-length", lambda: FunctionReward(read_length, "read-length"))
    benchmark("uniform").main(
        out=tmp_path / "uniform",
        reward="read-length",
        environment="game24",
        split="test",
        tasks="901-902",
        seeds="0",
        planner="best_of_n[n=3],sampling[n=2]",
        n=32,
    )
    assert "policy uniform" in capsys.readouterr().out
    found = {(line["planner"], len(line["candidates"])) for line in lines(tmp_path / "uniform")}
    assert found == {("best_of_n[n=3]", 3), ("sampling[n=2]", 2)}
