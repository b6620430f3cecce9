"""Answers clients that send plain text to a port that expects TLS."""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from gymtwist.errors import HandshakeError
from gymtwist.protocol.handshake import error_reply, is_tls, recognise
from gymtwist.server.client_address import name_of
from gymtwist.server.session_events import Refused, SessionEvents

_TLS_EXPECTED = (
    "this port expects TLS, and what came is plain text: connect with TLS (in Python with tls=True or the path of a "
    "certificate), or to a port without it"
)


def answer_plain_text(port: Any, events: SessionEvents) -> None:
    """Make a TLS port answer clients that send plain text; do nothing for other ports.

    Args:
        port: The port, as returned by Twisted.
        events: Where to publish refusals.
    """
    if isinstance(port.factory, TLSMemoryBIOFactory):
        port.factory = _PlainTextFactory(port.factory, events)


class _PlainTextFactory(WrappingFactory):
    """Builds protocols that pass connections on to TLS."""

    noisy = False

    def __init__(self, tls: Any, events: SessionEvents) -> None:
        super().__init__(tls)
        self._events = events

    def buildProtocol(self, addr: Any) -> Any:
        """Return the protocol of a new connection; called by Twisted."""
        tls: Any = self.wrappedFactory.buildProtocol(addr)
        # Twisted also wraps the None of a factory that accepts no more connections.
        return None if tls.wrappedProtocol is None else _FirstBytes(tls, self._events)


class _FirstBytes(Protocol):
    """A connection until its first bytes arrive.

    Args:
        tls: The TLS protocol.
        events: Where to publish a refusal.
    """

    transport: Any

    def __init__(self, tls: Protocol, events: SessionEvents) -> None:
        self._tls = tls
        self._events = events

    def connectionMade(self) -> None:
        """Start TLS; called by Twisted."""
        self._tls.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Pass the connection on to TLS, or refuse it; called by Twisted."""
        if is_tls(data):
            self.transport.protocol = self._tls
            self._tls.dataReceived(data)
            return
        error = HandshakeError(_TLS_EXPECTED)
        self._events.publish(Refused(name_of(self.transport.getPeer()), error))
        protocol = None
        with contextlib.suppress(HandshakeError):
            protocol = recognise(data)
        self.transport.write(error_reply(protocol, error))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell TLS; called by Twisted."""
        self._tls.connectionLost(reason)
