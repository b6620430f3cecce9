"""A session's place on a node: the session arrives once, and never after it has left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import defer

from gymtwist.placement.node_place import NodePlace
from gymtwist.placement.node_resources import Demand
from tests.unit.placement.test_remote_session import Reactor, StandInNode


class SlowNode(StandInNode):
    """A node that knows a ticket when the test says so."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__()
        self.answer: defer.Deferred[Any] = defer.Deferred()

    def expect(self, **fields: Any) -> defer.Deferred[Any]:
        """Answer later."""
        return self.answer


class Arrival:
    """A session on its way to a node."""

    def __init__(self) -> None:
        """Enter."""
        self.reactor, self.node = Reactor(), SlowNode()
        self.arrived: list[socket.socket] = []
        self.failures: list[str] = []
        node: Any = self.node
        self.place = NodePlace(self.reactor, node, self, Demand(), self.arrived.append, self.failures.append)
        self.known = 0
        self.place.announce(self._know)

    def _know(self) -> None:
        self.known += 1

    def connect(self) -> None:
        """Connect, and let that happen."""
        self.place.connect()
        while self.reactor.turn():
            pass


@pytest.fixture
def arrival() -> Iterator[Arrival]:
    """Clean up."""
    made = Arrival()
    yield made
    for connection in made.arrived:
        connection.close()
    made.node.listening.close()


def test_a_session_arrives_when_a_connected_node_knows_its_ticket(arrival: Arrival) -> None:
    """Once."""
    arrival.connect()
    assert not arrival.arrived
    arrival.node.answer.callback({})
    assert len(arrival.arrived) == 1
    assert arrival.known == 1


def test_a_session_arrives_when_it_is_connected_to_a_node_that_knows_its_ticket(arrival: Arrival) -> None:
    """Once."""
    arrival.node.answer.callback({})
    assert not arrival.arrived
    arrival.connect()
    assert len(arrival.arrived) == 1


def test_a_session_that_has_left_does_not_arrive(arrival: Arrival) -> None:
    """Its connection is closed, and its ticket forgotten."""
    arrival.connect()
    connection, _ = arrival.node.listening.accept()
    connection.settimeout(10)  # so that a connection left open fails the test
    arrival.place.leave()
    arrival.node.answer.callback({})
    assert not arrival.arrived
    assert not arrival.known  # else its client would be sent to a place that does not expect it yet
    assert not arrival.node.sessions
    assert connection.recv(1) == b""
    connection.close()


def test_a_session_that_leaves_while_it_connects_does_not_arrive(arrival: Arrival) -> None:
    """The attempt to connect is given up."""
    arrival.node.answer.callback({})
    arrival.place.connect()
    arrival.place.leave()
    while arrival.reactor.turn():
        pass
    assert not arrival.arrived
    assert not arrival.failures


def test_a_session_whose_place_is_known_connects_later(arrival: Arrival) -> None:
    """Its client was told to connect itself, could not, and is relayed; what it has taken over stays open."""
    arrival.node.answer.callback({})
    arrival.connect()
    connection, _ = arrival.node.listening.accept()
    arrival.place.leave()
    arrival.arrived[0].send(b"ticket")
    assert connection.recv(6) == b"ticket"
    connection.close()


def test_a_session_that_has_left_does_not_fail(arrival: Arrival) -> None:
    """It may be on its way to another node by then."""
    arrival.place.leave()
    arrival.node.answer.errback(RuntimeError("the link is closed"))
    assert not arrival.failures


def test_a_node_that_cannot_be_reached_is_a_failure(arrival: Arrival) -> None:
    """With the reason."""
    arrival.node.listening.close()
    arrival.connect()
    assert arrival.failures == ["it cannot be reached: Connection refused"]
