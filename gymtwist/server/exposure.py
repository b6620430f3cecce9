"""Which ports other machines can reach, and what such a port must have before it is served."""

from __future__ import annotations

import ipaddress
from typing import Any


def is_encrypted(description: str) -> bool:
    """Return whether an endpoint with this description speaks TLS."""
    return description.startswith("ssl:")


def is_exposed(address: Any) -> bool:
    """Return whether other machines can reach a port with this address, an ``IAddress``."""
    host = getattr(address, "host", None)
    return host is not None and not ipaddress.ip_address(host.partition("%")[0]).is_loopback


def check(description: str, address: Any, *, has_identities: bool) -> None:
    """Check that a port reachable from other machines has TLS and requires an identity.

    Args:
        description: The description of the endpoint.
        address: The address of its port.
        has_identities: Whether clients need an identity.

    Raises:
        ValueError: The port lacks one of them.
    """
    missing = [] if is_encrypted(description) else ["TLS (ssl:...)"]
    missing += [] if has_identities else ["--identities"]
    if missing and is_exposed(address):
        raise ValueError(
            f"other machines can reach {address.host}, so it needs {' and '.join(missing)}; listen on 127.0.0.1, or "
            "give --trusted-network if everybody there may play and read what others send"
        )
