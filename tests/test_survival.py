"""A search as a command that is killed, interrupted, gone on with and replayed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from maze import draw
from tiny_reward import trained_reward

from armap_agents.graphs.rollout import derive_seed
from armap_agents.testing import ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.trace import read_events

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
ARMAP = str(Path(sys.executable).parent / "armap")
WITH_MAZE = (
    "from maze import register_maze; register_maze(); from armap_agents.cli import main; main()"
)
KILLS = 10
ROLLOUTS = 64

Identity = tuple[str, int | None]
Event = dict[str, Any]


def liking(action: str) -> float:
    return 2 * draw("likes", action)


def identity(request: ScriptedRequest) -> Identity:
    return request.prompt.rpartition("\n")[2], request.seed


class Shell:
    """Starts `armap` in a process group of its own, with runs in one folder."""

    def __init__(self, runs: Path, *command: str) -> None:
        self.runs, self.command = runs, command
        own = {"ARMAP_RUNS": str(runs), "PYTHONPATH": str(TESTS), "COLUMNS": "1000"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ARMAP_")}
        self.environment = kept | own

    @asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self.command,
            "plan",
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()

    async def ended(self, *arguments: str) -> tuple[int | None, str, str]:
        """Return exit status, output and errors of a command."""
        async with self.started(*arguments) as process:
            out, err = await asyncio.wait_for(process.communicate(), 300)
            return process.returncode, out.decode(), err.decode()

    def journal(self, run: str) -> Path:
        return self.runs / run / "trace.jsonl"

    def lines(self, run: str) -> int:
        path = self.journal(run)
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def events(self, run: str) -> list[Event]:
        return list(read_events(self.journal(run)))

    async def grown(self, run: str, lines: int, process: asyncio.subprocess.Process) -> None:
        """Wait until the journal has that many lines."""
        async with asyncio.timeout(300):
            while self.lines(run) < lines:
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.002)


def tree_of(events: list[Event]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for event in events:
        if event["kind"] == "backup":
            tree.update(event["nodes"])
    return tree


def outcome(events: list[Event]) -> list[Any]:
    """What a search came to, without times."""
    answer = next(e for e in events if e["kind"] == "answer")
    return [answer[key] for key in ("id", "trajectory", "score", "objective", "stopped")]


def decided(events: list[Event]) -> dict[str, Any]:
    kinds = {"selection": "picks", "backup": "evaluations", "proposals": "items"}
    return {e["id"]: e[kinds[e["kind"]]] for e in events if e["kind"] in kinds}


async def checkpointed_tree(shell: Shell, run: str) -> dict[str, Any]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    from armap_agents.graphs import mcts

    path = str(shell.runs / run / "checkpoints.sqlite")
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        graph = mcts.builder.compile(checkpointer=saver)
        state = await graph.aget_state({"configurable": {"thread_id": run}})
        assert state.next == ()
        return dict(state.values["tree"])


def requests_behind(events: list[Event]) -> set[Identity]:
    """Identify the requests whose answers a journal holds."""
    found: set[Identity] = set()
    actions: dict[str, list[str]] = {"0": []}
    for event in events:
        if event["kind"] == "proposals":
            path = actions[event["node"]]
            found.add((room(path), None))
            for k, item in enumerate(event["items"]):
                actions[f"{event['node']}.{k}"] = [*path, item["action"]]
        elif event["kind"] == "policy":
            _, node, _, k = event["id"].split("/")
            steps = [*actions[node]]
            for before in range(len(steps), int(k)):
                earlier = next(e for e in events if e["id"] == f"rollout/{node}/policy/{before}")
                steps.append(earlier["action"])
            seed = derive_seed(derive_seed(0, "maze", "0", actions[node]), int(k))
            found.add((room(steps), seed))
    return found


def room(path: list[str]) -> str:
    return f"You are in room {'-'.join(path) or 'entrance'}."


def maze(server: ScriptedServer, run: str) -> list[str]:
    search = ["--planner", "mcts", "--rollouts", str(ROLLOUTS), "--parallel", "8", "--run", run]
    policy = ["--policy-url", server.url, "--policy-model", "scripted"]
    return ["maze", "0", "-E", "depth=6", *search, *policy, "--reward", "luck-and-value"]


async def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    shell = Shell(tmp_path, sys.executable, "-c", WITH_MAZE)
    async with scripted_policy(score=liking, latency=0.03) as server:
        status, _, err = await shell.ended(*maze(server, "whole"))
        assert status == 0, err
        undisturbed = set(map(identity, server.requests))
        assert requests_behind(shell.events("whole")) == undisturbed
        server.requests.clear()

        moments = random.Random(24)
        total = shell.lines("whole")
        after: list[tuple[int, set[Identity]]] = []
        for kill, lines in enumerate(sorted(moments.sample(range(3, total - 10), KILLS))):
            arguments = ["--resume", "killed"] if kill else maze(server, "killed")
            async with shell.started(*arguments) as process:
                await shell.grown("killed", lines, process)
                await asyncio.sleep(moments.uniform(0, 0.05))
                os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()
                assert process.returncode == -signal.SIGKILL
            if kill == KILLS // 2:  # as if the power had gone in the middle of a write
                size = shell.journal("killed").stat().st_size
                os.truncate(shell.journal("killed"), size - 9)
            events = shell.events("killed")
            assert not [e for e in events if e["kind"] == "answer"]
            after.append((len(server.requests), requests_behind(events)))
        status, _, err = await shell.ended("--resume", "killed")
        assert status == 0, err

    whole, killed = shell.events("whole"), shell.events("killed")
    assert outcome(killed) == outcome(whole)
    assert decided(killed) == decided(whole)
    assert tree_of(killed) == tree_of(whole) == await checkpointed_tree(shell, "killed")
    written = [json.loads(line)["id"] for line in shell.journal("killed").open()]
    assert len(written) == len(set(written))
    rollouts = [name for name in written if name.count("/") == 1 and name.startswith("rollout/")]
    assert len(rollouts) == ROLLOUTS
    spent = [
        next(e for e in reversed(es) if e["kind"] == "backup")["spent"] for es in (whole, killed)
    ]
    for counted in ("rollouts", "completions", "prompt_tokens", "scored", "failures"):
        assert spent[0][counted] == spent[1][counted]

    assert set(map(identity, server.requests)) == undisturbed
    for asked, done in after:
        assert not done & set(map(identity, server.requests[asked:]))


async def test_an_interrupt_drains_and_the_run_goes_on_and_replays(tmp_path: Path) -> None:
    shell = Shell(tmp_path, sys.executable, "-c", WITH_MAZE)
    async with scripted_policy(score=liking, latency=0.05) as server:
        assert (await shell.ended(*maze(server, "whole")))[0] == 0
        server.requests.clear()
        async with shell.started(*maze(server, "stopped")) as process:
            await shell.grown("stopped", shell.lines("whole") // 2, process)
            process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), 60)
        said = err.decode().strip().splitlines()[-1]
        assert process.returncode == 1
        assert said.endswith("go on with `armap plan --resume stopped`")
        assert "Traceback" not in err.decode()
        events = shell.events("stopped")
        assert not [e for e in events if e["kind"] == "answer"]
        # What was under way was finished, not cut off: every answer that was paid for is kept.
        assert requests_behind(events) == set(map(identity, server.requests))
        asked = len(server.requests)
        status, _, err_ = await shell.ended("--resume", "stopped")
        assert status == 0, err_
        assert not requests_behind(events) & set(map(identity, server.requests[asked:]))
        again = len(server.requests)
        assert (await shell.ended("--resume", "stopped"))[0] == 0
        assert len(server.requests) == again
    assert decided(shell.events("stopped")) == decided(shell.events("whole"))
    assert tree_of(shell.events("stopped")) == tree_of(shell.events("whole"))
    assert outcome(shell.events("stopped")) == outcome(shell.events("whole"))

    status, _, err_ = await shell.ended("--replay", "stopped")  # nobody serves any more
    assert status == 0, err_
    assert "every decision is the recorded one" in err_
    replayed = next(
        p.parent.name for p in tmp_path.glob("*/trace.jsonl") if p.parent.name[0] == "2"
    )
    assert decided(shell.events(replayed)) == decided(shell.events("whole"))
    assert shell.events(replayed)[0]["parent"] == {"run": "stopped", "event": None}


async def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path, sys.executable, "-c", WITH_MAZE)
    async with (
        scripted_policy(latency=lambda r: 0.01 if r.number < 20 else 600.0) as server,
        shell.started(*maze(server, "stopped")) as process,
    ):
        async with asyncio.timeout(60):
            while len(server.requests) < 21:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(1.0)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert err.decode().strip().splitlines()[-1].endswith("`armap plan --resume stopped`")
    assert "Traceback" not in err.decode()
    async with scripted_policy() as server:
        status, _, err_ = await shell.ended("--resume", "stopped", "--policy-url", server.url)
        assert status == 0, err_


async def test_a_trained_model_s_search_goes_on_after_a_kill(tmp_path: Path) -> None:
    reward = await asyncio.to_thread(trained_reward, tmp_path)
    shell = Shell(tmp_path / "runs", ARMAP)
    search = ["game24", "901", "--planner", "mcts", "--rollouts", "32", "--reward", str(reward)]
    async with scripted_policy(score=liking, latency=0.03) as server:
        search += ["--policy-url", server.url, "--policy-model", "scripted"]
        assert (await shell.ended(*search, "--run", "whole"))[0] == 0
        async with shell.started(*search, "--run", "killed") as process:
            await shell.grown("killed", shell.lines("whole") // 2, process)
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()
        status, _, err = await shell.ended("--resume", "killed")
        assert status == 0, err
    # A text scored in another batch differs by rounding; what is remembered dies with a process.
    killed, whole = tree_of(shell.events("killed")), tree_of(shell.events("whole"))
    assert killed.keys() == whole.keys()
    for node in whole:
        for name, was in whole[node].items():
            now = killed[node][name]
            assert now == (pytest.approx(was, abs=1e-5) if isinstance(was, float) else was)
    status, _, err = await shell.ended("--replay", "killed")
    assert status == 0, err
