"""Addresses of clients: their names for the log, and what limits per address count them by."""

from __future__ import annotations

import ipaddress
from typing import Any


def name_of(address: Any) -> str:
    """Return the name of a client's address, an ``IAddress``: ``127.0.0.1:51234`` or ``[::1]:51234``."""
    host = getattr(address, "host", None)
    if host is None:
        return "a UNIX socket"
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def network_of(client: str) -> str:
    """Return what limits per address count a client by: its IP address, or its network if it can choose among many.

    Args:
        client: The name of the client's address.
    """
    if not client.startswith("["):
        return client.rpartition(":")[0] or client
    address = ipaddress.IPv6Address(client[1:].partition("]")[0].partition("%")[0])
    if address.ipv4_mapped is not None:  # at a socket for both
        return str(address.ipv4_mapped)
    # Whoever has one IPv6 address usually has 2**64 of them.
    return str(ipaddress.IPv6Network((address, 64), strict=False))
