"""A session whose worker is on a node, before it has one: what its client sends is bounded, and answered."""

from __future__ import annotations

import contextlib
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet import defer
from twisted.internet.task import Clock

from gymtwist.placement.remote_session import NodeLost, RemoteSession, State
from gymtwist.worker import session_status
from tests.unit.placement.test_session_relay import Turns

HANDSHAKE = b'32:{"op":"make","id":"CartPole-v1"},'
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

    def __init__(self) -> None:
        """Listen."""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.info = SimpleNamespace(host="127.0.0.1", port=self.listening.getsockname()[1], name="the node")
        self.sessions: dict[bytes, Any] = {}

    def expect(self, **fields: Any) -> defer.Deferred[Any]:
        """Know a ticket."""
        return defer.succeed({})


class Placed:
    """A session with a client."""

    def __init__(self) -> None:
        """Begin; no node has room for it."""
        self.reactor = Reactor()
        self.client, ours = socket.socketpair()
        self.client.setblocking(False)
        self.looked = 0
        status = session_status.create()
        job = {"protocol": b"netstring", "handshake": HANDSHAKE, "trailing_data": b"", "session": 1, "overrides": b""}
        self.session = RemoteSession(self.reactor, job | {"socket": ours.fileno(), "status": status}, self._look)
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
    expected = len(placed.session._ticket) + 1 + len(data)
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
