"""Reward models behind an address: the same members and numbers, patience, and clear errors."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from plan_command import Plan, asking, plan, refused
from plan_command import served as policy_served
from random_vila import save_random_vila
from reward_servers import (
    CALIBRATED,
    Shade,
    free_port,
    picture,
    serve_command,
    serving,
    trajectories,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from tiny_reward import save_random_reward
from vila_episodes import OPTIONS

from armap_agents import resources
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward import client as client_module
from armap_agents.reward import load_reward
from armap_agents.reward.client import open_client
from armap_agents.reward.model import new_network, save_network
from armap_agents.reward.render import Rendering
from armap_agents.reward.server import create_app
from armap_agents.reward.settings import Settings
from armap_agents.reward.wire import Limits
from armap_agents.reward_model import RewardModel
from armap_agents.testing import scripted_policy
from armap_agents.trace import read_events
from armap_agents.trajectory import Image, Observation, Step, Task, Trajectory

__all__ = ["plan"]  # a fixture

SECRET = "only-the-environment-knows-this"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_reward(tmp_path_factory.mktemp("client") / "model", {"maze": CALIBRATED})


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARMAP_REWARD_API_KEY_ENV", raising=False)


def ending(text: str, **more: Any) -> Trajectory:
    """Return a trajectory whose last observation is this; it has attachments and actions."""
    seen = Observation(text, ("go",) * 50, attachments={"whole": picture(9)}, **more)
    return Trajectory(Task("0", "maze"), "find a number", Observation("start"), (Step("go", seen),))


def one_line(error: pytest.ExceptionInfo[Any]) -> str:
    line = str(error.value)
    assert "\n" not in line
    return line


# --- the same as in-process -----------------------------------------------------------------------


def test_it_has_the_numbers_and_the_members_of_the_model(model: Path) -> None:
    reward = load_reward(model)
    found = trajectories(150)
    with serving(create_app(reward)) as url:
        remote = load_reward(url + "/")
        assert isinstance(remote, RewardModel)
        assert remote.score(found) == pytest.approx(reward.score(found), abs=1e-5)
        assert remote.value(found) == pytest.approx(reward.value(found), abs=1e-5)
    assert remote.fingerprint == reward.fingerprint
    assert remote.environments == reward.environments == ("maze",)
    for ours, theirs in ((remote, reward), (remote.of("maze"), reward.of("maze"))):
        assert (ours.mean, ours.std) == (theirs.mean, theirs.std) == (0.25, 2.0)
        assert ours.probability([0.0, 3.0]) == theirs.probability([0.0, 3.0])
        assert ours.preference(1.0, 0.5) == theirs.preference(1.0, 0.5)
    public = {name for name, _ in inspect.getmembers(reward) if not name.startswith("_")}
    assert public <= set(dir(remote))


def test_what_is_not_calibrated_has_no_probability() -> None:
    with serving(create_app(Shade())) as url:
        remote = load_reward(url)
    assert not hasattr(remote, "probability")
    assert not hasattr(remote.of("maze"), "preference")


def test_every_event_loop_may_use_it_and_scripts_may_wait(model: Path) -> None:
    found = trajectories(5)
    with serving(create_app(load_reward(model))) as url:
        remote = load_reward(url)
        first = asyncio.run(remote.ascore(found))
        assert asyncio.run(remote.ascore(found)) == first == remote.score(found)

        async def in_a_running_loop() -> None:
            async with resources():
                assert await remote.ascore(found) == first
                assert remote.score(found) == first
                assert await remote.ascore([]) == []
                await remote.aclose()

        asyncio.run(in_a_running_loop())


def test_a_client_needs_no_torch() -> None:
    code = (
        "import sys; from armap_agents.reward.client import open_client as o; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "fastapi"} & set(loaded.stdout.split())


async def test_a_scorer_is_sent_what_it_reads_and_no_more() -> None:
    blind, seeing = Shade(images=False), Shade()
    for shade in (blind, seeing):
        with serving(create_app(shade)) as url:
            await load_reward(url).ascore([ending("4", image=picture(77))])
    for shade, image in ((blind, None), (seeing, picture(77))):
        (arrived,) = shade.seen
        assert arrived.last == Observation("4", image=image)
        assert arrived.actions == ["go"]
        assert arrived.instruction == "find a number"


@pytest.mark.slow
def test_a_model_that_sees_gives_the_same_scores(tmp_path: Path) -> None:
    network = new_network("vila", str(save_random_vila(tmp_path / "vila")), OPTIONS, seed=0)
    seeing = replace(CALIBRATED, rendering=Rendering(images=True))
    settings = Settings(asdict(network.backbone.spec), {"maze": seeing})
    save_network(network, settings, tmp_path / "model")
    reward = load_reward(tmp_path / "model")
    found = [ending(f"{k % 2}", image=picture(40 * k)) for k in range(6)]
    damaged = ending("0", image=Image(b"no picture"))
    with serving(create_app(reward)) as url:
        remote = load_reward(url)
        scores = remote.score(found)
        with pytest.raises(ArmapError, match="cannot score trajectory") as failed:
            remote.score([*found, damaged])
    assert damaged.id in str(failed.value)
    assert scores == pytest.approx(load_reward(tmp_path / "model").score(found), abs=1e-5)
    assert len(set(scores)) == len(found)


async def test_half_characters_travel_unharmed() -> None:
    shade = Shade()
    odd = replace(ending("4"), instruction="half \ud83d a face")
    with serving(create_app(shade)) as url:
        assert await load_reward(url).ascore([odd]) == [4.0]
    assert shade.seen[0].instruction == odd.instruction


async def test_large_batches_are_cut_by_count_and_by_bytes() -> None:
    shade = Shade()
    found = [ending(str(number), image=picture(number)) for number in range(50)]
    for limits, requests in (
        (Limits(trajectories=7), 8),
        (Limits(trajectories=7, body_bytes=2000), 50),
    ):
        shade.calls = 0
        with serving(create_app(shade, limits=limits)) as url:
            assert await load_reward(url).ascore(found) == [float(n) for n in range(50)]
        assert shade.calls == requests


async def test_what_is_too_large_for_the_server_says_so() -> None:
    with serving(create_app(Shade(), limits=Limits(body_bytes=2000, image_bytes=10))) as url:
        remote = load_reward(url)
        with pytest.raises(ArmapError, match=r"takes 2000 bytes, .*a greater --max-body") as long:
            await remote.ascore([ending("4" + " " * 2_000_000)])
        with pytest.raises(ArmapError, match=r"413.*send at most 10.*raise its limits") as large:
            await remote.ascore([ending("", image=picture(3))])
    one_line(long)
    one_line(large)


# --- errors ---------------------------------------------------------------------------------------


async def test_a_trajectory_that_cannot_be_scored_is_named() -> None:
    bad = ending("nan")
    with (
        serving(create_app(Shade())) as url,
        pytest.raises(ArmapError, match=r"cannot score trajectory .* output is nan") as failed,
    ):
        await load_reward(url).ascore([ending("1"), bad])
    assert bad.id in str(failed.value)
    one_line(failed)


async def test_a_servers_error_names_a_trajectory_as_its_sender_does() -> None:
    class Picky(Shade):
        async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
            raise ArmapError(f"trajectory {trajectories[0].id} (task 0): it is odd")

    bad = ending("1")
    with serving(create_app(Picky())) as url, pytest.raises(ArmapError) as failed:
        await load_reward(url).ascore([bad])
    assert one_line(failed).endswith(f"cannot score trajectory {bad.id} (task 0): it is odd")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://:80",
        "http://[",
        "http://host:port",
        "http://host:99999",
        "http://exämple..com",
        "http://ho\x01st",
        "http://..",
        "http://" + "a" * 70,
        "http://xn--a",
        "HTTP://user:pw@host:1",
        "http://user:p/w@host:1",
        "http://host:1?key=pw",
    ],
)
def test_an_address_that_is_none_says_so(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_reward(url)
    assert "pw" not in (line := one_line(refused))
    assert "p/w" not in line


def test_where_nobody_answers_the_error_names_the_command() -> None:
    with pytest.raises(
        ArmapError, match=r"cannot be reached: .*`armap serve reward MODEL`"
    ) as gone:
        load_reward(f"http://127.0.0.1:{free_port()}")
    one_line(gone)


DESCRIBED = {"fingerprint": "f", "limits": {}, **Shade().settings.to_dict()}


def foreign(answer: Response) -> Starlette:
    async def everything(_: Request) -> Response:
        return answer

    return Starlette(routes=[Route("/{path:path}", everything, methods=["GET", "POST"])])


@pytest.mark.parametrize(
    "answer",
    [
        HTMLResponse("<h1>no such page</h1>", 404),
        HTMLResponse("<h1>welcome</h1>"),
        JSONResponse([1, 2]),
        JSONResponse({"fingerprint": 1}),
        JSONResponse({"data": [1]}),
        HTMLResponse("", 307, {"location": "/"}),
        Response(b"no gzip", headers={"content-encoding": "gzip"}),
        Response(b"[" * 100_000),
        JSONResponse(DESCRIBED | {"limits": {"trajectories": 0}}),
        JSONResponse(DESCRIBED | {"limits": {"trajectories": -1}}),
        JSONResponse(DESCRIBED | {"limits": {"body_bytes": "many"}}),
    ],
)
def test_a_foreign_server_gets_one_clear_error(answer: Response) -> None:
    with serving(foreign(answer)) as url, pytest.raises(ArmapError, match=url) as refused:
        load_reward(url)
    one_line(refused)


@pytest.mark.parametrize(
    "content",
    [
        b'{"fingerprint": "f", "scores": [NaN], "errors": []}',
        b'{"fingerprint": "f", "scores": [1e999], "errors": []}',
        b'{"fingerprint": "f", "scores": [], "errors": []}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_numbers_is_no_score(content: bytes) -> None:
    async def described(_: Request) -> Response:
        return JSONResponse(DESCRIBED)

    async def scored(_: Request) -> Response:
        return Response(content)

    app = Starlette(routes=[Route("/model", described), Route("/score", scored, methods=["POST"])])
    with serving(app) as url:
        model = load_reward(url)
        with pytest.raises(ArmapError, match="answered what is no score") as refused:
            model.score([ending("1")])
    one_line(refused)


async def test_a_server_of_another_version_says_so() -> None:
    described = DESCRIBED | {"schema_version": 9}
    with (
        serving(foreign(JSONResponse(described))) as url,
        pytest.raises(ConfigurationError, match="schema version 9"),
    ):
        load_reward(url)


async def test_another_model_under_the_same_address_is_noticed() -> None:
    port = free_port()
    with serving(create_app(Shade()), port) as url:
        remote = load_reward(url)

    class Other(Shade):
        @property
        def fingerprint(self) -> str:
            return "shade-2"

    with (
        serving(create_app(Other()), port),
        pytest.raises(ArmapError, match="serves another model than before") as refused,
    ):
        await remote.ascore([ending("1")])
    one_line(refused)


async def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", SECRET)
    with serving(create_app(Shade(), api_key=SECRET)) as url:
        with pytest.raises(ArmapError, match=r"refuses the key: .*ARMAP_REWARD_API_KEY_ENV"):
            load_reward(url)
        monkeypatch.setenv("ARMAP_REWARD_API_KEY_ENV", "REWARD_KEY")
        remote = load_reward(url)
        assert await remote.ascore([ending("1")]) == [1.0]
        monkeypatch.setenv("REWARD_KEY", f"not-{SECRET}")
        with pytest.raises(
            ArmapError, match=r"refuses the key: check the key in \$REWARD_KEY"
        ) as no:
            await remote.ascore([ending("1")])
        assert SECRET not in one_line(no)
        for unusable in ("", "two\nlines", "schlüssel"):
            monkeypatch.setenv("REWARD_KEY", unusable)
            with pytest.raises(ConfigurationError, match="environment variable REWARD_KEY"):
                await remote.ascore([ending("1")])


# --- patience -------------------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again() -> None:
    shade, refused = Shade(), 0
    app = create_app(shade)

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        nonlocal refused
        if scope["path"] == "/score" and refused < 3:
            refused += 1
            status = (429, 503, 502)[refused - 1]
            await JSONResponse({"error": "busy"}, status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    with serving(busy) as url:
        assert await load_reward(url).ascore([ending("3")]) == [3.0]
    assert refused == 3


async def test_a_server_that_comes_back_goes_on(model: Path) -> None:
    port = free_port()
    found = trajectories(5)
    with serving(create_app(load_reward(model)), port) as url:
        remote = load_reward(url)
        first = await remote.ascore(found)
    asking = asyncio.create_task(remote.ascore(found))
    await asyncio.sleep(0.3)
    assert not asking.done()
    with serving(create_app(load_reward(model)), port):
        assert await asking == first


async def test_patience_ends_in_one_line() -> None:
    with serving(create_app(Shade())) as url:
        remote = open_client(url, patience=0.5)
    with pytest.raises(ArmapError, match=r"cannot be reached, tried for \d+ s: .*--resume") as gone:
        await remote.ascore([ending("1")] * 200)
    one_line(gone)


async def test_a_connection_that_is_cut_in_an_answer_is_tried_again() -> None:
    shade, cut = Shade(), 0
    app = create_app(shade)

    async def cutting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal cut
        if scope["path"] == "/score" and cut < 2:
            cut += 1
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"4096")],
                }
            )
            await send({"type": "http.response.body", "body": b"{"})
        else:
            await app(scope, receive, send)

    with serving(cutting) as url:
        assert await load_reward(url).ascore([ending("3")]) == [3.0]
    assert cut == 2


# --- in a search ----------------------------------------------------------------------------------

SEARCH = ["maze", "0", "--planner", "mcts", "--rollouts", "24", "--parallel", "4", "--seed", "3"]


def scored(runs: Path, run: str) -> dict[str, Any]:
    """Return what the reward model said in a run, by event."""
    path = runs / run / "trace.jsonl"
    found = list(read_events(path)) if path.exists() else []
    return {e["id"]: e.get("scores", e.get("values")) for e in found if e["kind"] in SCORED}


SCORED = ("score", "value")


@contextmanager
def killed_in_mid_search(
    process: subprocess.Popen[str], runs: Path, then: Callable[[], None]
) -> Iterator[None]:
    """Kill the server with SIGKILL once a few scores are in run R's journal."""

    def kill() -> None:
        while len(scored(runs, "R")) < 4:
            time.sleep(0.01)
        process.kill()
        process.wait()
        then()

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


