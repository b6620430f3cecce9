"""Which ports need TLS and identities."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from gymtwist.server import exposure

EVERYWHERE = IPv4Address("TCP", "0.0.0.0", 1)


@pytest.mark.parametrize(
    "address",
    [
        IPv4Address("TCP", "127.0.0.1", 1),
        IPv4Address("TCP", "127.9.9.9", 1),
        IPv6Address("TCP", "::1", 1),
        UNIXAddress(b"/s"),
    ],
)
def test_a_port_of_this_machine_needs_nothing(address: object) -> None:
    """Only its own users reach it."""
    exposure.check("tcp:1", address, has_identities=False)


@pytest.mark.parametrize(
    ("description", "has_identities", "missing"),
    [
        ("tcp:1", False, r"TLS \(ssl:...\) and --identities"),
        ("tcp:1", True, r"TLS \(ssl:...\);"),
        ("ssl:1:x", False, "--identities;"),
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "fe80::1%eth0"])
def test_a_port_that_others_reach_needs_both(description: str, has_identities: bool, missing: str, host: str) -> None:
    """The error says what is missing, and how to do without."""
    address = IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)
    with pytest.raises(ValueError, match=f"needs {missing}.*--trusted-network"):
        exposure.check(description, address, has_identities=has_identities)


def test_a_port_that_others_reach_may_have_both() -> None:
    """Then it is served."""
    exposure.check("ssl:1:x", EVERYWHERE, has_identities=True)
