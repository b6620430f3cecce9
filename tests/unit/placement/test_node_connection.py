"""The control port of a node: whoever does not know the secret costs it little."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

import gymtwist
from gymtwist.placement import node_commands
from gymtwist.placement.node_connection import ControlFactory, FrontLink, Tickets
from gymtwist.worker.amp_commands import Link

SECRET = b"0123"


class Control:
    """A control port without a socket."""

    def __init__(self) -> None:
        """Wait for connections."""
        self.clock = Clock()
        self.abandoned: list[bool] = []
        self.tickets = Tickets(self.clock)
        self.factory = ControlFactory(self.clock, SECRET, self.tickets, lambda: self.abandoned.append(True))

    def connect(self) -> tuple[FrontLink, StringTransport]:
        """Connect to it."""
        link, transport = self.factory.buildProtocol(None), StringTransport()
        link.makeConnection(transport)
        return link, transport


def boxed(command: Any, **arguments: Any) -> bytes:
    """Return the bytes of a command."""
    link, transport = Link(), StringTransport()
    link.makeConnection(transport)
    link.callRemote(command, **arguments)
    sent: bytes = transport.value()
    return sent


@pytest.mark.parametrize("size", [1, 60_000])
def test_a_box_without_end_is_not_kept(size: int) -> None:
    """AMP would keep as many keys and values as come."""
    link, transport = Control().connect()
    value = size.to_bytes(2, "big") + bytes(size)
    for number in range(10_000):
        link.dataReceived(b"\0\4%04d" % number + value)
        if transport.disconnecting or transport.disconnected:
            break
    assert number * size < 10_000


def test_whoever_says_nothing_is_not_waited_for() -> None:
    """Descriptors would be taken from sessions; the front itself may stay."""
    control = Control()
    _, silent = control.connect()
    front, transport = control.connect()
    front.dataReceived(boxed(node_commands.Enter, secret=SECRET, version=gymtwist.__version__))
    for _ in range(30):
        control.clock.advance(0.5)
        front.dataReceived(boxed(node_commands.Beat))
    assert silent.disconnected
    assert not transport.disconnected
    assert not control.abandoned


def test_a_crowd_does_not_keep_the_front_out() -> None:
    """The longest silent of many gives way."""
    control = Control()
    crowd = [control.connect()[1] for _ in range(1000)]
    assert sum(not each.disconnected for each in crowd) < 20
    front, transport = control.connect()
    front.dataReceived(boxed(node_commands.Enter, secret=SECRET, version=gymtwist.__version__))
    assert not transport.disconnected
    crowd += [control.connect()[1] for _ in range(1000)]
    assert not transport.disconnected


def test_the_front_may_send_large_boxes() -> None:
    """It is limited no more once it has shown the secret."""
    front, transport = Control().connect()
    front.dataReceived(boxed(node_commands.Enter, secret=SECRET, version=gymtwist.__version__))
    handshake = b'32:{"op":"make","id":"CartPole-v1"},'
    expected = {"session": 1, "protocol": b"netstring", "handshake": handshake, "recovery_reply": b"", "make": b""}
    for number in range(10):
        ticket = b"%032d" % number
        front.dataReceived(boxed(node_commands.Expect, ticket=ticket, overrides=b"{}" + b" " * 60_000, **expected))
    assert not transport.disconnected
    assert transport.value().count(b"_answer") == 11


def test_the_front_is_told_that_a_ticket_was_not_used() -> None:
    """Once, and not of one that was used."""
    control = Control()
    told: list[dict[str, Any]] = []
    control.tickets.tell = lambda command, **fields: told.append({"command": command, **fields})
    expected: Any = object()
    for ticket in (b"used", b"unused"):
        control.tickets.expect(ticket, expected)
    assert control.tickets.redeem(b"used") is expected
    control.clock.advance(node_commands.TICKET_TIMEOUT)
    assert told == [{"command": node_commands.Expired, "ticket": b"unused"}]
    assert control.tickets.redeem(b"unused") is None
