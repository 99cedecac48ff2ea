"""Generation: what is written is executed, self-made, disjoint from evaluation and resumable."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from random import Random

import httpx
import pytest

from armap_agents.environment import StepResult
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.locks import only_writer
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.arithmetic import legal_steps, numbers_left
from armap_agents.tools.game24.environment import play, puzzle_task, puzzles
from armap_agents.training.corrupt import another_action, corrupt
from armap_agents.training.domain import domain
from armap_agents.training.explore import LeastTried, explore
from armap_agents.training.folder import DataFolder, Unit
from armap_agents.training.game24 import Game24Domain
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
from armap_agents.training.refine import refine
from armap_agents.usage import Usage

CONFIG = GenerateConfig(trajectories=120, seed=3, continuations=64)
FILES = ("trajectories.jsonl", "pairs.jsonl", "values.jsonl")


async def make(out: Path, config: GenerateConfig = CONFIG) -> Dataset:
    await generate_data(Game24Domain(), Game24, out, config)
    return load_dataset(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import asyncio

    out = tmp_path_factory.mktemp("data")
    asyncio.run(make(out))
    return out


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return load_dataset(folder)


def test_no_task_of_dev_or_test_can_be_explored() -> None:
    held_out = {tuple(sorted(puzzles()[rank - 1])) for rank in range(801, 1001)}
    assert len(held_out) == 200
    tasks = Game24Domain().tasks()
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


def test_half_of_the_negatives_share_all_but_the_last_step(data: Dataset) -> None:
    later = [pair for pair in data.pairs if pair.chosen_steps > 1]
    sharing = sum(
        data.trajectories[p.chosen].actions[: p.chosen_steps - 1]
        == data.trajectories[p.rejected].actions[: p.rejected_steps - 1]
        for p in later
    )
    assert 0.35 < sharing / len(later) < 0.75


async def test_same_seed_same_bytes_other_seed_other_data(folder: Path, tmp_path: Path) -> None:
    await make(tmp_path / "again")
    await make(tmp_path / "other", GenerateConfig(**{**asdict(CONFIG), "seed": 4}))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "other" / "pairs.jsonl").read_bytes() != (
        folder / "pairs.jsonl"
    ).read_bytes()


async def test_another_configuration_in_the_same_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"seed 3 there, 5 now.*another --out"):
        await make(folder, GenerateConfig(**{**asdict(CONFIG), "seed": 5}))


async def test_a_torn_tail_is_cut_and_made_again(folder: Path, tmp_path: Path) -> None:
    for name in (*FILES, "config.json", "journal.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    journal = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_bytes(b"".join(journal[:4]) + journal[4][:20])
    (tmp_path / "pairs.jsonl").write_bytes((folder / "pairs.jsonl").read_bytes() + b'{"torn')
    await make(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


KILLED = """
import asyncio, sys
from pathlib import Path
from armap_agents.tools.game24 import Game24
from armap_agents.training.game24 import Game24Domain
from armap_agents.training.generate import GenerateConfig, generate_data
config = GenerateConfig(trajectories=120, seed=3, continuations=64)
print("ready", flush=True)
asyncio.run(generate_data(Game24Domain(), Game24, Path(sys.argv[1]), config))
"""


async def test_killed_at_any_moment_the_data_come_out_the_same(
    folder: Path, tmp_path: Path
) -> None:
    for tasks in (1, 4, 7):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
        journal = tmp_path / "journal.jsonl"
        while child.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= tasks:
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        child.wait()
    await make(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    notes = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({note["task"] for note in notes}) == len(notes)


def test_report_and_card_count_what_was_dropped(folder: Path, data: Dataset) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["counts"]["pairs"] == len(data.pairs)
    assert report["counts"]["trajectories"] >= len(data.trajectories)
    assert report["counts"]["dropped: can still succeed"] > 0
    assert "dropped: can still succeed" in (folder / "README.md").read_text()


async def test_least_tried_covers_all_first_actions() -> None:
    task = puzzle_task([4, 9, 10, 13])
    first = len(legal_steps(numbers_left([4, 9, 10, 13])))
    counts: Counter[str] = Counter()
    explored = await explore(Game24(), task, first, Random(0), counts)
    assert counts == {"explored": first}
    assert max(Counter(t.actions[0] for t in explored).values()) == 1
    assert all(t.done for t in explored)


async def test_least_tried_needs_listed_actions() -> None:
    finished = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
    with pytest.raises(Exception, match="lists no action"):
        await LeastTried(Random(0))(finished)


@pytest.mark.parametrize("k", [1, 2, 3])
async def test_corrupt_keeps_the_prefix_and_executes_the_rest(k: int) -> None:
    positive = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
    rng = Random(1)
    negative = await corrupt(Game24(), positive, k, another_action(positive, k, set(), rng), rng)
    assert negative is not None
    assert negative.actions[: k - 1] == positive.actions[: k - 1]
    assert negative.actions[k - 1] != positive.actions[k - 1]
    assert bare(negative) == bare(play(positive.task, negative.actions))
    assert negative.done


async def test_corrupt_without_another_action_gives_none() -> None:
    positive = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
    listed = {step for step, _ in legal_steps(numbers_left([3, 8]))}
    choose = another_action(positive, 3, listed, Random(0))
    assert await corrupt(Game24(), positive, 3, choose, Random(0)) is None


def test_domain_knows_what_an_episode_fulfils() -> None:
    knowledge = Game24Domain()
    reached = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 + 3 = 11"))
    text = knowledge.template(reached)
    assert text == "Use the numbers 1 4 8 8, each exactly once, with + - * / to make 11."
    assert knowledge.fulfils(reached, text)
    assert not knowledge.fulfils(reached, reached.instruction)
    assert not knowledge.fulfils(reached.prefix(2), text)
    assert knowledge.template(reached.prefix(2)) is None
    assert knowledge.grounded(reached, "Combine 8, 8, 4 and 1 to make 11")
    assert not knowledge.grounded(reached, "Combine 8, 8, 4 and 2 to make 11")
    assert not knowledge.grounded(reached, "Combine 8, 8, 4 and 1 to make 24")
    assert not knowledge.grounded(reached, "Have fun")


def test_continuations_are_seeded_by_state_and_find_the_only_way() -> None:
    knowledge = Game24Domain()
    task = puzzle_task([1, 4, 8, 8])
    asked = task.instruction or ""
    prefix = play(task, ("8 / 4 = 2", "2 + 1 = 3"))
    once = knowledge.continuations(prefix, asked, 200, 0)
    assert once == Game24Domain().continuations(prefix, asked, 200, 0)
    assert once.example == ("8 * 3 = 24",)
    assert 0 < once.successes < 200
    dead = play(task, ("8 - 8 = 0", "4 - 1 = 3"))
    assert knowledge.continuations(dead, asked, 200, 0).successes == 0


class Writer:
    """Stands in for a policy that writes whatever it is given."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def write(self, prompt: object, **_: object) -> tuple[str, Usage]:
        return self.text, Usage(completions=1)


