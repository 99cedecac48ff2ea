"""Game of 24: its data follow from the rules, are disjoint from evaluation, and load again."""

from __future__ import annotations

import ast
import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from armap_agents.errors import ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.arithmetic import legal_steps, numbers_left
from armap_agents.tools.game24.environment import play, puzzle_task, puzzles
from armap_agents.tools.game24.solver import solvable
from armap_agents.training.corrupt import execute
from armap_agents.training.domain import Instruction, domain
from armap_agents.training.domains.game24 import Game24Domain
from armap_agents.training.explore import Explorer, Mixture
from armap_agents.training.folder import DataFolder, Unit
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.identity import check_identity
from armap_agents.training.records import (
    Dataset,
    Pair,
    bare,
    load_dataset,
    record_line,
    trajectory_line,
)
from armap_agents.trajectory import Trajectory

CONFIG = GenerateConfig(pairs=400, seed=3, continuations=64)
FILES = ("trajectories.jsonl", "pairs.jsonl", "values.jsonl")
ONE = puzzle_task([1, 4, 8, 8])
SOLVED = play(ONE, ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))


async def make(out: Path, config: GenerateConfig = CONFIG) -> Dataset:
    await generate_data(Game24Domain(), Game24, out, config)
    return load_dataset(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    asyncio.run(make(out))
    return out


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return load_dataset(folder)


def test_no_task_of_dev_or_test_can_be_explored() -> None:
    held_out = {tuple(sorted(puzzles()[rank - 1])) for rank in range(801, 1001)}
    assert len(held_out) == 200
    tasks = Game24Domain().tasks(Game24())
    numbers = [tuple(sorted(task.data["numbers"])) for task in tasks]
    assert not held_out & set(numbers)
    assert len(numbers) == len(set(numbers)) == len({task.id for task in tasks})
    assert len(numbers) > 1162, "generated puzzles come on top of the ranked ones"


def test_written_records_are_disjoint_from_evaluation(data: Dataset) -> None:
    held_out = {tuple(sorted(puzzles()[rank - 1])) for rank in range(801, 1001)}
    for trajectory in data.trajectories.values():
        assert tuple(sorted(trajectory.task.data["numbers"])) not in held_out
    assert len(data.pairs) > 100


def test_every_trajectory_is_what_the_rules_give(data: Dataset) -> None:
    for id_, trajectory in data.trajectories.items():
        replayed = bare(play(trajectory.task, trajectory.actions))
        assert replayed == trajectory
        assert replayed.id == id_


def test_labels_follow_from_executed_continuations_and_the_check(data: Dataset) -> None:
    returns = {
        (v.instruction, data.trajectories[v.trajectory].prefix(v.steps).last.text): v
        for v in data.values
    }
    for pair in data.pairs:
        assert pair.chosen_steps == pair.rejected_steps
        assert pair.source == "perturb"
        ends = []
        for id_, steps in ((pair.chosen, pair.chosen_steps), (pair.rejected, pair.rejected_steps)):
            prefix = data.trajectories[id_].prefix(steps)
            ends.append(prefix.last.text)
            assert prefix.task.id == pair.task
        assert ends[0] != ends[1]
        assert returns[pair.instruction, ends[1]].successes == 0
        chosen = data.trajectories[pair.chosen]
        assert chosen.last.text == "Number left: 24", "a chosen prefix really went on to 24"


def test_labels_agree_with_the_solver_but_for_noise_after_one_step(data: Dataset) -> None:
    def can(id_: str, steps: int) -> bool:
        left = data.trajectories[id_].prefix(steps).last.text.rpartition(": ")[2]
        return solvable(numbers_left(left.split()))

    wrong = Counter(p.chosen_steps for p in data.pairs if can(p.rejected, p.rejected_steps))
    pairs = Counter(p.chosen_steps for p in data.pairs)
    assert all(can(pair.chosen, pair.chosen_steps) for pair in data.pairs)
    assert wrong[2] == wrong[3] == 0
    assert wrong[1] < 0.25 * pairs[1]  # 64 continuations; 256 miss one in forty


def test_every_depth_has_its_share_of_the_pairs(data: Dataset) -> None:
    depths = Counter(pair.chosen_steps for pair in data.pairs)
    assert set(depths) == {1, 2, 3}
    assert min(depths.values()) > 0.2 * len(data.pairs)


def test_half_of_the_negatives_share_all_but_the_last_step(data: Dataset) -> None:
    later = [pair for pair in data.pairs if pair.chosen_steps > 1]
    sharing = sum(
        data.trajectories[p.chosen].actions[: p.chosen_steps - 1]
        == data.trajectories[p.rejected].actions[: p.rejected_steps - 1]
        for p in later
    )
    assert 0.35 < sharing / len(later) < 0.75


async def test_same_seed_same_bytes_however_many_run_side_by_side(
    folder: Path, tmp_path: Path
) -> None:
    await generate_data(Game24Domain(), Game24, tmp_path, CONFIG, concurrency=1)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_report_and_card_count_what_was_dropped(folder: Path, data: Dataset) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["counts"]["pairs"] == len(data.pairs) >= 400
    assert report["counts"]["trajectories"] == len(data.trajectories)
    assert report["counts"]["dropped: can still succeed"] > 0
    assert "dropped: can still succeed" in (folder / "README.md").read_text()


async def test_uniform_episodes_cover_all_first_actions() -> None:
    task = puzzle_task([4, 9, 10, 13])
    first = len(legal_steps(numbers_left([4, 9, 10, 13])))
    mixture = Mixture(policy=0, uniform=1, temperatures=(1, 1))
    explorer = Explorer(Game24Domain(), mixture, Counter())
    assert {explorer.draw(Random(k)) for k in range(20)} == {"uniform"}
    explored = [await explorer.play(Game24(), task, "uniform", seed) for seed in range(first)]
    assert max(Counter(t.actions[0] for t in explored).values()) == 1
    assert all(t.done for t in explored)


async def test_intents_try_a_step_and_make_24_of_it_where_chance_can() -> None:
    explorer = Explorer(Game24Domain(), Mixture(0, 0, (1, 1)), Counter())
    found = [await explorer.play(Game24(), ONE, "intent", seed) for seed in range(30)]
    assert all(t.done and t == play(ONE, t.actions) for t in map(ended, found))
    made = [t for t in found if t.last.text == "Number left: 24"]
    assert 1 < len(made) < 30
    assert len({t.actions[0] for t in found}) > 5


def ended(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, status=play(ONE, SOLVED.actions).status)


@pytest.mark.parametrize("k", [0, 1, 2])
async def test_corruptions_keep_the_beginning_and_are_executed(k: int) -> None:
    knowledge, rng = Game24Domain(), Random(1)
    asked = knowledge.instruct(SOLVED, rng)
    assert asked is not None
    here = [
        corruption
        for corruption in knowledge.corruptions(SOLVED, asked, [], rng)
        if corruption.actions[:k] == tuple(SOLVED.actions[:k])
        and corruption.actions[k] != SOLVED.actions[k]
    ]
    listed = SOLVED.prefix(k).last.actions or ()
    assert {c.actions[k] for c in here} == set(listed) - {SOLVED.actions[k]}
    for corruption in here[:4]:
        negative = await execute(Game24(), SOLVED, corruption.actions, rng)
        assert negative.actions[: k + 1] == list(corruption.actions[: k + 1])
        assert bare(negative) == bare(play(ONE, negative.actions))
        assert negative.done


def test_domain_knows_what_an_episode_fulfils() -> None:
    knowledge, rng = Game24Domain(), Random(0)
    asked = knowledge.instruct(SOLVED, rng)
    assert asked is not None
    assert asked.text == "Use the numbers 1 4 8 8, each exactly once, with + - * / to make 24."
    assert knowledge.fulfils(SOLVED, asked) == 1
    eleven = play(ONE, ("8 / 4 = 2", "2 + 1 = 3", "8 + 3 = 11"))
    assert knowledge.fulfils(eleven, asked) == 0
    assert knowledge.fulfils(SOLVED.prefix(2), asked) == 0
    assert knowledge.instruct(eleven, rng) is None
    assert knowledge.instruct(SOLVED.prefix(2), rng) is None
    assert knowledge.grounded("Combine 8, 8, 4 and 1 to make 24", asked)
    assert not knowledge.grounded("Combine 8, 8, 4 and 2 to make 24", asked)
    assert not knowledge.grounded("Combine 8, 8, 4 and 1 to make 11", asked)
    assert not knowledge.grounded("Have fun", asked)
    assert knowledge.grounded(asked.text, asked)


async def test_continuations_depend_on_state_and_seed_and_find_the_only_way() -> None:
    knowledge = Game24Domain()
    asked = Instruction("make 24", {"numbers": [1, 4, 8, 8], "target": "24"})
    prefix = play(ONE, ("8 / 4 = 2", "2 + 1 = 3"))
    once = await knowledge.continued(Game24(), prefix, asked, 800, Random(0))
    assert once == await Game24Domain().continued(Game24(), prefix, asked, 800, Random(0))
    assert once.count == 200, "later prefixes get a quarter"
    assert once.example == ("8 * 3 = 24",)
    assert 0 < once.total < 200
    dead = play(ONE, ("8 - 8 = 0", "4 - 1 = 3"))
    played = await knowledge.continued(Game24(), dead, asked, 200, Random(0))
    assert (played.count, played.total, played.example) == (64, 0, None)
    few = await knowledge.continued(Game24(), prefix, asked, 10, Random(0))
    assert few.count == 10


async def test_a_policy_explores_writes_and_corrupts(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        pairs=150,
        policy_model="scripted",
        policy_share=0.5,
        written_share=0.5,
        llm_share=0.5,
    )
    async with scripted_policy(models=("scripted",)) as server, httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig(server.url, "scripted"), http)
        report = await generate_data(Game24Domain(), Game24, tmp_path, config, policy)
        asked = len(server.requests)
    data = load_dataset(tmp_path)
    assert {pair.source for pair in data.pairs} == {"perturb", "llm"}
    counts = report["counts"]
    assert "lost: the policy failed" not in counts
    assert 60 < counts["policy: completions"] <= asked
    assert counts["policy: prompt tokens"] > 0
    assert counts["policy: completion tokens"] > 0
    for pair in data.pairs:
        rejected = data.trajectories[pair.rejected]
        assert bare(play(rejected.task, rejected.actions)) == rejected
    told = f"by the policy scripted ({counts['explored by the policy']:,}, temperature 0.5 to 1.2)"
    assert told in (tmp_path / "README.md").read_text()


