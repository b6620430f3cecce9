"""Addresses: every form that people write, and what to say to the others."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gymtwist.client import Address, ConnectionLost, Progress, ProtocolBroken, RemoteError, RequestRefused
from gymtwist.client.address import Attempts, Clock, connected, parse


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:5001", Address("localhost", 5001)),
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("[::1]:5001", Address("::1", 5001)),
        ("unix:gymsock.sock", Address("", 0, "gymsock.sock")),
        ("unix:/run/a:b.sock", Address("", 0, "/run/a:b.sock")),
        ("tls:example.org:5002", Address("example.org", 5002, tls=True)),
        ("tls:[::1]:5002", Address("::1", 5002, tls=True)),
        (("::1", 5001), Address("::1", 5001)),
        (5001, Address("localhost", 5001)),
        (Address("here", 1), Address("here", 1)),
    ],
)
def test_an_address_is_understood(given: Any, meant: Address) -> None:
    """In each of its forms."""
    assert parse(given) == meant


@pytest.mark.parametrize("text", ["localhost:5001", "[::1]:5001", "unix:gymsock.sock", "tls:example.org:5002"])
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    """So that messages name what the user wrote."""
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "given",
    [
        *("", "localhost", "localhost:", ":5001", "localhost:http", "localhost:0", "localhost:70000", "::1:5001"),
        *("unix:", "tls:", "localhost:-1", "localhost:\u0665", 0, -1, 70000, True, None, 5.0, ("localhost",)),
        *(("localhost", "5001"), (1, 2), b"localhost:5001"),
    ],
)
def test_an_invalid_address_is_refused(given: Any) -> None:
    """With what was given, and what is expected."""
    with pytest.raises(ValueError, match="no address: ") as caught:
        parse(given)
    assert repr(given) in str(caught.value)
    assert "expected" in str(caught.value) or "port is an integer" in str(caught.value)


@pytest.mark.parametrize("problem", ["No such file", "no certificate", "expected True"])
def test_certificates_that_cannot_be_read_are_the_callers_error(tmp_path: Path, problem: str) -> None:
    """No connection is lost: nothing is connected, and the argument and the file are named."""
    (tmp_path / "empty.pem").touch()
    tls: Any = {"No such file": str(tmp_path / "none.pem"), "no certificate": tmp_path / "empty.pem"}.get(problem, 5)
    with pytest.raises(ValueError, match=problem) as caught:
        connected(Address("127.0.0.1", 1), 1.0, tls)
    assert str(caught.value).startswith(f"tls is {str(tls) if isinstance(tls, Path) else tls!r}"[:12])
    assert "expected True, the path of a file of certificates" in str(caught.value)


class PausedClock:
    """A clock that passes in pauses alone; a server may come up in one.

    Args:
        listener: A bound socket that does not listen yet.
        up_after: The pause in which it begins to.
    """

    def __init__(self, listener: socket.socket, up_after: int | None = None) -> None:
        self.pauses: list[float] = []
        self._listener, self._up_after = listener, up_after
        self.clock = Clock(now=lambda: sum(self.pauses), pause=self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self._up_after:
            self._listener.listen()


@pytest.fixture(params=["tcp", "unix"])
def down(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Address]]:
    """The socket of a server that does not listen yet, and its address."""
    path = tmp_path / "socket"
    kind, place = (socket.AF_INET, ("127.0.0.1", 0)) if request.param == "tcp" else (socket.AF_UNIX, str(path))
    with socket.socket(kind) as listener:
        listener.bind(place)
        address = Address(*listener.getsockname()) if request.param == "tcp" else Address("", 0, str(path))
        yield listener, address


def test_a_server_that_is_not_up_is_waited_for(
    down: tuple[socket.socket, Address], caplog: pytest.LogCaptureFixture
) -> None:
    """With pauses that double up to a second; the log says so once."""
    listener, address = down
    waited = PausedClock(listener, up_after=7)
    with caplog.at_level(logging.WARNING, "gymtwist"):
        connected(address, 60.0, clock=waited.clock).close()
    assert waited.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [record.getMessage() for record in caplog.records] == [
        f"{address} is not up (Connection refused); waiting for it for up to 60 s"
    ]


def test_the_wait_for_a_server_ends(down: tuple[socket.socket, Address]) -> None:
    """After exactly the time that was given, with one more attempt."""
    listener, address = down
    waited = PausedClock(listener)
    with pytest.raises(ConnectionLost, match=r"within 3 s: .*Connection refused; is the server running\?"):
        connected(address, 3.0, clock=waited.clock)
    assert sum(waited.pauses) == pytest.approx(3.0)


def test_a_server_can_be_waited_for_without_a_limit(down: tuple[socket.socket, Address]) -> None:
    """As every time."""
    listener, address = down
    waited = PausedClock(listener, up_after=1000)
    connected(address, None, clock=waited.clock).close()
    assert len(waited.pauses) == 1000


def test_a_socket_file_that_is_missing_is_waited_for(tmp_path: Path) -> None:
    """The server makes it when it starts."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = tmp_path / "socket"

        def come_up(seconds: float) -> None:
            listener.bind(str(path))
            listener.listen()

        connected(Address("", 0, str(path)), 1.0, clock=Clock(now=lambda: 0.0, pause=come_up)).close()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        (Address("nowhere.invalid", 5001), "is the name of the host right?"),
        (Address("", 0, "/dev/null/socket"), "is the server running?"),
    ],
)
def test_an_address_that_will_not_do_is_not_waited_for(address: Address, remedy: str) -> None:
    """The error comes at once, with what may be wrong."""
    waited = PausedClock(socket.socket())
    with pytest.raises(ConnectionLost, match=f"no connection to {address}: .*{re.escape(remedy)}"):
        connected(address, 60.0, clock=waited.clock)
    assert waited.pauses == []


@pytest.mark.parametrize(
    ("error", "passes", "passes_at_a_restart"),
    [
        (RequestRefused("full", code="server-full"), True, True),
        (RequestRefused("stopping", code="server-stopping"), True, True),
        (RequestRefused("unknown", code="unknown-environment"), False, False),
        (ConnectionLost("it has ended"), False, True),
        (ProtocolBroken("what is this"), False, False),
    ],
)
def test_a_refusal_that_may_pass_is_waited_for(error: RemoteError, passes: bool, passes_at_a_restart: bool) -> None:
    """For as long as a server that is not up; others are raised at once."""
    for is_restart, waits in ((False, passes), (True, passes_at_a_restart)):
        times = iter([0.0, 1.0, 2.0, 3.0])
        attempts = Attempts(Address("here", 1), 3.0, now=lambda: next(times), is_restart=is_restart)  # noqa: B023
        for pause in (0.05, 0.1) if waits else ():
            assert attempts.pause_after(error) == pause
        with pytest.raises(type(error)) as caught:
            attempts.pause_after(error)
        assert caught.value is error


@pytest.mark.parametrize("error", [TimeoutError("that is enough"), BrokenPipeError("nobody reads this")])
def test_what_the_callback_raises_is_not_taken_for_the_sockets(
    down: tuple[socket.socket, Address], error: OSError
) -> None:
    """It ends the wait as it is."""
    listener, address = down

    def report(progress: Progress) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        clock = PausedClock(listener).clock
        connected(address, 60.0, attempts=Attempts(address, 60.0, report, clock.now), clock=clock)
    assert caught.value is error
