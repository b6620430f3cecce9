"""Addresses of clients: their names in the log, and the networks to which limits per address apply."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from pathlib import Path
from typing import Any

from gymtwist.server.identities import Peer

#: The kernel's ``struct ucred``: process, user and group ids; see unix(7).
_CREDENTIALS = struct.Struct("iII")
#: From <asm-generic/socket.h>.
_SO_PEERPIDFD = 77


def name_of(address: Any) -> str:
    """Return the name of a client's address, an ``IAddress``: ``127.0.0.1:51234`` or ``[::1]:51234``."""
    host = getattr(address, "host", None)
    if host is None:
        return "a UNIX socket"
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def peer_of(transport: Any) -> Peer:
    """Return what the operating system knows about the client at the other end of a transport."""
    address = transport.getPeer()
    host = getattr(address, "host", None)
    if host is not None:
        return Peer(host=host, certificate=_common_name(transport))
    credentials = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return Peer(user=user)


def process_of(transport: Any) -> int | None:
    """Return the id of the process that connected to a UNIX socket.

    Args:
        transport: The transport of the connection.

    Returns:
        The id; None if the process has ended and the kernel can tell.
    """
    try:
        # The id may have been reused, but a pidfd still refers to the same process. Linux 6.5 and later return one.
        descriptor = transport.socket.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        credentials = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0]) or None
    try:
        shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    process = int(shown.rpartition("\nPid:")[2].split()[0])
    return process if process > 0 else None


def _common_name(transport: Any) -> str | None:
    """Return the common name of a client's certificate, as verified by OpenSSL; None if it has no certificate."""
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    return None if certificate is None else certificate.get_subject().CN


def network_of(client: str) -> str:
    """Return what a limit per address counts: the client's IPv4 address, or the /64 network of its IPv6 address.

    Args:
        client: The name of the client's address.
    """
    if not client.startswith("["):
        return client.rpartition(":")[0] or client
    address = ipaddress.IPv6Address(client[1:].partition("]")[0].partition("%")[0])
    if address.ipv4_mapped is not None:  # on a dual-stack socket
        return str(address.ipv4_mapped)
    # A host with one IPv6 address usually has 2**64 of them.
    return str(ipaddress.IPv6Network((address, 64), strict=False))
