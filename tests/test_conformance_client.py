"""The judge of a client: one that is right passes every point, and each bad habit is found out by name."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from gymtwist.conformance.client.judge import Judge
from gymtwist.conformance.client.parts import PARTS as JUDGED
from gymtwist.conformance.client.serving import judge_clients, listen
from gymtwist.conformance.report import Outcome, Result

from .framed_client import INT32, NETSTRING, PATIENCE, Failed, FramedClient, message
from .scenario import PARTS, Lenient, Player

SPOKEN = [(NETSTRING, "nested"), (NETSTRING, "base64"), (INT32, "nested")]


def judge(part: str, player: type[Player], encoding: str, form: str = "nested", patience: float = 5.0) -> list[Result]:
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
    results = judge(part, Player, encoding, form)
    assert failed(results) == {}
    assert {f"{part}.messages", f"{part}.end", f"{part}.fields"} <= {result.name for result in results}
    assert all(result.protocol == encoding + ", base64" * (form == "base64") for result in results)


class Forgetful(Player):
    """Sends no seed."""

    def first(self, seed: int | None) -> Any:
        """Forgets it."""
        return super().first(None)


class Blind(Player):
    """Does not look at the observation."""

    def echoed(self, observation: Any) -> Any:
        """Returns the same action each time."""
        return 1


class OffByOne(Player):
    """Takes the greatest action for the first that there is not."""

    def echoed(self, observation: Any) -> Any:
        """Returns one that is not in the space."""
        return 5


class Endless(Player):
    """Knows no truncation."""

    def is_over(self, stepped: Any) -> bool:
        """Looks at one flag."""
        return bool(stepped.terminated)


class Hasty(Player):
    """Goes on with the next step after every error."""

    def repeats(self, error: Failed) -> bool:
        """Does not look at what the error says."""
        return True


class Timid(Player):
    """Resets after every error."""

    def repeats(self, error: Failed) -> bool:
        """Does not look at what the error says."""
        return False


class Rude(Player):
    """Leaves without a word."""

    def leave(self) -> None:
        """Only goes."""


class Clinging(Player):
    """Has more to ask when all is said."""

    def leave(self) -> None:
        """Asks for a sample."""
        self.client.say("close")
        self.client.say("sample")
        self.client.read_to_end()


class Misspelt(Player):
    """Makes with a field that there is not."""

    def make(self, part: str, **fields: Any) -> None:
        """Asks for a render mode of its own spelling."""
        super().make(part, rendermode="rgb_array", **fields)


class Stranger(Player):
    """Makes what is not in the scenario."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Asks for another environment."""
        self.client.make("CartPole-v1")


class Resetting(Player):
    """Does not make an environment."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Begins with a reset."""
        self.client.ask("reset")


class Single(Player):
    """Knows no vector environments."""

    def make(self, part: str, **fields: Any) -> None:
        """Leaves the number of environments out."""
        super().make(part)


class Wordy(Lenient):
    """Sends what is not in any frame."""

    def send(self, data: bytes) -> None:
        """Puts a greeting before it."""
        super().send(b"HELLO" + data)


class Greeting(Player):
    """Speaks another protocol."""

    patience = 1.0

    def connect(self, port: int, encoding: str) -> FramedClient:
        """Connects with a client that does."""
        client = super().connect(port, encoding)
        return Wordy(client.socket, encoding)


class Trailing(Lenient):
    """Sends a byte too many behind each request."""

    def send(self, data: bytes) -> None:
        """Ends each request with a zero byte, as strings of C end."""
        super().send(data + b"\0")


class Ending(Player):
    """Ends its frames as strings."""

    def connect(self, port: int, encoding: str) -> FramedClient:
        """Connects with a client that does."""
        client = super().connect(port, encoding)
        return Trailing(client.socket, encoding)


class Sharing(Player):
    """Asks for shared memory without looking whether the server offers it."""

    def first(self, seed: int | None) -> Any:
        """Asks before it resets."""
        self.client.say("share")
        return super().first(seed)


class Waiting(Player):
    """Waits for each reply before the next request."""

    patience = 1.0

    def pipeline(self) -> None:
        """Reads too early."""
        self.make("pipeline")
        self.client.socket.settimeout(1.5)
        self.client.reset(seed=42)


class Shuffling(Player):
    """Takes a reply for another's."""

    def echoed(self, observation: Any) -> Any:
        """Takes the first of two for the second."""
        return {3: 0, 0: 3}.get(super().echoed(observation), super().echoed(observation))


class Reversed(Player):
    """Reads a list of rewards from its end."""

    def many(self) -> None:
        """Reads it so."""
        tell = self.client.rewards
        self.client.rewards = lambda told: tell(told)[::-1] if isinstance(told, (bytes, list)) else tell(told)  # type: ignore[method-assign]
        super().many()


class Lost(Player):
    """Does not count the seconds of an idle client."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Connects, and sends half a message."""
        self.client.socket.settimeout(2)
        self.client.send(message(self.client.encoding, "make", id=PARTS[part])[:-2])
        self.client.read_to_end()


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
def test_a_bad_habit_is_found_out(player: type[Player], part: str, point: str, words: str, encoding: str) -> None:
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
    opening = message(NETSTRING, "make", id=PARTS["refused"])
    for index in range(len(opening) - 1):
        assert judge.received(opening[index : index + 1]) == []
    answer = b"".join(judge.received(opening[-1:]))
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
        Player(port, encoding).play("echo")
        output = running.communicate(timeout=PATIENCE)[0]
    assert running.returncode == 0, output
    assert f"pass  {encoding:<17} echo.action\n" in output
    assert output.endswith(" passed, 0 failed, 0 skipped\n")
