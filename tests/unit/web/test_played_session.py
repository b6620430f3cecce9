"""Sessions that the server plays itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gymtwist.errors import ServerFull
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.framing import ProtocolName
from gymtwist.spaces.descriptions import Discrete
from gymtwist.web.played_session import PlayedSession, RequestFailed, SessionEnded, open_session
from gymtwist.worker.session_status import ANSWERED
from gymtwist_conformance.reference_client import message
from tests.support.harness import Harness

MAKE = make_messages.Make("CartPole-v1")
BOX = {"kind": "Box", "shape": [1], "dtype": "float32", "low": -1, "high": 1}
MADE = {"action_space": {"kind": "Discrete", "n": 2}, "observation_space": BOX, "server": "test"}


class Played:
    """A session in a harness, whose worker is played by the test."""

    def __init__(self, harness: Harness) -> None:
        """Open the session, and make its environment."""
        self.harness = harness
        self.session = open_session(harness.factory, "10.0.0.1:5", ProtocolName.NETSTRING)
        self.results: list[Any] = []
        self.ended: list[str] = []
        self.session.ended.addCallback(self.ended.append)

    def note(self, answer: Any) -> None:
        """Keep the result of a request."""
        answer.addCallbacks(self.results.append, lambda failure: self.results.append(failure.value))

    def make(self, *reply: Any, **fields: Any) -> Any:
        """Make the environment; return its worker's end of the socket pair."""
        self.note(self.session.make(MAKE))
        self.harness.turn()
        process = self.harness.starter.serving[-1]
        worker = socket.socket(fileno=os.dup(process.job["socket"]))
        process.begin().words[ANSWERED] = 1.0
        worker.sendall(message("netstring", *(reply or ("make",)), **(fields or MADE)))
        self.harness.turn()
        return worker


@pytest.fixture
def played(harness: Harness) -> Played:
    """A session that has sent nothing yet."""
    return Played(harness)


def test_it_is_a_session_like_any_other(played: Played) -> None:
    """It has a worker, and the address of who it is played for in the log."""
    with played.make():
        (made,) = played.results
        assert made is played.session.made
        assert isinstance(made.action_space, Discrete)
        assert played.harness.log.having("[session 1] started: CartPole-v1 for 10.0.0.1:5 (netstring")


def test_a_session_counts_among_the_limit(make: Callable[..., Harness]) -> None:
    """One more than the server has is refused as any client is."""
    harness = make("--max-sessions", "1", "--queue", "0")
    with Played(harness).make():
        second = Played(harness)
        second.note(second.session.make(MAKE))
        harness.turn()
        (error,) = second.results
        assert isinstance(error, RequestFailed)
        assert error.error.code == "server-full"


def test_too_many_connections_leave_no_room(make: Callable[..., Harness]) -> None:
    """Those within the server count, too."""
    harness = make("--max-sessions", "1", "--queue", "0", "--max-handshakes", "1")
    opened = [Played(harness) for _ in range(3)]
    with pytest.raises(ServerFull):
        Played(harness)
    for each in opened:
        each.session.abort()
    harness.turn()


def test_requests_are_answered_in_their_turn(played: Played) -> None:
    """Also several that are sent at once, and replies that come byte by byte."""
    with played.make() as worker:
        for action in (0, 1):
            played.note(played.session.ask(messages.Step(action), messages.Stepped))
        assert worker.recv(100) == b'24:{"op":"step","action":0},24:{"op":"step","action":1},'
        played.results.clear()
        for reward in (1.5, 2.5):
            step = {"observation": [0.5], "reward": reward, "terminated": False, "truncated": False}
            for byte in message("netstring", "step", **step):
                worker.sendall(bytes([byte]))
                played.harness.turn(1)
        assert [each.reward for each in played.results] == [1.5, 2.5]


def test_an_error_fails_its_request_alone(played: Played) -> None:
    """The session goes on."""
    with played.make() as worker:
        played.results.clear()
        played.note(played.session.ask(messages.Step(7), messages.Stepped))
        played.note(played.session.ask(messages.Reset(), messages.ResetDone))
        worker.sendall(message("netstring", "error", code="invalid-action", message="no", fault="request"))
        worker.sendall(message("netstring", "reset", observation=[0.5]))
        played.harness.turn()
        error, done = played.results
        assert (str(error), error.error.code) == ("no", "invalid-action")
        assert done.observation == [0.5]
        assert not played.session.has_ended


