"""The first lines of the log."""

from __future__ import annotations

import os
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent

from gymtwist import __version__
from gymtwist.server.startup_banner import log_startup
from gymtwist.worker.readiness import LibrarySummary, Readiness

READINESS = Readiness((LibrarySummary("gymnasium", 13, "CartPole-v1"), LibrarySummary("own", 1, "Mine-v0")), ("jax",))


def logged(*endpoints: tuple[str, Any], readiness: Readiness = READINESS, web: bool = False) -> list[str]:
    """Return the lines that are logged for some endpoints, which have a web page or not."""
    with capturedLogs() as events:
        log_startup(endpoints, readiness, "as many as there are", web=endpoints if web else ())
    return [formatEvent(event) for event in events]


def test_every_line() -> None:
    """What it is, where it listens, for whom, what there is, how to connect, how to stop."""
    lines = logged(("tcp:5001:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 5001)))
    assert lines[0].startswith(f"gymtwist {__version__}, Twisted ")
    assert lines[1:6] == [
        "Listening on 127.0.0.1:5001, for this machine only",
        "Environments: 13 of gymnasium (such as CartPole-v1), 1 of own (such as Mine-v0); not installed: jax",
        "Limits: as many as there are",
        "Isolation of sessions: limits (--isolate)",
        "To connect from Python: import gymtwist.client; "
        'env = gymtwist.client.connect("localhost:5001", "CartPole-v1"); env.reset(seed=1); '
        "env.step(env.action_space.sample())",
    ]
    assert lines[6].startswith("To stop: ")
    assert lines[6].endswith(f"kill {os.getpid()}")


def test_who_needs_a_token_is_told_so() -> None:
    """In the line that says how to connect, too."""
    endpoint = ("tcp:5001:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 5001))
    with capturedLogs() as events:
        log_startup([endpoint], READINESS, "none", isolation="all", groups="no groups", has_identities=True)
    lines = [formatEvent(event) for event in events]
    assert "Listening on 127.0.0.1:5001, for this machine only; each needs an identity" in lines
    assert "Isolation of sessions: all (--isolate); no groups" in lines
    (hint,) = [line for line in lines if "connect(" in line]
    assert hint.startswith("To connect from Python, with your token in the variable GYMTWIST_TOKEN: import gymtwist")


@pytest.mark.parametrize(
    ("description", "address", "where", "whom"),
    [
        ("tcp:1", IPv4Address("TCP", "0.0.0.0", 1), "0.0.0.0:1", "every network; there is no password"),
        ("tcp6:1", IPv6Address("TCP", "::", 1), "[::]:1", "every network; there is no password"),
        ("tcp6:1:interface=[::1]", IPv6Address("TCP", "::1", 1), "[::1]:1", "this machine only"),
        ("tcp:1", IPv4Address("TCP", "10.1.2.3", 1), "10.1.2.3:1", "the network of 10.1.2.3; there is no password"),
        ("ssl:1", IPv4Address("TCP", "127.0.0.2", 1), "tls:127.0.0.2:1", "this machine only"),
        ("unix:a", UNIXAddress(b"a"), "unix:a", "users of this machine who may write to that file"),
    ],
)
def test_where_and_for_whom(description: str, address: Any, where: str, whom: str) -> None:
    """An address is written as the Python client takes it."""
    assert f"Listening on {where}, for {whom}" in logged((description, address))


def test_a_server_with_nothing_to_play() -> None:
    """There is no example to show."""
    lines = logged(("tcp:1", IPv4Address("TCP", "0.0.0.0", 1)), readiness=Readiness())
    assert "Environments: none that clients may ask for" in lines
    assert not [line for line in lines if "connect(" in line]


@pytest.mark.parametrize(
    ("endpoints", "page"),
    [
        ([("tcp:1", IPv4Address("TCP", "0.0.0.0", 1))], ["http://localhost:1/"]),
        ([("ssl:1", IPv4Address("TCP", "10.1.2.3", 1))], ["https://10.1.2.3:1/"]),
        ([("unix:a", UNIXAddress(b"a")), ("tcp6:1", IPv6Address("TCP", "fe80::1", 1))], ["http://[fe80::1]:1/"]),
        ([("unix:a", UNIXAddress(b"a"))], []),
    ],
)
def test_the_address_of_the_web_page(endpoints: list[tuple[str, Any]], page: list[str]) -> None:
    """It is that of the first endpoint which a browser can reach, as a program on this machine writes it."""
    expected = [f"Web page: {each}" for each in page]
    assert [line for line in logged(*endpoints, web=True) if "Web page" in line] == expected
    assert not [line for line in logged(*endpoints) if "Web page" in line]