async def test_refine_takes_a_grounded_text_and_falls_back_to_the_template() -> None:
    reached = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 + 3 = 11"))
    written = "Combine 8, 8, 4 and 1 to make 11"
    template = Game24Domain().template(reached)
    counts: Counter[str] = Counter()
    for text, expected in (
        (written + "\nand more", (written, "written")),
        ("Combine 8, 8, 4 and 1 to make 24", (template, "template")),
        ("", (template, "template")),
    ):
        assert await refine(Game24Domain(), reached, Writer(text), 0, counts) == expected  # type: ignore[arg-type]
    assert counts["policy: completions"] == 3
    assert await refine(Game24Domain(), reached.prefix(1), None, 0, counts) is None


async def test_a_policy_explores_writes_and_corrupts(tmp_path: Path) -> None:
    config = GenerateConfig(
        trajectories=60, policy_model="scripted", policy_share=0.5, continuations=64
    )
    async with scripted_policy(models=("scripted",)) as server, httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig(server.url, "scripted"), http)
        report = await generate_data(Game24Domain(), Game24, tmp_path, config, policy)
        asked = len(server.requests)
    data = load_dataset(tmp_path)
    assert {pair.source for pair in data.pairs} == {"perturb", "llm"}
    assert asked > 60
    counts = report["counts"]
    assert counts["lost: the policy failed"] == counts["policy: failures"] == 0
    assert counts["policy: completions"] == asked
    assert counts["policy: prompt tokens"] > 0
    assert counts["policy: completion tokens"] > 0
    for pair in data.pairs:
        rejected = data.trajectories[pair.rejected]
        assert bare(play(rejected.task, rejected.actions)) == rejected
    told = f"the policy scripted ({counts['explored by the policy']} of 60 episodes)"
    assert 10 < counts["explored by the policy"] < 50
    assert told in (tmp_path / "README.md").read_text()


