"""The referee of clients: a right client passes every assertion, and each bad habit is found by name."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from gymtwist.client import connect
from gymtwist_conformance.assertions import Result
from gymtwist_conformance.referee import Referee, Report, listen, referee_clients
from gymtwist_conformance.reference_client import INT32, NETSTRING, PATIENCE, ByteStream, Failed, message
from gymtwist_conformance.scenarios import SCENARIOS
from tests.support.misbehaving_clients import (
    Blind,
    Choosy,
    Clinging,
    Colourblind,
    Ending,
    Endless,
    Forgetful,
    Greeting,
    Hasty,
    Impatient,
    Late,
    Lost,
    Misspelt,
    Numberless,
    OffByOne,
    Resetting,
    Reversed,
    Rude,
    Scalar,
    Sharing,
    Shuffling,
    Single,
    Stranger,
    Stubborn,
    Sweeping,
    Timid,
    Waiting,
)
from tests.support.scenario_client import PARTS, ScenarioClient

BY_ID = {each.id: each for each in SCENARIOS}
SPOKEN = [(NETSTRING, "nested"), (NETSTRING, "base64"), (INT32, "nested")]


def judge(
    scenario: str, player: type[ScenarioClient], encoding: str, form: str = "nested", patience: float = 5.0
) -> list[Result]:
    """Let a player play one scenario; return the results."""
    found: list[Result] = []
    with listen("127.0.0.1", 0) as listener:
        results = referee_clients(listener, {PARTS[scenario]: BY_ID[PARTS[scenario]]}, patience, 0.0)
        judging = threading.Thread(target=found.extend, args=(results,), daemon=True)
        judging.start()
        # A bad client may fail in any way on the replies.
        with contextlib.suppress(Failed, OSError, EOFError, AssertionError, ValueError):
            player(listener.getsockname()[1], encoding, form).play(scenario)
        judging.join(PATIENCE)
    assert not judging.is_alive()
    return found


def failed(results: list[Result]) -> dict[str, str]:
    """Return the assertions that do not hold, and why."""
    return {result.name: result.why for result in results if result.why}


@pytest.mark.parametrize(("encoding", "form"), SPOKEN)
@pytest.mark.parametrize("scenario", PARTS)
def test_a_right_client_passes(scenario: str, encoding: str, form: str) -> None:
    """Every assertion of every scenario holds, in both framings and with both forms of values."""
    results = judge(scenario, ScenarioClient, encoding, form)
    assert failed(results) == {}
    assert {f"{scenario}.messages", f"{scenario}.end", f"{scenario}.fields"} <= {result.name for result in results}
    assert all(result.protocol == encoding + ", base64" * (form == "base64") for result in results)


@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
@pytest.mark.parametrize(
    ("player", "scenario", "assertion", "words"),
    [
        (Forgetful, "echo", "echo.seed", "expected 42"),
        (Blind, "echo", "echo.action", "the action is 1; expected 3"),
        (Blind, "vector", "vector.action", "expected [3, -1, 4]"),
        (OffByOne, "echo", "echo.action-is-valid", "from -1 to 4"),
        (Endless, "echo", "echo.close", '"step"; expected "close"'),
        (Hasty, "echo", "echo.resets", 'expected "reset"'),
        (Timid, "echo", "echo.repeats", 'expected "step"'),
        (Rude, "nested", "nested.end", "left before the end"),
        (Choosy, "nested", "nested.end", "left before the end"),
        (Clinging, "nested", "nested.end", "behind its last request"),
        (Misspelt, "nested", "nested.fields", "rendermode"),
        (Stranger, "echo", "handshake.make", "CartPole-v1"),
        (Resetting, "echo", "handshake.make", 'expected "make"'),
        (Single, "vector", "vector.num-envs", "expected 3"),
        (Sharing, "echo", "echo.resets", 'sent "share"; expected "reset"'),
        (Greeting, "echo", "handshake.framing", "HELLO"),
        (Ending, "echo", "echo.messages", ""),
        (Waiting, "pipeline", "pipeline.patience", "nothing was received for"),
        (Shuffling, "pipeline", "pipeline.action", "the action is 0; expected 3"),
        (Shuffling, "many", "many.action", ""),
        (Reversed, "many", "many.action", ""),
        (Scalar, "rewards", "rewards.action", "the action is 0; expected"),
        (Numberless, "rewards", "rewards.vector-rewards", "vector_rewards of make is None"),
        (Sweeping, "mask", "mask.mask", "the mask of the reset is None"),
        (Impatient, "queue", "queue.end", "left before the end"),
        (Stubborn, "attributes", "attributes.attribute", "'value': 7}; expected"),
        (Late, "render", "render.before-reset", "before_reset of the first render is None"),
        (Colourblind, "render", "render.action-is-valid", "from -1 to 4"),
        (Lost, "echo", "handshake.patience", "where a request was due"),
    ],
)
def test_a_bad_habit_is_found(
    player: type[ScenarioClient], scenario: str, assertion: str, words: str, encoding: str
) -> None:
    """The assertion that it concerns says what is wrong."""
    found = failed(judge(scenario, player, encoding, patience=player.patience))
    assert assertion in found
    assert words in found[assertion]


@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
def test_the_python_client(encoding: Any) -> None:
    """It passes, but that it closes the connection instead of sending `close`."""
    found: list[Result] = []
    with listen("127.0.0.1", 0) as listener:
        results = referee_clients(listener, {PARTS["rewards"]: BY_ID[PARTS["rewards"]]}, PATIENCE, 0.0)
        judging = threading.Thread(target=found.extend, args=(results,), daemon=True)
        judging.start()
        with connect(listener.getsockname()[1], PARTS["rewards"], protocol=encoding, timeout=PATIENCE) as env:
            action, over = env.reset(seed=42)[0][0], False
            while not over:
                _, reward, over, _, _ = env.step(int(action))
                action = np.asarray(reward).reshape(-1)[-1]
        judging.join(PATIENCE)
    assert failed(found).keys() == {"rewards.end"}


def test_a_scenario_that_was_not_played() -> None:
    """It fails, so that a client does not pass for want of trying."""
    with listen("127.0.0.1", 0) as listener:
        assert set(failed(list(referee_clients(listener, BY_ID, 0.1, 0.0)))) == set(PARTS)


def exchange(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Send bytes one by one; return what the referee sends, and the assertions that do not hold."""
    with listen("127.0.0.1", 0) as listener, ByteStream.connect(listener.getsockname()[1]) as client:
        referee = Referee(ByteStream(listener.accept()[0]), BY_ID, 0.0)
        judging = threading.Thread(target=referee.run, daemon=True)
        judging.start()
        client.drip(data)
        client.socket.shutdown(socket.SHUT_WR)
        reply = client.read_to_end()
        judging.join(PATIENCE)
    return reply, failed(referee.assertions.results())


