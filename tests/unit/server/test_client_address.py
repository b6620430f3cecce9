"""Addresses of clients, as the log names them and limits count them."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from gymtwist.server.client_address import name_of, network_of


def test_the_name_of_an_address() -> None:
    """As it is written where one connects."""
    assert name_of(IPv4Address("TCP", "127.0.0.1", 5)) == "127.0.0.1:5"
    assert name_of(IPv6Address("TCP", "::1", 5)) == "[::1]:5"
    assert name_of(UNIXAddress(None)) == "a UNIX socket"


def test_an_ipv6_client_is_counted_by_its_network() -> None:
    """It can choose among the addresses of that network; one that has an IPv4 address cannot."""
    assert network_of("127.0.0.1:5") == "127.0.0.1"
    assert network_of("a UNIX socket") == "a UNIX socket"
    assert network_of("[2001:db8::1]:5") == network_of("[2001:db8::ffff]:6") == "2001:db8::/64"
    assert network_of("[fe80::1%eth0]:5") == "fe80::/64"
    assert network_of("[::ffff:10.0.0.1]:5") == "10.0.0.1"