@pytest.mark.slow
def test_a_search_whose_server_dies_ends_in_one_line_and_is_gone_on_with(
    model: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = partial(open_client, patience=1.0)
    monkeypatch.setattr(client_module, "open_client", impatient)
    monkeypatch.setenv("REWARD_KEY", SECRET)
    monkeypatch.setenv("ARMAP_REWARD_API_KEY_ENV", "REWARD_KEY")
    key = ("--api-key-env", "REWARD_KEY")
    port = ("--port", str(free_port()))
    with policy_served(scripted_policy()) as policy_server:
        with serve_command(model, *port, *key) as (url, process):
            assert plan(*SEARCH, *asking(policy_server), "--reward", url, "--run", "whole")[0] == 0
            with killed_in_mid_search(process, tmp_path, lambda: None):
                line = refused(plan(*SEARCH, *asking(policy_server), "--reward", url, "--run", "R"))
        assert f"the reward server at {url} cannot be reached" in line
        before = scored(tmp_path, "R")
        assert before
        with serve_command(model, *port, *key):
            status, _, shown = plan("--resume", "R")
    assert status == 0, shown
    after = scored(tmp_path, "R")
    assert {name: after[name] for name in before} == before
    whole = scored(tmp_path, "whole")
    assert after.keys() == whole.keys()
    for name, numbers in whole.items():
        assert after[name] == pytest.approx(numbers, abs=1e-5)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in written)


@pytest.mark.slow
def test_a_search_waits_for_a_server_that_comes_back(
    model: Path, plan: Plan, tmp_path: Path
) -> None:
    port = ("--port", str(free_port()))
    with ExitStack() as servers:
        url, process = servers.enter_context(serve_command(model, *port))

        def start_again() -> None:
            servers.enter_context(serve_command(model, *port))

        with (
            policy_served(scripted_policy()) as policy_server,
            killed_in_mid_search(process, tmp_path, start_again),
        ):
            status, _, shown = plan(*SEARCH, *asking(policy_server), "--reward", url, "--run", "R")
    assert status == 0, shown
    kinds = [event["kind"] for event in read_events(tmp_path / "R" / "trace.jsonl")]
    assert kinds.count("answer") == 1