def test_a_handshake_byte_by_byte() -> None:
    """The referee reads requests however they are cut."""
    reply, found = exchange(message(NETSTRING, "make", id=PARTS["refused"]))
    assert b'"unknown-environment"' in reply
    assert "Größe 🎲".encode() in reply
    assert found == {}


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "fly"},
        {"op": "step"},
        {"op": "reset", "seed": -1},
        {"op": "reset", "mask": [1]},
        {"op": "step_many", "actions": [0], "count": 1},
        {"op": "step_many", "count": 1},
        {"op": "share", "request_room": 1},
    ],
)
def test_an_invalid_request(request_: dict[str, object]) -> None:
    """The referee says so, and ends the connection."""
    op = str(request_.pop("op"))
    reply, found = exchange(message(NETSTRING, "make", id=PARTS["echo"]) + message(NETSTRING, op, **request_))
    assert set(found) == {"echo.messages", "echo.script"}
    assert b'"bad-request"' in reply


@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
def test_the_command(encoding: str) -> None:
    """It says where it listens, prints a line for each assertion and a summary, and ends with a status."""
    words = [sys.executable, "-m", "gymtwist_conformance", "client", "--port", "0", "--scenario", "echo"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        port = int(running.stderr.readline().rpartition(" ")[2])
        ScenarioClient(port, encoding).play("echo")
        output = running.communicate(timeout=PATIENCE)[0]
    assert running.returncode == 0, output
    assert f"pass  {encoding:<17} echo.action\n" in output
    assert output.endswith(" passed, 0 failed\n")


@pytest.mark.parametrize(
    ("whys", "status", "summary"),
    [([], 2, "0 passed, 0 failed"), ([""], 0, "1 passed"), (["", "it is\nso"], 1, "1 failed")],
)
def test_the_report(whys: list[str], status: int, summary: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has a line for each result, and its status is 0 only if something was checked and nothing failed."""
    report = Report()
    for why in whys:
        report.add(Result("a.b", "int32", why))
    assert report.finish() == status
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == ["FAIL  int32             a.b: it is so" if why else "pass  int32             a.b" for why in whys]
    assert summary in last