async def test_a_failing_policy_costs_its_episodes_alone(tmp_path: Path) -> None:
    config = GenerateConfig(
        trajectories=60, policy_model="scripted", policy_share=0.5, continuations=64
    )
    async with httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig("http://127.0.0.1:9/v1", "scripted", retries=0), http)
        report = await generate_data(Game24Domain(), Game24, tmp_path, config, policy)
    counts = report["counts"]
    assert counts["lost: the policy failed"] > 0
    assert counts["explored"] > 0
    assert counts["explored"] + counts["lost: the policy failed"] >= 60
    assert counts["policy: failures"] > counts["lost: the policy failed"], "written ones as well"
    assert "policy: completions" not in counts or counts["policy: completions"] == 0
    assert "the policy scripted (0 of " in (tmp_path / "README.md").read_text()
    assert counts["pairs"] == len(load_dataset(tmp_path).pairs) > 0


class Flaky(Game24):
    """Fails at every seventh step, or with an error that is no environment's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.taken = 0
        self.closed = False

    async def step(self, action: str) -> StepResult:
        self.taken += 1
        if self.taken % 7 == 0:
            raise self.error
        return await super().step(action)

    async def close(self) -> None:
        self.closed = True


async def test_a_failing_environment_costs_its_episodes_alone(tmp_path: Path) -> None:
    flaky = Flaky(EnvironmentFailure("it died"))
    report = await generate_data(Game24Domain(), lambda: flaky, tmp_path, CONFIG)
    counts = report["counts"]
    assert 0 < counts["explored"] < 120
    assert counts["lost: the environment failed"] > 120 - counts["explored"], "later ones as well"
    assert counts["pairs"] == len(load_dataset(tmp_path).pairs) > 0
    assert flaky.closed


async def test_another_error_ends_generation_plainly_and_closes(tmp_path: Path) -> None:
    flaky = Flaky(ConfigurationError("no such level"))
    with pytest.raises(ConfigurationError, match="no such level"):
        await generate_data(Game24Domain(), lambda: flaky, tmp_path, CONFIG)
    assert flaky.closed


async def test_a_second_writer_is_refused_and_cuts_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with only_writer(folder), pytest.raises(ConfigurationError, match="another process"):
        await make(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
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
    orphan = Pair("game24", "make 24", "absent", 1, "absent too", 1, "1")
    (tmp_path / "pairs.jsonl").write_text(record_line(orphan))
    with pytest.raises(ConfigurationError, match="names trajectory 'absent"):
        load_dataset(tmp_path)
    with pytest.raises(ConfigurationError, match="armap generate"):
        load_dataset(tmp_path / "nowhere")


def test_records_survive_the_round_trip(tmp_path: Path) -> None:
    trajectory = bare(play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2",)))
    assert trajectory.observation.actions is None
    pair = Pair("game24", "make 24", trajectory.id, 1, trajectory.id, 0, "n", "llm", 0.5)
    folder = DataFolder(tmp_path, "game24", {})
    folder.append("n", Unit({trajectory.id: trajectory}, {("key",): pair}))
    folder.close()
    data = load_dataset(tmp_path)
    assert data.trajectories == {trajectory.id: trajectory}
    assert data.pairs == [pair]
    assert (tmp_path / "trajectories.jsonl").read_text() == trajectory_line(trajectory)


def test_an_environment_without_generator_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"no data generator for 'webshop'.*game24"):
        domain("webshop")


def test_nothing_that_makes_data_or_trains_imports_the_solver() -> None:
    root = Path(__file__).parents[1]
    sources = [*(root / "training").glob("*.py"), *(root / "reward").glob("*.py")]
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
