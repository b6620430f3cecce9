"""The relay: bytes go both ways, each side waits for the other, and every end comes through."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from gymtwist.server import relay
from gymtwist.server.gym_protocol import CLOSE_TIMEOUT, GymProtocol
from gymtwist.worker.session_status import Operation
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import FakeProcess, Harness, descriptor_count, soon
from tests.support.patience import PATIENCE

CARTPOLE = handshake("CartPole-v1")


@pytest.fixture
def harness() -> Iterator[Harness]:
    """A harness with one idle worker."""
    harness = Harness("--max-sessions", "1")
    yield harness
    harness.close()


class Pair:
    """A relay between a transport in memory and a socket."""

    def __init__(self, harness: Harness) -> None:
        """Start it."""
        self.harness = harness
        self.client = StringTransport()
        verifyObject(ITransport, self.client)
        self.ends = 0
        self.relay = relay.start(harness.reactor, self.client, self.ended)
        self.its = self.relay.worker_end
        self.its.settimeout(PATIENCE)

    def ended(self) -> None:
        """Count the ends."""
        self.ends += 1


@pytest.fixture
def pair(harness: Harness) -> Iterator[Pair]:
    """A relay."""
    pair = Pair(harness)
    yield pair
    pair.its.close()


def test_what_the_client_sends_reaches_the_worker(pair: Pair) -> None:
    """In order, and whole."""
    pair.relay.write(b"one")
    pair.relay.write(b"two")
    pair.harness.turn()
    assert pair.its.recv(100) == b"onetwo"


def test_what_the_worker_sends_reaches_the_client(pair: Pair) -> None:
    """As it came."""
    pair.its.sendall(b"reply")
    pair.harness.turn()
    assert pair.client.value() == b"reply"


def test_descriptors_of_the_worker_are_closed_without_a_word(pair: Pair) -> None:
    """An environment may send any number of them."""
    before = descriptor_count()
    socket.send_fds(pair.its, [b"reply"], [0, 0])
    pair.harness.turn()
    assert pair.client.value() == b"reply"
    assert descriptor_count() == before
    assert not pair.harness.log.lines
    assert not pair.harness.log.others


def test_a_worker_that_does_not_read_stops_the_client(pair: Pair) -> None:
    """The client is read from again when the worker has read."""
    flood = b"x" * 4_000_000
    pair.relay.write(flood)
    pair.harness.turn()
    assert pair.client.producerState == "paused"
    received = 0
    while received < len(flood):
        received += len(pair.its.recv(1 << 20))
        pair.harness.turn(1)
    assert pair.client.producerState == "producing"


def test_a_client_that_does_not_read_stops_the_worker(pair: Pair) -> None:
    """Its transport pauses the relay, and what the worker sends stays in the socket pair."""
    assert pair.client.producer is not None
    pair.client.producer.pauseProducing()
    pair.its.sendall(b"reply")
    pair.harness.turn()
    assert pair.client.value() == b""
    pair.client.producer.resumeProducing()
    pair.harness.turn()
    assert pair.client.value() == b"reply"


def test_the_end_of_the_worker_is_reported_after_its_last_byte(pair: Pair) -> None:
    """And once."""
    pair.its.sendall(b"bye")
    pair.its.close()
    pair.harness.turn()
    assert (pair.client.value(), pair.ends, pair.relay.closed) == (b"bye", 1, True)
    assert pair.client.producer is None


def test_an_abort_reaches_the_worker_at_once(pair: Pair) -> None:
    """It cannot write any more either."""
    pair.relay.abort()
    pair.harness.turn()
    assert pair.its.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        pair.its.sendall(b"reply")
    pair.relay.abort()


def test_what_the_client_sends_after_the_end_is_dropped(pair: Pair) -> None:
    """There is nobody to read it."""
    pair.its.close()
    pair.harness.turn()
    pair.relay.write(b"more")


# Inside a connection


class Relayed:
    """A connection that cannot be handed over, in the hands of a worker."""

    def __init__(self, harness: Harness) -> None:
        """Open it."""
        self.harness = harness
        self.transport = StringTransport()
        self.protocol = GymProtocol(harness.factory)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(CARTPOLE + b"\0")
        harness.turn()

    @property
    def process(self) -> FakeProcess:
        """The worker."""
        return self.harness.starter.serving[-1]

    def leave(self) -> None:
        """Close the client's side."""
        self.protocol.connectionLost(connectionDone)
        self.harness.turn()

    def play(self) -> None:
        """The worker reads what came behind the handshake, and replies."""
        self.process.begin()
        with socket.socket(fileno=self.process.job["socket"]) as given:
            given.setblocking(True)
            assert given.recv(100) == b"\0"
            given.sendall(b"observation")
            self.process.job["socket"] = given.detach()
        self.harness.turn()


