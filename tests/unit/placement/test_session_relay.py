"""The relay between two real sockets: back-pressure, ends and failures; the reactor is driven by hand."""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from gymtwist.placement.session_relay import Connecting, RelayEnd


class Turns:
    """The part of a reactor that a relay uses."""

    def __init__(self) -> None:
        """Watch nothing."""
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch for bytes to read."""
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch for room to write."""
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch no more."""
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch no more."""
        self.writers.discard(writer)

    def turn(self) -> bool:
        """Handle what there is now; return whether there was anything."""
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for each in readable:
            if each in self.readers:
                each.doRead()
        for each in writable:
            if each in self.writers:
                each.doWrite()
        return bool(readable or writable)


class Relayed:
    """A client and a worker with a relay between them."""

    def __init__(self) -> None:
        """Connect all."""
        self.turns = Turns()
        self.seen: list[bytes] = []
        self.ended: list[str] = []
        self.client, ours = socket.socketpair()
        self.worker, theirs = socket.socketpair()
        for each in (self.client, self.worker, ours, theirs):
            each.setblocking(False)
        self.ours = RelayEnd(self.turns, ours, lambda data: self.seen.append(bytes(data)), self._client_ended)
        self.theirs = RelayEnd(self.turns, theirs, lambda data: None, lambda: self.ended.append("worker"))
        self.ours.peer, self.theirs.peer = self.theirs, self.ours
        self.ours.start()
        self.theirs.start()

    def _client_ended(self) -> None:
        self.ended.append("client")
        self.theirs.end_writing()

    def settle(self) -> None:
        """Let happen what can."""
        while self.turns.turn():
            pass

    def close(self) -> None:
        """Close all."""
        for each in (self.client, self.worker, self.ours, self.theirs):
            each.close()


def test_bytes_cross_in_both_directions() -> None:
    """In one turn each, and whoever follows the conversation sees them."""
    relayed = Relayed()
    relayed.client.send(b"to the worker")
    relayed.turns.turn()
    assert relayed.worker.recv(100) == b"to the worker"
    relayed.worker.send(b"to the client")
    relayed.turns.turn()
    assert relayed.client.recv(100) == b"to the client"
    assert relayed.seen == [b"to the worker"]
    relayed.close()


def test_a_side_that_does_not_read_stops_the_other() -> None:
    """What the relay keeps is bounded, and nothing is lost or late."""
    relayed = Relayed()
    data, sent = bytes(range(256)) * 1024, bytearray()
    for _ in range(200):
        try:
            sent += data[: relayed.client.send(data)]
        except BlockingIOError:
            relayed.settle()
    relayed.settle()
    assert relayed.ours not in relayed.turns.readers
    assert len(relayed.theirs._backlog) <= 256 * 1024
    got = bytearray()
    while len(got) < len(sent):
        got += relayed.worker.recv(2**20)
        relayed.settle()
    assert got == sent
    assert relayed.ours in relayed.turns.readers
    relayed.close()


def test_the_end_of_a_client_comes_behind_its_last_bytes() -> None:
    """Even if the worker does not read at that time."""
    relayed = Relayed()
    data = bytes(300_000)
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[relayed.client.send(rest) :]
        except BlockingIOError:
            relayed.turns.turn()
            if not relayed.turns.turn():
                break
    relayed.client.shutdown(socket.SHUT_WR)
    got = bytearray()
    while True:
        relayed.settle()
        try:
            piece = relayed.worker.recv(2**20)
        except BlockingIOError:
            continue
        if not piece:
            break
        got += piece
    assert len(got) == len(data) - len(rest)
    assert relayed.ended == ["client"]
    relayed.close()


def test_a_reset_is_an_end() -> None:
    """And what was to be written is dropped."""
    relayed = Relayed()
    relayed.theirs.connectionLost(Failure(ConnectionLost()))
    assert relayed.ended == ["worker"]
    relayed.close()


def test_a_port_that_refuses_is_told() -> None:
    """With the reason."""
    turns, told = Turns(), []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    Connecting(turns, "127.0.0.1", port, lambda connected, problem: told.append((connected, problem)))
    while not told:
        turns.turn()
    assert told == [(None, "Connection refused")]
    assert not turns.writers


def test_a_connection_that_is_made_is_handed_over() -> None:
    """And can be given up before."""
    turns, told = Turns(), []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = address = listening.getsockname()
        Connecting(turns, host, port, lambda connected, problem: told.append((connected, problem)))
        given_up = Connecting(turns, host, port, lambda connected, problem: told.append((connected, problem)))
        given_up.cancel()
        while not told:
            turns.turn()
        ((connected, problem),) = told
        assert connected is not None and not problem
        assert connected.getpeername() == address
        connected.close()
