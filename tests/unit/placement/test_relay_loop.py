"""Relays that wait in place of a real reactor: it still does everything else in time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from gymtwist.placement.relay_loop import RelayLoop, relay_loop
from gymtwist.placement.session_relay import RelayEnd
from tests.support.patience import PATIENCE


class Relay:
    """A client and a worker with a relay between them."""

    def __init__(self, loop: Any, seen: Callable[[memoryview], None] = lambda data: None) -> None:
        self.client, ours = socket.socketpair()
        self.worker, theirs = socket.socketpair()
        self.client.settimeout(PATIENCE)
        self.worker.settimeout(PATIENCE)
        for each in (ours, theirs):
            each.setblocking(False)
        self.ours = RelayEnd(loop, ours, seen, lambda: self.theirs.end_writing())
        self.theirs = RelayEnd(loop, theirs, lambda data: None, lambda: self.ours.end_writing())
        self.ours.peer, self.theirs.peer = self.theirs, self.ours
        self.ours.start()
        self.theirs.start()

    def exchange(self, size: int) -> None:
        """Send bytes to the worker and back."""
        sent = bytes(range(256)) * (size // 256)
        for source, target in ((self.client, self.worker), (self.worker, self.client)):
            sending = threading.Thread(target=source.sendall, args=(sent,))
            sending.start()
            received = bytearray()
            while len(received) < len(sent):
                received += target.recv(65536)
            sending.join()
            assert received == sent

    def close(self) -> None:
        """Close all."""
        for each in (self.client, self.worker, self.ours, self.theirs):
            each.close()


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor of its own, which ends all that it watches."""
    made: Any = EPollReactor()
    yield made
    for each in made.removeAll():
        with contextlib.suppress(AttributeError):
            each.close()
    made._poller.close()


def run(reactor: Any, play: Callable[[], None]) -> None:
    """Run the reactor while a thread plays."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            play()
        except BaseException as error:
            failures.append(error)
        reactor.callFromThread(reactor.stop)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    reactor.run(installSignalHandlers=False)
    thread.join(PATIENCE)
    assert not failures, failures


def test_calls_and_threads_have_their_turn_while_relays_are_busy(reactor: Any) -> None:
    """A call that is due, one from a thread, and one that a relay itself makes."""
    called: list[str] = []
    done = threading.Event()

    def seen(data: memoryview) -> None:
        if "relay" not in called:
            called.append("relay")
            reactor.callLater(0, called.append, "by the relay")

    with contextlib.closing(Relay(relay_loop(reactor), seen)) as relay:

        def play() -> None:
            reactor.callFromThread(reactor.callLater, 0.01, done.set)
            while not done.is_set():
                relay.exchange(256)
            assert "by the relay" in called

        run(reactor, play)


def test_more_than_sockets_hold_is_relayed(reactor: Any) -> None:
    """While one side does not read, the other is not read."""
    with contextlib.closing(Relay(relay_loop(reactor))) as relay:
        run(reactor, lambda: relay.exchange(2**23))


def test_an_end_reaches_the_other_side(reactor: Any) -> None:
    """Also the end of the reactor."""
    loop = relay_loop(reactor)
    with contextlib.closing(Relay(loop)) as relay, contextlib.closing(Relay(loop)) as other:

        def play() -> None:
            relay.client.close()
            assert relay.worker.recv(1) == b""
            other.exchange(256)

        run(reactor, play)
        assert other.ours.has_ended


def test_a_relay_that_fails_ends_alone(reactor: Any) -> None:
    """Others go on; the log has the traceback."""
    loop = relay_loop(reactor)

    def fail(data: memoryview) -> None:
        raise RuntimeError("for the test")

    with contextlib.closing(Relay(loop, fail)) as failing, contextlib.closing(Relay(loop)) as other:

        def play() -> None:
            failing.client.sendall(b"x")
            assert failing.worker.recv(10) == b"x"
            assert failing.worker.recv(10) == b""
            other.exchange(256)

        with capturedLogs() as logged:
            run(reactor, play)
        assert [event["log_failure"].getErrorMessage() for event in logged if "log_failure" in event] == [
            "for the test"
        ]


def test_another_reactor_watches_itself(reactor: Any) -> None:
    """One that has no descriptor to wait at."""
    clock = Clock()
    assert relay_loop(clock) is clock
    assert isinstance(relay_loop(reactor), RelayLoop)