@pytest.fixture
def relayed(harness: Harness) -> Iterator[Relayed]:
    """A connection that plays; at the end nothing of it is left."""
    before = descriptor_count()
    relayed = Relayed(harness)
    relayed.play()
    yield relayed
    soon(lambda: not harness.factory.connections, harness.turn)
    for process in harness.starter.serving:
        harness.turn()
        process.die(0)
    soon(lambda: descriptor_count() <= before, harness.turn)


def test_a_relayed_client_gets_the_last_reply_before_the_end(relayed: Relayed) -> None:
    """It may still lie in the socket pair when the worker answers."""
    relayed.process.answer()
    relayed.harness.turn()
    assert relayed.transport.value() == b"observation"
    assert relayed.transport.disconnecting
    relayed.leave()


def test_a_relayed_client_that_leaves_ends_the_session(relayed: Relayed) -> None:
    """Its worker reads the end; the place is free when the worker has answered."""
    relayed.leave()
    with socket.socket(fileno=relayed.process.job["socket"]) as given:
        given.setblocking(True)
        assert given.recv(100) == b""
        relayed.process.job["socket"] = given.detach()
    relayed.process.answer()
    relayed.harness.turn()
    assert relayed.harness.log.having("ended: the client left")


def test_a_relayed_client_that_leaves_while_the_rest_is_passed_on(relayed: Relayed) -> None:
    """It is over at once."""
    producer = relayed.transport.producer
    assert producer is not None
    producer.pauseProducing()
    relayed.process.answer()
    relayed.harness.turn()
    relayed.leave()


def test_a_relayed_client_that_never_reads_is_given_up(relayed: Relayed) -> None:
    """Some time after its worker has finished."""
    producer = relayed.transport.producer
    assert producer is not None
    producer.pauseProducing()
    relayed.process.answer()
    relayed.harness.turn()
    relayed.harness.reactor.advance(CLOSE_TIMEOUT)
    relayed.harness.turn()
    assert relayed.transport.disconnecting
    relayed.leave()


def test_a_relayed_session_can_be_ended(relayed: Relayed) -> None:
    """The worker reads the end of the stream; the client is closed when the worker has answered."""
    relayed.protocol.stop("the server is shutting down")
    relayed.harness.turn()
    relayed.process.answer()
    relayed.harness.turn()
    assert relayed.transport.disconnecting
    assert relayed.harness.log.having("ended: the server is shutting down")
    relayed.leave()


def test_a_relayed_worker_that_does_not_close_is_killed(relayed: Relayed) -> None:
    """Some time after its client was hung up on, also if the client has closed since."""
    process = relayed.process
    relayed.protocol.stop("the server is shutting down")
    assert process.status is not None
    process.status.begin(Operation.CLOSE)
    relayed.leave()
    relayed.harness.reactor.advance(CLOSE_TIMEOUT)
    relayed.harness.turn()
    assert not process.alive


def test_a_relayed_worker_that_dies_frees_the_place(relayed: Relayed) -> None:
    """What it had sent still reaches the client."""
    relayed.process.die(-11)
    relayed.harness.turn()
    assert relayed.transport.value().startswith(b"observation")
    assert relayed.transport.disconnecting
    relayed.leave()
    newcomer = Relayed(relayed.harness)
    newcomer.play()
    newcomer.leave()
    newcomer.process.answer()
    newcomer.harness.turn()


def test_a_relayed_client_that_leaves_and_a_worker_that_dies_at_once(relayed: Relayed) -> None:
    """Neither order leaves anything behind."""
    relayed.process.die(-9)
    relayed.leave()