async def test_a_second_writer_is_refused_and_cuts_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with only_writer(folder), pytest.raises(ConfigurationError, match="another process"):
        await make(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before
    await make(folder)


def test_identity_is_written_whole_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "config.json"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            check_identity(note, {"seed": 1}, "other data")
    assert not note.exists()
    check_identity(note, {"seed": 1}, "other data")
    assert json.loads(note.read_text()) == {"seed": 1}
    note.write_text('{"se')
    with pytest.raises(ConfigurationError, match="is damaged: use another --out"):
        check_identity(note, {"seed": 1}, "other data")


def test_broken_lines_are_named(tmp_path: Path, folder: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for line, complaint in (
        ("not json", "is not a JSON object"),
        ('{"schema_version":7}', "has schema version 7"),
        ('{"schema_version":1,"chosen":"x"}', "is no Pair"),
    ):
        (tmp_path / "pairs.jsonl").write_text(line + "\n")
        with pytest.raises(ConfigurationError, match=f"pairs.jsonl line 1 {complaint}"):
            load_dataset(tmp_path)
    (tmp_path / "pairs.jsonl").write_bytes(b"\xc4\x00\xff\n")
    with pytest.raises(ConfigurationError, match=r"pairs.jsonl line 1 is not a JSON object"):
        load_dataset(tmp_path)
    (tmp_path / "pairs.jsonl").write_bytes((folder / "pairs.jsonl").read_bytes())
    lines = (folder / "trajectories.jsonl").read_text("utf-8").splitlines()
    no_text = json.loads(lines[1])
    no_text["observation"]["text"] = 5
    (tmp_path / "trajectories.jsonl").write_text(f"{lines[0]}\n{json.dumps(no_text)}\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"jsonl line 2 is no trajectory .*'5' is no text"):
        load_dataset(tmp_path)
    (tmp_path / "trajectories.jsonl").write_bytes((folder / "trajectories.jsonl").read_bytes())
    orphan = Pair("game24", "make 24", "absent", 1, "absent too", 1, "1")
    (tmp_path / "pairs.jsonl").write_text(record_line(orphan))
    with pytest.raises(ConfigurationError, match="names trajectory 'absent"):
        load_dataset(tmp_path)
    with pytest.raises(ConfigurationError, match="armap generate"):
        load_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "wrong",
    [
        {"chosen_steps": 4},
        {"rejected_steps": -1},
        {"chosen_steps": "1"},
        {"chosen_steps": 1.0},
        {"label": 7},
        {"label": "x"},
        {"margin": None},
        {"margin": float("inf")},
        {"instruction": None},
        {"rejected_instruction": 3},
        {"task": 8},
        {"source": "magic"},
    ],
)
def test_a_pair_that_cannot_be_is_named(
    wrong: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "trajectories.jsonl").write_bytes((folder / "trajectories.jsonl").read_bytes())
    first = json.loads((folder / "pairs.jsonl").read_text().splitlines()[0])
    ((name, value),) = wrong.items()
    (tmp_path / "pairs.jsonl").write_text(json.dumps(first | wrong) + "\n")
    complaint = f"pairs.jsonl line 1 cannot be so \\({name} {value!r}\\): mend or delete"
    with pytest.raises(ConfigurationError, match=complaint):
        load_dataset(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps(first | {"chosen": ["a"]}) + "\n")
    with pytest.raises(ConfigurationError, match=r"names trajectory \['a'\], which"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"steps": 99}, {"continuations": "4"}, {"successes": 300.0}, {"successes": None}]
)
def test_a_value_that_cannot_be_is_named(
    wrong: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    for name in ("trajectories.jsonl", "pairs.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    first = json.loads((folder / "values.jsonl").read_text().splitlines()[0])
    (tmp_path / "values.jsonl").write_text(json.dumps(first | wrong) + "\n")
    with pytest.raises(ConfigurationError, match=r"values.jsonl line 1 cannot be so \("):
        load_dataset(tmp_path)


def test_records_survive_the_round_trip(tmp_path: Path) -> None:
    trajectory = bare(play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2",)))
    assert trajectory.observation.actions is None
    pair = Pair("game24", "make 24", trajectory.id, 1, trajectory.id, 0, "n", "llm", label=0.5)
    folder = DataFolder(tmp_path, "game24", {})
    folder.append("n", Unit({trajectory.id: trajectory}, {("key",): pair}))
    folder.close()
    data = load_dataset(tmp_path)
    assert data.trajectories == {trajectory.id: trajectory}
    assert data.pairs == [pair]
    assert (tmp_path / "trajectories.jsonl").read_text() == trajectory_line(trajectory)


def test_an_environment_without_generator_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"no data generator for 'maze'.*game24"):
        domain("maze")


def test_nothing_that_makes_data_or_trains_imports_the_solver() -> None:
    root = Path(__file__).parents[1]
    sources = [*(root / "training").rglob("*.py"), *(root / "reward").rglob("*.py")]
    assert len(sources) > 10
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import | ast.ImportFrom)
                else []
            )
            module = getattr(node, "module", "") or ""
            assert "solver" not in f"{module} {' '.join(names)}", path
