"""What the server must know of a connection's transport."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import ISSLTransport


def can_be_handed_over(transport: Any) -> bool:
    """Tell whether the bytes on the wire are those of the protocol: TLS's are not."""
    if ISSLTransport.providedBy(transport):
        return False
    return isinstance(transport, (tcp.Server, unix.Server))


def name_of(address: Any) -> str:
    """Name a client for the log."""
    host = getattr(address, "host", None)
    return "a UNIX socket" if host is None else f"{host}:{address.port}"
