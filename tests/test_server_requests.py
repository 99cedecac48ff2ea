"""What a LangGraph server says of the planners, and which requests for them it refuses."""

from __future__ import annotations

import subprocess
from typing import Any

import httpx
import pytest
from langgraph_dev import TASK, server

from armap_agents.graphs import PLANNERS

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.slow


async def test_studio_gets_a_form(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    from langgraph_sdk import get_client

    client = get_client(url=server[0])
    found = {a["graph_id"]: a["assistant_id"] for a in await client.assistants.search()}
    assert set(found) == set(PLANNERS)
    for planner in PLANNERS:
        schemas = await client.assistants.get_schemas(found[planner])
        asked, told = schemas["input_schema"], schemas["output_schema"]
        assert asked is not None
        assert told is not None
        assert list(asked["properties"]) == asked["required"] == ["task"]
        assert {"trajectory", "score", "candidates", "usage", "run"} <= set(told["properties"])
        for schema in (asked, told):
            assert schema["title"]
            assert all(field["title"] for field in schema["properties"].values())
    schemas = await client.assistants.get_schemas(found["mcts"])
    assert schemas["context_schema"] is not None
    assert schemas["context_schema"]["additionalProperties"] is False
    graph = await client.assistants.get_graph(found["mcts"])
    nodes = {node["id"] for node in graph["nodes"]}
    assert nodes >= {"select", "expand", "rollout", "score", "backup", "answer"}
    for name, field in schemas["context_schema"]["properties"].items():
        assert field["title"] != name
        assert field["description"].strip().endswith((".", "1"))
        kinds = field.get("anyOf", [field])
        bounds = {"minimum", "exclusiveMinimum"}
        for kind in kinds:
            if kind.get("type") in ("integer", "number") and name != "stop_objective":
                assert bounds & set(kind), name
    budgets = ("rollouts", "completions", "tokens", "environment_steps", "seconds")
    searching = (*budgets, "parallel", "proposals", "selection", "exploration", "backup", "width")
    for name in (*searching, "normalisation", "value_weight", "stop_objective", "review"):
        hinted = set(schemas["context_schema"]["properties"][name]["langgraph_nodes"])
        assert hinted & nodes, name


ONE_LINE = {
    "no option is called 'rolouts': use policy_url": {"rolouts": 4},  # a slip of the pen
    "parallel: Input should be greater than or equal to 1, not 0": {"parallel": 0},
    "selection: Input should be 'uct', 'puct' or 'armap', not 'foo'": {"selection": "foo"},
}


async def test_what_cannot_work_is_refused_in_one_line(
    server: tuple[str, subprocess.Popen[bytes]],
) -> None:
    from langgraph_sdk import get_client

    url, _ = server
    client = get_client(url=url)
    async with httpx.AsyncClient(base_url=url) as http:

        async def refused(path: str, body: Any, words: str, method: str = "POST") -> None:
            reply = await http.request(method, path, json=body)
            assert reply.status_code == 422, (path, body, reply.text)
            line = reply.json()["detail"]
            assert words in line
            assert "\n" not in line

        thread = (await client.threads.create())["thread_id"]
        [default] = await client.assistants.search(graph_id="mcts")
        mine = (await client.assistants.create("mcts", context={"rollouts": 4}))["assistant_id"]
        cron = (await http.post("/runs/crons", json=due(mine))).json()["cron_id"]
        starting = ("/runs", "/runs/wait", "/runs/stream", "/runs/crons")
        for words, context in ONE_LINE.items():
            for path in (*starting, *(f"/threads/{thread}{path}" for path in starting)):
                for assistant in ("mcts", default["assistant_id"], mine):
                    await refused(path, due(assistant, context=context), words)
            await refused("/runs", due("mcts", config={"configurable": context}), words)
            await refused("/runs/batch", [due("mcts"), due(mine, context=context)], words)
            command = {"id": 1, "method": "run.start", "params": due(mine, config={})}
            command["params"]["config"]["configurable"] = context
            await refused(f"/threads/{thread}/commands", command, words)
            await refused("/assistants", {"graph_id": "mcts", "context": context}, words)
            for assistant in (default["assistant_id"], mine):
                await refused(f"/assistants/{assistant}", {"context": context}, words, "PATCH")
            await refused(f"/runs/crons/{cron}", {"context": context}, words, "PATCH")
        for words, given in {
            "the input names no task: pass {": {},
            "a task needs id: pass": {"task": {"environment": "game24"}},
            "a task's environment cannot be 24: pass {": {"task": {"environment": 24}},
        }.items():
            await refused("/runs/wait", due("greedy", input=given), words)
            await refused("/runs/batch", [due(mine, input=given)], words)

        # What is in order, and what is another's to judge, passes.
        unknown = "00000000-0000-4000-8000-000000000000"
        assert (await http.post("/runs", json=due(unknown, context={"n": 0}))).status_code == 404
        plumbing = {"configurable": {"thread_id": thread, "rollouts": 4}}
        assert (await http.post("/runs", json=due("mcts", config=plumbing))).status_code == 200
        patched = await http.patch(f"/assistants/{mine}", json={"context": {"rollouts": 5}})
        assert patched.json()["context"] == {"rollouts": 5}
        assert (await http.delete(f"/runs/crons/{cron}")).status_code in (200, 204)


def due(assistant: str, **more: Any) -> dict[str, Any]:
    """A request for a run that is put off, to a cron job if it goes there."""
    later: dict[str, Any] = {"after_seconds": 3600, "schedule": "0 0 1 1 *"}
    return {"assistant_id": assistant, "input": {"task": TASK}, **later, **more}
