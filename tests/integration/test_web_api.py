"""What a server with real processes tells of them by HTTP."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import gymtwist.client
from gymtwist.web.openapi import describe
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

MODULE = "tests.support.multi_agent_environments"
OPTIONS = ("--allow", "*", "--allow", f"{MODULE}:*")


class Answer(msgspec.Struct):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return msgspec.json.decode(self.body)


def ask(server: ServerProcess, path: str, **headers: str) -> Answer:
    """Ask for a path."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://localhost:{server.port}{path}", headers=named)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def check(body: Any, path: str, status: int = 200) -> None:
    """Check an answer with its description."""
    description = describe()
    content = description["paths"][path]["get"]["responses"][str(status)]["content"]
    schema = content["application/json"]["schema"] | {"components": description["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


def number_of(server: ServerProcess, environment: str) -> int:
    """Return the number of the newest session of an environment."""
    rows = ask(server, "/api/sessions").json["sessions"]
    return max(int(each["number"]) for each in rows if each["environment"] == environment)


@contextmanager
def played(act: Callable[[], object]) -> Iterator[None]:
    """Do something again and again within the context."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_environments_are_listed(server: ServerProcess) -> None:
    """Those that clients may ask for, twice the same."""
    first, second = (ask(server, "/api/environments").json for _ in range(2))
    check(first, "/api/environments")
    assert first == second
    listed = {each["id"]: each for each in first["environments"]}
    assert listed["CartPole-v1"]["max_episode_steps"] == 500
    assert listed["CartPole-v1"]["library"] == "gymnasium"


def test_an_environment_is_described(server: ServerProcess) -> None:
    """Also one with a slash in its id, however that is written."""
    pytest.importorskip("ale_py")
    for name in ("CartPole-v1", "ALE/Pong-v5", quote("ALE/Pong-v5", safe="")):
        answer = ask(server, f"/api/environments/{name}")
        check(answer.json, "/api/environments/{id}")
        assert answer.json["action_space"]["kind"] == "Discrete"


def test_an_environment_that_cannot_be_made(server: ServerProcess) -> None:
    """Is an error with the words that any client gets."""
    answer = ask(server, "/api/environments/CartPole-v0815")
    check(answer.json, "/api/environments/{id}", 400)
    assert (answer.status, answer.json["code"]) == (400, "unknown-environment")


def test_another_site_has_nothing_made(server: ServerProcess) -> None:
    """A browser says where a request for a picture comes from."""
    assert ask(server, "/api/environments/CartPole-v1", Sec_Fetch_Site="cross-site").status == 403
    assert ask(server, "/api/environments/CartPole-v1", Sec_Fetch_Site="same-origin").status == 200


def test_frames_come_one_after_the_other(server: ServerProcess) -> None:
    """Of a session that is played."""
    with gymtwist.client.connect(server.port, "CartPole-v1", render_mode="rgb_array") as env:
        env.reset(seed=1)
        path = f"/api/sessions/{number_of(server, 'CartPole-v1')}/frame"

        def act() -> None:
            if any(env.step(0)[2:4]):
                env.reset()

        with played(act):
            numbers: list[int] = []
            for _ in range(3):
                answer = ask(server, f"{path}?after={numbers[-1] if numbers else 0}")
                assert answer.body.startswith(b"\x89PNG")
                numbers.append(int(answer.headers["frame-number"]))
    assert numbers == sorted(set(numbers))
    assert ask(server, f"{path}?after=1000000").headers["no-frame"] == "no-session"


def test_a_multi_agent_environment_is_shown(server: ServerProcess) -> None:
    """With the sum of the rewards of all agents."""
    pytest.importorskip("pettingzoo")
    name = f"{MODULE}:Drawn"
    env = gymtwist.client.connect_parallel(server.port, name, render_mode="rgb_array", reward="float")
    env.reset(seed=1)
    number = number_of(server, name)

    def act() -> None:
        env.reset(seed=1)
        while env.agents:
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})

    with played(act):
        answer = ask(server, f"/api/sessions/{number}/frame")
    assert answer.body.startswith(b"\x89PNG")
    page = ask(server, f"/api/sessions/{number}").json
    check(page, "/api/sessions/{number}")
    assert page["last_episodes"]
    assert {each["steps"] for each in page["last_episodes"]} == {4}
    assert len({each["return"] for each in page["last_episodes"]}) == 1
    env.close()


def test_steps_are_timed_after_a_scrape(server: ServerProcess) -> None:
    """As many as a scrape asks for."""
    with gymtwist.client.connect(server.port, "Pendulum-v1") as env:
        env.reset(seed=1)
        timed = []
        for _ in range(3):
            families = text_string_to_metric_families(ask(server, "/metrics").body.decode())
            found = {each.name: each.value for family in families for each in family.samples}
            timed.append(found["gymtwist_step_seconds_count"])
            for _ in range(150):
                if any(env.step([0.0])[2:4]):
                    env.reset()
        assert timed[2] - timed[1] == timed[1] - timed[0] == 100
        assert found["gymtwist_network_bytes_total"] > 0
        assert found["process_open_fds"] > 0
