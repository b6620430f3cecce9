"""How long the refusal of a token takes."""

from __future__ import annotations

from gymtwist.server import token_delays
from gymtwist.server.token_delays import TokenDelays


def test_each_refusal_takes_twice_as_long() -> None:
    """Up to a limit; another network is not slowed down."""
    delays = TokenDelays(lambda: 5.0)
    assert [delays.next("10.0.0.1") for _ in range(8)] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert delays.next("10.0.0.2") == 0.125


def test_a_network_is_forgiven() -> None:
    """After a minute without a wrong token."""
    now = 0.0
    delays = TokenDelays(lambda: now)
    assert [delays.next("a"), delays.next("a")] == [0.125, 0.25]
    now = 59.0
    assert delays.next("a") == 0.5
    now = 119.0
    assert delays.next("a") == 0.125


def test_networks_that_are_remembered_are_limited() -> None:
    """The one that was refused longest ago is forgotten."""
    delays = TokenDelays(lambda: 0.0)
    for number in range(token_delays._MOST_NETWORKS):
        delays.next(str(number))
    delays.next("0")
    delays.next("new")
    assert delays.next("0") == 0.5
    assert delays.next("1") == 0.125
