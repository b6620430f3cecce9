"""A connection: frames whole or in pieces, in time or not, to the end and beyond."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from gymtwist.client import Closed, ConnectionLost, ProtocolBroken, TimedOut
from gymtwist.client.connection import Connection, wait_for_any
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing
from gymtwist_conformance.reference_client import INT32, frame


class Pair:
    """A connection, and the socket at its other end."""

    def __init__(self, budget: float, timeout: float | None = 20.0) -> None:
        """Connect them."""
        ours, self.peer = socket.socketpair()
        self.connection = Connection(ours, "the server", Framing.INT32, timeout, WaitPolicy(budget))

    def close(self) -> None:
        """Close both."""
        self.connection.close()
        self.peer.close()


BUDGET = 150e-6


@pytest.fixture(params=[0.0, BUDGET], ids=["blocking", "polling"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connection that polls, or not."""
    pair = Pair(request.param)
    yield pair
    pair.close()


def test_frames_come_one_by_one(pair: Pair) -> None:
    """However they were glued together."""
    pair.peer.sendall(frame(INT32, b"one") + frame(INT32, b"two")[:5])
    assert bytes(pair.connection.receive()) == b"one"
    pair.peer.sendall(frame(INT32, b"two")[5:] + frame(INT32, b"three"))
    assert [bytes(pair.connection.receive()) for _ in range(2)] == [b"two", b"three"]


def test_a_wait_is_interrupted_now_and_then(pair: Pair) -> None:
    """For as long as nothing comes."""
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 3:
            pair.peer.sendall(frame(INT32, b"at last"))

    assert wait_for_any([pair.connection], tick, 0.001) == 0
    assert ticks == [0, 1, 2]


def test_an_interrupted_wait_ends_in_time() -> None:
    """The timeout is that of the whole wait."""
    late = Pair(0.0, timeout=0.01)
    ticks: list[None] = []
    with pytest.raises(TimedOut, match=r"within 0\.01 s"):
        wait_for_any([late.connection], lambda: ticks.append(None), 0.002)
    assert 4 <= len(ticks) <= 5
    late.close()


def test_a_frame_in_pieces_is_waited_for(pair: Pair) -> None:
    """Byte by byte, from a peer that takes its time."""
    data = frame(INT32, b"in pieces")

    def trickle() -> None:
        for index in range(len(data)):
            pair.peer.sendall(data[index : index + 1])

    thread = threading.Thread(target=trickle)
    thread.start()
    assert bytes(pair.connection.receive()) == b"in pieces"
    thread.join()


def test_a_frame_larger_than_every_buffer_comes_whole(pair: Pair) -> None:
    """It is read while it is sent."""
    payload = bytes(range(256)) * 40_000
    thread = threading.Thread(target=pair.peer.sendall, args=(frame(INT32, payload),))
    thread.start()
    assert bytes(pair.connection.receive()) == payload
    thread.join()


def test_a_peer_that_waits_for_its_reader_is_read_while_it_is_sent_to(pair: Pair) -> None:
    """Else both would wait forever."""
    reply, request = frame(INT32, b"r" * 3_000_000), b"q" * 3_000_000

    def serve() -> None:
        pair.peer.sendall(reply)
        left = len(request)
        while left:
            left -= len(pair.peer.recv(min(left, 65536)))

    thread = threading.Thread(target=serve)
    thread.start()
    pair.connection.send(request)
    assert len(pair.connection.receive()) == 3_000_000
    thread.join()


def test_a_reply_that_does_not_come_in_time_ends_the_connection() -> None:
    """It would be taken for the reply to something else."""
    for budget in (0.0, BUDGET):
        pair = Pair(budget, timeout=0.05)
        with pytest.raises(TimedOut, match=r"within 0.05 s.*closed") as caught:
            pair.connection.receive()
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(TimedOut, match="connect again"):
            pair.connection.receive()
        with pytest.raises(TimedOut, match="connect again"):
            pair.connection.send(b"x")
        pair.close()


def test_an_incomplete_reply_times_out() -> None:
    """All of it must be there."""
    pair = Pair(0.0, timeout=0.05)
    pair.peer.sendall(frame(INT32, b"half")[:6])
    with pytest.raises(TimedOut):
        pair.connection.receive()
    pair.close()


def test_a_peer_that_does_not_read_is_not_waited_for_any_longer() -> None:
    """Its buffer is full, and stays so."""
    pair = Pair(0.0, timeout=0.1)
    with pytest.raises(TimedOut):
        pair.connection.send(b"x" * 10_000_000)
    pair.close()


def test_the_end_of_the_connection_is_reported(pair: Pair) -> None:
    """After all that came before it."""
    pair.peer.sendall(frame(INT32, b"last"))
    pair.peer.close()
    assert bytes(pair.connection.receive()) == b"last"
    with pytest.raises(ConnectionLost, match=r"the connection to the server has ended: the server closed") as caught:
        pair.connection.receive()
    assert isinstance(caught.value, ConnectionError)


def test_what_the_peer_said_before_it_hung_up_is_read_although_nothing_can_be_sent(pair: Pair) -> None:
    """It says why."""
    pair.peer.sendall(frame(INT32, b"because"))
    pair.peer.close()
    pair.connection.send(b"a request")
    assert bytes(pair.connection.receive()) == b"because"
    with pytest.raises(ConnectionLost, match="Broken pipe"):
        pair.connection.receive()


def test_an_invalid_frame_ends_the_connection(pair: Pair) -> None:
    """What follows cannot be read either."""
    pair.peer.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ProtocolBroken, match="the server does not speak the protocol"):
        pair.connection.receive()
    with pytest.raises(ProtocolBroken):
        pair.connection.receive()


def test_a_connection_that_is_closed_stays_so(pair: Pair) -> None:
    """To close it again does nothing; to use it is an error of its own."""
    pair.connection.close()
    pair.connection.close()
    for use in (pair.connection.receive, lambda: pair.connection.send(b"x"), pair.connection.check_open):
        with pytest.raises(Closed, match="connect again"):
            use()


@pytest.mark.parametrize("framing", [Framing.NETSTRING, Framing.INT32])
def test_a_tls_alert_is_explained(framing: Framing) -> None:
    """It is what a server that expects TLS answers plain text with; ours says so in words."""
    ours, peer = socket.socketpair()
    connection = Connection(ours, "the server", framing, 20.0, WaitPolicy(0.0))
    peer.sendall(b"\x15\x03\x03\x00\x02\x02\x46")
    peer.close()
    with pytest.raises((ConnectionLost, ProtocolBroken), match="it expects TLS; connect with tls=True"):
        connection.receive()
