"""A session whose worker is on a node, before it has one: what its client sends is bounded, and answered."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock

from gymtwist.placement.node import NodeState
from gymtwist.placement.node_commands import TICKET_BYTES
from gymtwist.placement.remote_session import NodeLost, RemoteSession, State
from gymtwist.worker import session_status
from tests.unit.placement.test_session_relay import Turns

HANDSHAKE = b'32:{"op":"make","id":"CartPole-v1"},'
DIRECT_HANDSHAKE = b'46:{"op":"make","id":"CartPole-v1","direct":true},'
REPLY = b'13:{"op":"make"},'
MEBIBYTE = 2**20


class Reactor(Turns, Clock):
    """Sockets that are there, and a time that the test sets."""

    def __init__(self) -> None:
        """Begin."""
        Turns.__init__(self)
        Clock.__init__(self)


class StandInNode:
    """A node to whose port the session connects, and which knows each ticket at once."""

    shares_memory = False
    state = NodeState.OPEN

    def __init__(self) -> None:
        """Listen."""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.info = SimpleNamespace(host="127.0.0.1", port=self.listening.getsockname()[1], name="the node")
        self.sessions: dict[bytes, Any] = {}

    def enter(self, ticket: bytes, session: Any, demand: Any) -> str | None:
        """Have a session, without GPUs."""
        self.sessions[ticket] = session
        return None

    def leave(self, ticket: bytes) -> None:
        """Forget it."""
        self.sessions.pop(ticket, None)

    def when_open(self, act: Callable[[], None]) -> None:
        """Be open."""
        act()

    def expect(self, **fields: Any) -> defer.Deferred[Any]:
        """Know a ticket."""
        return defer.succeed({})

    def end(self, ticket: bytes, *, kill: bool) -> None:
        """End a session, which is not here."""


class Placed:
    """A session with a client."""

    def __init__(self, handshake: bytes = HANDSHAKE) -> None:
        """Begin; no node has room for it."""
        self.reactor = Reactor()
        self.client, ours = socket.socketpair()
        self.client.setblocking(False)
        self.looked = 0
        status = session_status.create()
        job: dict[str, Any] = {"protocol": b"netstring", "handshake": handshake, "trailing_data": b"", "session": 1}
        job |= {"overrides": b"", "socket": ours.fileno(), "status": status}
        self.session = RemoteSession(self.reactor, self.reactor, job, self._look)
        self.session.session = SimpleNamespace(found_place=lambda: None, lost_place=lambda how: None)
        ours.close()
        os.close(status)
        self.session.start()
        self.node = StandInNode()

    def _look(self, session: RemoteSession) -> None:
        self.looked += 1

    def settle(self) -> None:
        """Let happen what can."""
        while self.reactor.turn():
            pass

    def send(self, data: bytes) -> int:
        """Send as much as is taken; return how many bytes that were."""
        sent = 0
        while sent < len(data):
            try:
                sent += self.client.send(data[sent : sent + 65536])
            except BlockingIOError:
                if not self.reactor.turn():
                    break
        self.settle()
        return sent

    def play(self) -> socket.socket:
        """Find a node; return the connection there."""
        self.session.begin_on(self.node)  # type: ignore[arg-type] # what it uses of a node
        connection, _ = self.node.listening.accept()
        connection.setblocking(False)
        self.settle()
        assert self.session.state is State.PLAYING
        return connection

    def close(self) -> None:
        """Close all."""
        self.session.answer.addErrback(lambda failure: None)
        self.session._close()
        self.client.close()
        self.node.listening.close()


def test_what_comes_before_a_node_is_there_is_bounded() -> None:
    """The client waits; nothing of what it sends is lost."""
    placed = Placed()
    data = os.urandom(16 * MEBIBYTE)
    sent = placed.send(data)
    assert sent < 3 * MEBIBYTE
    worker = placed.play()
    got = bytearray()
    expected = 2 * TICKET_BYTES + 1 + len(data)
    while len(got) < expected:
        sent += placed.send(data[sent : sent + MEBIBYTE])
        got += worker.recv(MEBIBYTE)
        placed.settle()
    assert got.endswith(data)
    worker.close()
    placed.close()


def test_a_request_that_is_too_long_to_be_kept_is_answered_after_the_loss_of_a_node() -> None:
    """The client notices the loss with it, and must not wait for ever."""
    placed = Placed()
    worker = placed.play()
    worker.recv(1000)
    worker.send(REPLY)
    placed.settle()
    placed.session.lost("it has ended")
    assert placed.session.state is State.ORPHANED
    failures: list[Any] = []
    placed.session.answer.addErrback(failures.append)
    with contextlib.suppress(BrokenPipeError):
        placed.send(b"%d:" % (2 * MEBIBYTE) + bytes(2 * MEBIBYTE))
    assert [each.type for each in failures] == [NodeLost]
    worker.close()
    placed.close()


# A client that was told to connect to the node


def direct() -> Placed:
    """Place a session whose client was told where it is."""
    placed = Placed(DIRECT_HANDSHAKE)
    placed.session.begin_on(placed.node)  # type: ignore[arg-type] # what it uses of a node
    placed.settle()
    assert placed.session.state is State.DIRECT
    assert b'"op":"moved"' in placed.client.recv(1000)
    return placed


@pytest.mark.parametrize("size", [10, 2**20, 2**23])
def test_a_request_on_the_way_back_is_answered_however_long_it_is(size: int) -> None:
    """The connection to the node was lost with it; the reply says so, and what comes behind it is not lost."""
    placed = direct()
    places_looked_for = placed.looked
    placed.send(b"%d:" % size + bytes(size))
    assert placed.looked == places_looked_for
    later = b'15:{"op":"reset"},'
    placed.send(b"," + later)
    assert placed.looked == places_looked_for + 1
    assert b"was lost with the node" in placed.session._recovery_reply
    assert placed.session._unread == later
    placed.close()


def test_a_client_that_cannot_connect_comes_back_byte_by_byte() -> None:
    """It sends the handshake again, and is relayed with the ticket that it was given."""
    placed = direct()
    for byte in DIRECT_HANDSHAKE[:-1]:
        placed.send(bytes([byte]))
        assert placed.session.state is State.DIRECT
    placed.send(DIRECT_HANDSHAKE[-1:])
    connection, _ = placed.node.listening.accept()
    placed.settle()
    assert placed.session.state is State.PLAYING
    [ticket] = placed.node.sessions
    assert connection.recv(1000) == ticket + b"\n"
    connection.close()
    placed.close()


def test_a_client_that_does_not_connect_gives_its_place_back() -> None:
    """The node waits for it no more."""
    placed = direct()
    failures: list[Any] = []
    placed.session.answer.addErrback(failures.append)
    assert placed.node.sessions
    placed.session.ticket_expired()
    assert [each.getErrorMessage() for each in failures] == ["the client did not connect to the node within 10 s"]
    assert not placed.node.sessions
    placed.close()


def test_a_client_that_leaves_while_its_node_wakes_gives_back_its_place() -> None:
    """Nobody would get what the session is given there."""
    placed = Placed()
    placed.node.state = NodeState.WAKING
    placed.node.when_open = lambda act: None  # type: ignore[method-assign] # it is not yet
    placed.session.begin_on(placed.node)  # type: ignore[arg-type] # what it uses of a node
    placed.client.close()
    placed.settle()
    assert placed.session.state is State.ENDED
    assert placed.node.sessions == {}
