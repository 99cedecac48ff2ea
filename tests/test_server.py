"""The planners on a real LangGraph server, over its SDK."""

import asyncio
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_dev import TASK, server
from tiny_reward import trained_reward

from armap_agents.testing import scripted_policy
from armap_agents.trace import read_events

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.slow


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(trained_reward(tmp_path_factory.mktemp("model")))


async def test_every_planner_runs_and_nothing_is_left_behind(
    server: tuple[str, subprocess.Popen[bytes]], reward: str, tmp_path: Path
) -> None:
    from langgraph_sdk import get_client

    url, process = server
    client = get_client(url=url)
    found = {a["graph_id"]: a for a in await client.assistants.search()}
    assert {"greedy", "sampling", "best_of_n"} <= set(found)
    schemas = await client.assistants.get_schemas(found["best_of_n"]["assistant_id"])
    fields = (schemas["context_schema"] or {})["properties"]
    assert fields["policy_url"]["title"] == "Policy endpoint"
    assert all("description" in field for field in fields.values())

    async with scripted_policy() as policy:
        context: dict[str, Any] = {"policy_url": policy.url, "policy_model": "scripted", "n": 4}
        context["reward"] = reward
        for planner in ("greedy", "sampling", "best_of_n"):
            out: Any = await client.runs.wait(None, planner, input={"task": TASK}, context=context)
            assert "trajectory" in out, (out, (tmp_path / "log").read_text()[-3000:])
            assert out["trajectory"]["status"] == "ended"
            assert (tmp_path / "runs" / out["run"] / "trace.jsonl").exists()
        assert [c["score"] for c in out["candidates"]].count(None) == 0
        unreachable = context | {"policy_url": "http://127.0.0.1:9/v1", "policy_retries": 0}
        for planner, asked, words in (
            ("greedy", unreachable, "every rollout failed: the policy at http://127.0.0.1:9/v1"),
            ("mcts", context | {"reward": "nowhere"}, "armap train"),
        ):
            failed: Any = await client.runs.wait(
                None, planner, input={"task": TASK}, context=asked, raise_error=False
            )
            line = failed["__error__"]["message"]
            assert words in line
            assert "\n" not in line
    log = (tmp_path / "log").read_text()
    assert "BlockingError" not in log

    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    await asyncio.sleep(1)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


async def test_a_search_is_swapped_streamed_kept_and_forked(
    server: tuple[str, subprocess.Popen[bytes]], reward: str, tmp_path: Path
) -> None:
    from langgraph_sdk import get_client

    url, _ = server
    client: Any = get_client(url=url)
    async with scripted_policy() as one, scripted_policy() as other:
        context = {"policy_url": one.url, "policy_model": "scripted", "reward": reward}
        context |= {"rollouts": 8, "parallel": 4}
        first = await client.runs.wait(None, "mcts", input={"task": TASK}, context=context)
        assert first["usage"]["rollouts"] == 8, first
        asked = len(one.requests)
        assert asked
        assert not other.requests

        # Another endpoint and another budget are two fields.
        context |= {"policy_url": other.url, "rollouts": 12, "seed": 3}
        thread = (await client.threads.create())["thread_id"]
        updates, live = [], []
        async for part in client.runs.stream(
            thread,
            "mcts",
            input={"task": TASK},
            context=context,
            stream_mode=["updates", "custom"],
        ):
            assert part.event in ("metadata", "updates", "custom"), part
            {"updates": updates, "custom": live}.get(part.event, []).append(part.data)
        assert len(one.requests) == asked
        assert other.requests
        phases = [next(iter(update)) for update in updates]
        assert phases[:3] == ["begin", "select", "expand"]
        outcomes = [
            outcome
            for update in updates
            for node in ("expand", "rollout")
            for outcome in (update.get(node) or {}).get("outcomes", ())
        ]
        assert len({outcome["node"] for outcome in outcomes}) == 12
        assert phases[-2:] == ["review", "answer"]
        second = updates[-1]["answer"]
        assert second["usage"]["rollouts"] == 12
        (run,) = {update["begin"]["run"] for update in updates if "begin" in update}
        recorded = list(read_events(tmp_path / "runs" / run / "trace.jsonl"))
        assert live == recorded[1:]
        assert {"proposals", "selection", "rollout", "backup", "answer"} <= {
            event["kind"] for event in live
        }

        history = await client.threads.get_history(thread, limit=200)
        assert history[0]["values"]["trajectory"] == second["trajectory"]
        assert "select 0" not in history[0]["values"]["tree_view"]
        early = next(
            s for s in history if s["next"] == ["select"] and s["values"]["iteration"] == 1
        )
        before = len(other.requests)
        fork = await client.runs.wait(
            thread,
            "mcts",
            input=None,
            checkpoint_id=early["checkpoint"]["checkpoint_id"],
            context=context | {"exploration": 9.0, "seed": 4},
        )
        assert len(other.requests) > before
        assert fork["run"] != run
        assert fork["tree"] != history[0]["values"]["tree"]
        forked = list(read_events(tmp_path / "runs" / fork["run"] / "trace.jsonl"))
        assert forked[0]["parent"] == {"run": run, "event": "backup/0"}
        assert forked[0]["settings"]["exploration"] == 9.0
        assert list(read_events(tmp_path / "runs" / run / "trace.jsonl")) == recorded

    async with httpx.AsyncClient(base_url=url) as http:
        listed = await http.get("/traces")
        assert listed.status_code == 200
        assert run in listed.text
        for name in (run, fork["run"]):
            page = await http.get(f"/traces/{name}")
            assert page.status_code == 200
            assert "text/html" in page.headers["content-type"]
        assert (await http.get("/traces/nope")).status_code == 404
    assert "BlockingError" not in (tmp_path / "log").read_text()


async def test_the_server_answers_while_a_search_scores(
    server: tuple[str, subprocess.Popen[bytes]],
    reward: str,
    record_property: Any,
) -> None:
    from langgraph_sdk import get_client

    url, _ = server
    client: Any = get_client(url=url)
    lags: list[float] = []

    async def poll() -> None:
        async with httpx.AsyncClient(base_url=url) as http:
            while True:
                began = time.perf_counter()
                assert (await http.get("/ok")).status_code == 200
                lags.append(time.perf_counter() - began)
                await asyncio.sleep(0.02)

    async with scripted_policy() as policy:
        context = {"policy_url": policy.url, "policy_model": "scripted", "reward": reward}
        await client.runs.wait(None, "mcts", input={"task": TASK}, context=context)  # imports
        for planner, options in (("best_of_n", {"n": 64}), ("mcts", {"rollouts": 64})):
            lags.clear()
            polling = asyncio.create_task(poll())
            out = await client.runs.wait(
                None, planner, input={"task": TASK}, context=context | options
            )
            polling.cancel()
            assert out["usage"]["scored"] > 0
            assert lags
            ordered = sorted(lags)
            figures = (
                f"{len(lags)} polls, median {1000 * ordered[len(lags) // 2]:.0f} ms, "
                f"95 % {1000 * ordered[int(0.95 * len(lags))]:.0f} ms, "
                f"longest {1000 * ordered[-1]:.0f} ms"
            )
            record_property(planner, figures)
            print(planner, figures)
