"""How a session waits at its client's socket: nothing is lost, and it polls only where that pays."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from gymtwist.protocol.adaptive_waiting import TRIAL, WaitPolicy
from gymtwist.worker import socket_waiting
from gymtwist.worker.session_status import LAST_ACTIVITY, SessionStatus, create
from tests.support.patience import PATIENCE

#: Long enough for the other side to answer in any case, and too short for it.
LONG, SHORT = 10.0, 1e-9


class Ends:
    """Both ends of a connection, and what waits at one of them.

    Args:
        seconds: To poll.
    """

    def __init__(self, seconds: float) -> None:
        self.client, self.server = socket.socketpair()
        self.client.settimeout(PATIENCE)
        self.policy = WaitPolicy(seconds, lacks_cores=lambda: False)
        self.status = SessionStatus(create())
        self.waiting = socket_waiting._AdaptiveReceiver(self.server, self.policy, self.status)
        self.space = memoryview(bytearray(64))

    def unread(self) -> bool:
        """Tell whether something lies at the server that it has not received."""
        try:
            return bool(self.server.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def echo(self, times: int) -> None:
        """Answer so often, each time what has come."""
        for _ in range(times):
            self.client.sendall(b"ping")
            count = self.waiting.receive(self.space)
            assert bytes(self.space[:count]) == b"ping"


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Return both ends; what is there is polled for as long as the test says, or never."""
    made = Ends(getattr(request, "param", LONG))
    yield made
    made.client.close()
    made.server.close()


@pytest.mark.parametrize("ends", [LONG, SHORT, 0.0], indirect=True)
def test_all_that_comes_is_received(ends: Ends) -> None:
    """In every kind of wait, over several trials."""
    ends.echo(10_000)


@pytest.mark.parametrize("ends", [LONG, SHORT, 0.0], indirect=True)
def test_the_end_is_noticed(ends: Ends) -> None:
    """While it polls as well as while it blocks."""
    ends.echo(5)
    threading.Timer(0.05, ends.client.close).start()
    assert ends.waiting.receive(ends.space) == 0


@pytest.mark.parametrize("ends", [LONG, SHORT], indirect=True)
def test_a_broken_connection_is_an_error(ends: Ends) -> None:
    """As without polling."""
    ends.server.sendall(b"what nobody reads")
    ends.client.close()  # which resets the connection
    with pytest.raises(ConnectionResetError):
        ends.waiting.receive(ends.space)


@pytest.mark.parametrize(("polled", "blocked", "pays"), [(10e-6, 20e-6, True), (10e-6, 10.2e-6, False)])
def test_a_trial_counts_from_when_the_environment_was_done(
    monkeypatch: pytest.MonkeyPatch, polled: float, blocked: float, pays: bool
) -> None:
    """The faster way is kept; what the environment took does not count."""
    ends, now = Ends(LONG), 0.0

    def wait(seconds: float) -> int:
        nonlocal now
        now += seconds
        return 1

    monkeypatch.setattr(socket_waiting, "monotonic", lambda: now)
    monkeypatch.setattr(ends.waiting, "_poll", lambda *_: wait(polled))
    monkeypatch.setattr(ends.waiting, "_receive", lambda *_: wait(blocked))
    for _ in range(2 * TRIAL + 1):
        now += 5e-3  # the environment's step
        ends.status.words[LAST_ACTIVITY] = now
        ends.waiting.receive(ends.space)
    assert not ends.policy.is_trial
    assert bool(ends.policy.poll_seconds) is pays


@pytest.mark.parametrize(("seconds", "cores"), [(0.0, 8), (50e-6, 1)])
def test_it_only_blocks_where_polling_is_out_of_the_question(
    monkeypatch: pytest.MonkeyPatch, seconds: float, cores: int
) -> None:
    """The operator does not wish it, or there is one core for both sides."""
    monkeypatch.setattr(socket_waiting, "cores", lambda: cores)
    with socket.socket() as connection:
        assert socket_waiting.receiver(connection, seconds, SessionStatus(create())) == connection.recv_into