def test_what_cannot_be_sent_fails_alone(played: Played) -> None:
    """Nothing of it is sent."""
    with played.make():
        played.results.clear()
        played.note(played.session.ask(messages.Reset(options={"x": object()}), messages.ResetDone))
        (error,) = played.results
        assert "cannot be sent" in str(error)


def test_the_end_of_the_session_fails_what_is_asked(played: Played) -> None:
    """With the reason that the server gave, and so does what is asked later."""
    with played.make() as worker:
        played.results.clear()
        worker.sendall(message("netstring", "error", code="no-process", message="an operator", fault="server"))
        played.harness.turn()
        worker.shutdown(socket.SHUT_RDWR)
        played.harness.turn()
        assert played.ended == ["an operator"]
        played.note(played.session.ask(messages.Reset(), messages.ResetDone))
        assert [str(each) for each in played.results] == ["an operator"]
        assert isinstance(played.results[0], SessionEnded)


def test_a_worker_that_dies_ends_the_request(played: Played) -> None:
    """The server answers in its place, as it does for any client."""
    with played.make():
        played.results.clear()
        played.note(played.session.ask(messages.Reset(), messages.ResetDone))
        process = played.harness.starter.serving[-1]
        process.die(-9)
        played.harness.turn()
        (error,) = played.results
        assert isinstance(error, SessionEnded)
        assert len(played.ended) == 1


@pytest.mark.parametrize("reply", [b"5:nojs}!", b'11:{"op":"xx"},', b"2:{},", b"0x", b"999999999:"])
def test_a_reply_that_is_none_ends_the_session(played: Played, reply: bytes) -> None:
    """An environment may have taken the worker over."""
    with played.make() as worker:
        played.results.clear()
        played.note(played.session.ask(messages.Reset(), messages.ResetDone))
        worker.sendall(reply)
        played.harness.turn()
        assert [type(each) for each in played.results] == [SessionEnded]
        assert played.session.has_ended


def test_leaving_closes_the_environment(played: Played) -> None:
    """The worker reads the end of the stream."""
    with played.make() as worker:
        played.session.abort()
        played.session.abort()
        played.harness.turn()
        assert worker.recv(1) == b""
        assert len(played.ended) == 1


def test_closing_waits_for_the_environment(played: Played) -> None:
    """The client has asked for it."""
    with played.make() as worker:
        played.results.clear()
        played.note(played.session.close())
        played.harness.turn()
        assert worker.recv(100) == b'14:{"op":"close"},'
        assert played.results == []
        worker.sendall(message("netstring", "close"))
        played.harness.turn()
        assert played.results == [None]
        assert played.session.has_ended


@pytest.mark.parametrize("code", ["invalid-field", "unknown-kwarg"])
def test_an_environment_without_frames_is_made_without(played: Played, code: str) -> None:
    """Those that can render RGB frames are made so, for the live view and for videos."""
    with played.make("error", code=code, message="no", fault="request") as worker:
        played.results.clear()
        played.note(played.session.make_visible(MAKE))
        played.harness.turn()
        assert b'"render_mode":"rgb_array"' in worker.recv(1000)
        worker.sendall(message("netstring", "error", code=code, message="no", fault="request"))
        played.harness.turn()
        assert b"render_mode" not in worker.recv(1000)
        worker.sendall(message("netstring", "make", **MADE))
        played.harness.turn()
        assert played.results == [played.session.made]


def test_a_request_waits_until_the_socket_takes_it(played: Played) -> None:
    """A worker that does not read gets it all in the end."""
    with played.make() as worker:
        action = "x" * 3_000_000
        played.session.ask(messages.Step(action), messages.Stepped).addErrback(lambda _: None)
        received = bytearray()
        worker.setblocking(False)
        for _ in range(2000):
            played.harness.turn(1)
            try:
                received += worker.recv(1 << 20)
            except BlockingIOError:
                continue
            if received.endswith(b'"},'):
                break
        assert len(received) > 3_000_000 and received.endswith(b'xx"},')


def test_descriptors_that_are_missing_refuse_the_session(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told, and nothing is left."""

    def none(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", none)
    with pytest.raises(OSError, match="Too many"):
        open_session(harness.factory, "here", ProtocolName.INT32)
    assert harness.factory.connections == set()


def test_the_session_is_a_descriptor_of_the_reactor(played: Played) -> None:
    """As Twisted's own transports are."""
    assert isinstance(played.session, PlayedSession)
    assert played.session.fileno() >= 0
    played.session.abort()
