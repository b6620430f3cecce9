"""The judge of a client: one that is right passes every point, and each bad habit is found out by name."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import pytest

from gymtwist.conformance.client.judge import Judge
from gymtwist.conformance.client.parts import PARTS as JUDGED
from gymtwist.conformance.client.serving import judge_clients, listen
from gymtwist.conformance.report import Outcome, Result
from tests.support.framed_client import INT32, NETSTRING, Failed, message
from tests.support.misbehaving_clients import (
    Blind,
    Clinging,
    Ending,
    Endless,
    Forgetful,
    Greeting,
    Hasty,
    Lost,
    Misspelt,
    OffByOne,
    Resetting,
    Reversed,
    Rude,
    Sharing,
    Shuffling,
    Single,
    Stranger,
    Timid,
    Waiting,
)
from tests.support.patience import PATIENCE
from tests.support.scenario_client import PARTS, RequestHandler

SPOKEN = [(NETSTRING, "nested"), (NETSTRING, "base64"), (INT32, "nested")]


def judge(
    part: str, player: type[RequestHandler], encoding: str, form: str = "nested", patience: float = 5.0
) -> list[Result]:
    """Lets a player play one part; returns the verdict."""
    found: list[Result] = []
    parts = {each.id: each for each in JUDGED if each.name == part}
    with listen("127.0.0.1", 0) as listener:
        verdicts = judge_clients(listener, parts, patience, 0.0)
        judging = threading.Thread(target=found.extend, args=(verdicts,), daemon=True)
        judging.start()
        # What a bad client makes of the answers is its own business.
        with contextlib.suppress(Failed, OSError, EOFError, AssertionError, ValueError):
            player(listener.getsockname()[1], encoding, form).play(part)
        judging.join(PATIENCE)
    assert not judging.is_alive()
    return found


def failed(results: list[Result]) -> dict[str, str]:
    """Returns the points that are failed, and why."""
    return {result.name: result.why for result in results if result.outcome is Outcome.FAIL}


@pytest.mark.parametrize(("encoding", "form"), SPOKEN)
@pytest.mark.parametrize("part", PARTS)
def test_a_right_client_passes(part: str, encoding: str, form: str) -> None:
    """Every point of every part, in both framings and with both forms of values."""
    results = judge(part, RequestHandler, encoding, form)
    assert failed(results) == {}
    assert {f"{part}.messages", f"{part}.end", f"{part}.fields"} <= {result.name for result in results}
    assert all(result.protocol == encoding + ", base64" * (form == "base64") for result in results)


@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
@pytest.mark.parametrize(
    ("player", "part", "point", "words"),
    [
        (Forgetful, "echo", "echo.seed", "expected 42"),
        (Blind, "echo", "echo.action", "the action is 1; expected 3"),
        (Blind, "vector", "vector.action", "expected [3, -1, 4]"),
        (OffByOne, "echo", "echo.action-is-valid", "from -1 to 4"),
        (Endless, "echo", "echo.close", '"step"; expected "close"'),
        (Hasty, "echo", "echo.resets", 'expected "reset"'),
        (Timid, "echo", "echo.repeats", 'expected "step"'),
        (Rude, "nested", "nested.end", "left before the end"),
        (Clinging, "nested", "nested.end", "behind its last request"),
        (Misspelt, "nested", "nested.fields", "rendermode"),
        (Stranger, "echo", "opening.make", "CartPole-v1"),
        (Resetting, "echo", "opening.make", 'expected "make"'),
        (Single, "vector", "vector.num-envs", "expected 3"),
        (Sharing, "echo", "echo.resets", 'sent "share"; expected "reset"'),
        (Greeting, "echo", "opening.framing", "HELLO"),
        (Ending, "echo", "echo.messages", ""),
        (Waiting, "pipeline", "pipeline.patience", "nothing for"),
        (Shuffling, "pipeline", "pipeline.action", "the action is 0; expected 3"),
        (Shuffling, "many", "many.action", ""),
        (Reversed, "many", "many.action", ""),
        (Lost, "echo", "opening.patience", "where a request was due"),
    ],
)
def test_a_bad_habit_is_found_out(
    player: type[RequestHandler], part: str, point: str, words: str, encoding: str
) -> None:
    """By the point that it concerns, and in words."""
    found = failed(judge(part, player, encoding, patience=player.patience))
    assert point in found
    assert words in found[point]


def test_a_part_that_nobody_plays() -> None:
    """Is failed, so that no client passes for want of trying."""
    with listen("127.0.0.1", 0) as listener:
        found = list(judge_clients(listener, {each.id: each for each in JUDGED}, 0.1, 0.0))
    assert set(failed(found)) == set(PARTS)


def test_the_judge_does_no_io() -> None:
    """It takes bytes, however they are cut, and gives pieces."""
    judge = Judge({each.id: each for each in JUDGED})
    handshake = message(NETSTRING, "make", id=PARTS["refused"])
    for index in range(len(handshake) - 1):
        assert judge.received(handshake[index : index + 1]) == []
    answer = b"".join(judge.received(handshake[-1:]))
    assert b'"unknown-environment"' in answer
    assert "Größe 🎲".encode() in answer
    assert judge.over
    assert failed(judge.ended()) == {}


@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
def test_the_command(encoding: str) -> None:
    """Says where it listens, prints a line for each point and a summary, and ends with a status."""
    words = [sys.executable, "-m", "gymtwist.conformance", "client", "--port", "0", "--part", "echo"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        port = int(running.stderr.readline().rpartition(" ")[2])
        RequestHandler(port, encoding).play("echo")
        output = running.communicate(timeout=PATIENCE)[0]
    assert running.returncode == 0, output
    assert f"pass  {encoding:<17} echo.action\n" in output
    assert output.endswith(" passed, 0 failed, 0 skipped\n")
