"""The reward server: what it answers to good and bad requests, under load, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from reward_servers import (
    CALIBRATED,
    Shade,
    picture,
    serve_command,
    serving,
    trajectories,
)
from tiny_reward import save_random_reward

from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.server import create_app, serve
from armap_agents.reward.wire import Limits
from armap_agents.trajectory import Image, Observation, Step, Task, Trajectory

CLIENTS = 16
SECRET = "only-the-environment-knows-this"


def ending(text: str, image: Image | None = None) -> Trajectory:
    """Return a trajectory whose last observation is this."""
    last = Step("go", Observation(text, image=image))
    return Trajectory(Task("0", "maze"), "find a number", Observation("start"), (last,))


def sent(found: list[Trajectory], **more: Any) -> dict[str, Any]:
    return {"trajectories": [t.to_dict(inline=True) for t in found], **more}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_reward(tmp_path_factory.mktemp("server") / "model", {"maze": CALIBRATED})


def refusal(response: httpx.Response) -> str:
    """Return the one line of a refusal."""
    assert response.status_code >= 400
    assert set(response.json()) == {"error"}
    line: str = response.json()["error"]
    assert "\n" not in line
    return line


# --- answers --------------------------------------------------------------------------------------


def test_many_clients_at_once_get_what_the_model_says_in_process(model: Path) -> None:
    reward = load_reward(model)
    batches = [trajectories(1 + 3 * k, seed=k) for k in range(CLIENTS)]
    scores = [reward.score(batch) for batch in batches]
    values = [reward.value(batch) for batch in batches]

    async def ask_all(url: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            bodies = [sent(batch, outputs=["value", "score"]) for batch in batches]
            answers = await asyncio.gather(*(http.post("/score", json=body) for body in bodies))
        return [answer.json() for answer in answers]

    with serving(create_app(load_reward(model))) as url:
        answers = asyncio.run(ask_all(url))
    for k, answer in enumerate(answers):
        assert answer["errors"] == []
        assert answer["fingerprint"] == reward.fingerprint
        assert answer["scores"] == pytest.approx(scores[k], abs=1e-5)
        assert answer["values"] == pytest.approx(values[k], abs=1e-5)


def test_pictures_arrive_with_their_trajectories() -> None:
    shades = [(7 * k) % 256 for k in range(40)]
    with serving(create_app(Shade())) as url:
        batch = [ending("", picture(shade)) for shade in shades]
        answer = httpx.post(f"{url}/score", json=sent(batch)).json()
    assert answer == {"fingerprint": "shade-1", "scores": shades, "errors": []}


def test_the_server_says_what_it_serves(model: Path) -> None:
    reward = load_reward(model)
    with serving(create_app(reward, limits=Limits(trajectories=9))) as url:
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        said = httpx.get(f"{url}/model").json()
    assert said["fingerprint"] == reward.fingerprint
    assert said["schema_version"] == 2
    assert said["limits"]["trajectories"] == 9
    known = said["environments"]["maze"]
    assert (known["mean"], known["std"]) == (CALIBRATED.mean, CALIBRATED.std)
    assert known["calibration"]["temperature"] == 0.5


def test_a_request_for_nothing_is_answered() -> None:
    with serving(create_app(Shade())) as url:
        answer = httpx.post(f"{url}/score", json=sent([], outputs=["value"])).json()
    assert answer == {"fingerprint": "shade-1", "values": [], "errors": []}


# --- bad trajectories and bad requests ------------------------------------------------------------


def test_a_bad_trajectory_costs_one_item() -> None:
    good = [ending(str(number)) for number in range(6)]
    items = sent(good)["trajectories"]
    damaged = ending("1", picture(1)).to_dict(inline=True)
    damaged["steps"][0]["observation"]["image"]["sha256"] = "0" * 64
    items[1:1] = [
        {"no": "trajectory"},
        "text",
        damaged,
        ending("1").to_dict() | {"instruction": 7},
        ending("0", Image(b"no picture")).to_dict(inline=True),
        ending("nan").to_dict(),
        ending("1", picture(1)).to_dict(),  # its bytes stayed at home
        ending("1").to_dict() | {"id": 7},
    ]
    with serving(create_app(Shade())) as url:
        body = {"trajectories": items, "outputs": ["score", "value"]}
        answer = httpx.post(f"{url}/score", json=body).json()
    assert answer["scores"] == [0.0, *[None] * 8, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert answer["values"] == [0.01, *[None] * 8, *[0.01] * 5]
    lines = {error["index"]: error["error"] for error in answer["errors"]}
    assert list(lines) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "it is no trajectory" in lines[1] == lines[2] == lines[4] == lines[8]
    assert "is damaged" in lines[3]
    assert "could not be scored (UnidentifiedImageError)" in lines[5]
    assert "nan" in lines[6]
    assert "has no bytes here" in lines[7]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 422, "`trajectories` must be"),
        (b'{"trajectories": {}}', 422, "`trajectories` must be"),
        (b'{"trajectories": [], "outputs": ["reward"]}', 422, "score or value"),
        (b'{"trajectories": [], "outputs": [{}]}', 422, "score or value"),
        (b'{"trajectories": [], "outputs": []}', 422, "score or value"),
        (b'{"trajectories": [1, 2, 3, 4]}', 413, "at most 3"),
        (b" " * 300_000, 413, "at most 200000 bytes"),
    ],
)
def test_a_malformed_or_large_request_is_refused_in_one_line(
    body: bytes, status: int, said: str
) -> None:
    with serving(create_app(Shade(), limits=Limits(body_bytes=200_000, trajectories=3))) as url:
        response = httpx.post(f"{url}/score", content=body)
        assert said in refusal(response)
        assert response.status_code == status
        # Without a length in front, too.
        response = httpx.post(f"{url}/score", content=iter([body[:10], body[10:]]))
        assert (response.status_code, said in refusal(response)) == (status, True)


def test_a_picture_beyond_the_limit_is_refused() -> None:
    with serving(create_app(Shade(), limits=Limits(image_bytes=10))) as url:
        response = httpx.post(f"{url}/score", json=sent([ending("", picture(3))]))
    assert response.status_code == 413
    assert "send at most 10" in refusal(response)


def test_what_is_not_there_is_refused_in_one_line() -> None:
    with serving(create_app(Shade())) as url:
        assert refusal(httpx.get(f"{url}/scores")) == "Not Found"
        assert refusal(httpx.get(f"{url}/score")) == "Method Not Allowed"


# --- many clients ---------------------------------------------------------------------------------


async def until(happened: Any) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


async def test_a_client_that_comes_when_too_many_wait_is_sent_away_for_a_while() -> None:
    shade = Shade()
    shade.gate.clear()
    with serving(create_app(shade, limits=Limits(waiting=4))) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            body = sent([ending("1")] * 3)
            first = asyncio.create_task(http.post("/score", json=body))
            await until(lambda: shade.calls == 1)
            response = await http.post("/score", json=body)
            assert response.status_code == 429
            assert response.headers["retry-after"] == "1"
            assert "3 trajectories wait" in refusal(response)
            shade.gate.set()
            assert (await first).json()["scores"] == [1.0] * 3
            assert (await http.post("/score", json=body)).json()["scores"] == [1.0] * 3


async def test_a_client_that_goes_away_stops_nobody_and_gives_its_place_back() -> None:
    shade = Shade()
    shade.gate.clear()
    with serving(create_app(shade, limits=Limits(waiting=4))) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            gone = asyncio.create_task(http.post("/score", json=sent([ending("1")] * 3)))
            await until(lambda: shade.calls == 1)
            gone.cancel()
            body = sent([ending("2")] * 4)

            async def taken() -> httpx.Response:
                while True:
                    response = await http.post("/score", json=body)
                    if response.status_code != 429:
                        return response

            staying = asyncio.create_task(taken())
            await until(lambda: shade.calls == 2)
            shade.gate.set()
            assert (await staying).json()["scores"] == [2.0] * 4


async def test_a_client_that_goes_away_while_it_sends_stops_nobody() -> None:
    with serving(create_app(Shade())) as url:
        port = int(url.rpartition(":")[2])
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            await writer.drain()
            writer.close()
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{url}/score", json=sent([ending("5")]))
    assert answer.json()["scores"] == [5.0]


# --- the key and the address ----------------------------------------------------------------------


def test_a_key_guards_all_but_health() -> None:
    with serving(create_app(Shade(), api_key=SECRET)) as url:
        body = sent([ending("1")])
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": SECRET}):
            for response in (
                httpx.post(f"{url}/score", json=body, headers=headers),
                httpx.get(f"{url}/model", headers=headers),
            ):
                assert response.status_code == 401
                assert SECRET not in refusal(response)
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/openapi.json").status_code == 404
        headers = {"Authorization": f"Bearer {SECRET}"}
        assert httpx.post(f"{url}/score", json=body, headers=headers).json()["scores"] == [1.0]


def test_an_open_address_needs_a_key(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"0\.0\.0\.0 is open .*--api-key-env"):
        serve(model, "0.0.0.0", 0)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="set the environment variable NO_SUCH_KEY"):
        serve(model, "0.0.0.0", 0, api_key_env="NO_SUCH_KEY")


def test_a_taken_port_and_a_foreign_folder_say_so(model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"{port} cannot be listened on .*--port"):
            serve(model, "127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="is not a reward model"):
        serve(tmp_path, "127.0.0.1", 0)


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(model: Path, number: signal.Signals) -> None:
    with serve_command(model) as (url, process):
        assert len(httpx.post(f"{url}/score", json=sent(trajectories(3))).json()["scores"]) == 3
        process.send_signal(number)
        assert process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_neither_keys_nor_texts_reach_the_log(tmp_path: Path) -> None:
    environments = {"maze": replace(CALIBRATED, rendering=Shade().settings.of("maze").rendering)}
    model = save_random_reward(tmp_path / "model", environments)
    bad = ending("PRIVATE-TEXT")
    items = [bad.to_dict() | {"steps": ["PRIVATE-TEXT"]}, bad.to_dict()]
    items[1]["instruction"] = "PRIVATE-TEXT \ud800"
    with serve_command(model, "--api-key-env", "KEY", variables={"KEY": SECRET}) as (url, process):
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        for content in (json.dumps({"trajectories": items}), '{"trajectories": "PRIVATE-TEXT"}'):
            httpx.post(f"{url}/score", content=content.encode(), headers=headers)
        httpx.post(f"{url}/score", content="PRIVATE-TEXT", headers={"Authorization": "Bearer no"})
        process.terminate()
        assert process.stderr is not None
        logged = process.stderr.read()
        assert process.wait(60) == 0
    assert "PRIVATE" not in logged
    assert SECRET not in logged
