"""Ports that expect TLS, as clients in plain text find them."""

from __future__ import annotations

from typing import Any

from twisted.internet import ssl
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from gymtwist.server.plain_text import answer_plain_text
from gymtwist.server.session_events import SessionEvents


class Port:
    """A port as far as its factory goes."""

    def __init__(self, factory: Any) -> None:
        """Take the factory."""
        self.factory = factory


class Full(Factory):
    """Takes no more connections."""

    def buildProtocol(self, addr: object) -> Protocol | None:
        """Return none."""
        return None


def test_a_server_that_takes_no_more_connections_closes_those_with_tls_as_well() -> None:
    """Twisted wraps whatever the factory returns; a connection with nothing inside would stay open for ever."""
    full: Any = Full()
    options: Any = ssl.CertificateOptions()
    address: Any = IPv4Address("TCP", "127.0.0.1", 5001)
    port = Port(TLSMemoryBIOFactory(options, False, full))
    answer_plain_text(port, SessionEvents())
    assert port.factory.buildProtocol(address) is None
