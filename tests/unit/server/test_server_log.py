"""The log: one line for each event, and nothing in it that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from gymtwist.error_texts import printable
from gymtwist.errors import HandshakeError, ServerFull
from gymtwist.protocol.framing import ProtocolName
from gymtwist.server.server_log import SessionLog, log_event
from gymtwist.server.session_events import (
    Crashed,
    Ended,
    Incomplete,
    MemoryExceeded,
    Queued,
    Refused,
    Resumed,
    SessionEvent,
    SessionEvents,
    SessionInfo,
    Started,
)
from gymtwist.worker.session_status import Operation
from tests.support.harness import Log

SESSION = SessionInfo(7, "127.0.0.1:5", "CartPole-v1", ProtocolName.CLASSIC)
EMPTY = SessionInfo(8, "a UNIX socket", "", ProtocolName.INT32)


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged."""
    log = Log()
    yield log
    log.close()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Queued("127.0.0.1:5", "Pong-v4", "4 of 4 sessions run"),
            "[session -] queued 127.0.0.1:5 for Pong-v4: 4 of 4 sessions run",
        ),
        (Refused("127.0.0.1:5", ServerFull("full\n")), "[session -] refused 127.0.0.1:5: full\\n"),
        (Incomplete("127.0.0.1:5", "it left\n"), "[session -] no handshake of 127.0.0.1:5: it left\\n"),
        (Started(SESSION, 42), "[session 7] started: CartPole-v1 for 127.0.0.1:5 (classic, process 42)"),
        (Started(EMPTY, None), "[session 8] started: no environment for a UNIX socket (int32, process not known)"),
        (
            Crashed(SESSION, "was killed by SIGSEGV", Operation.STEP, ""),
            "[session 7] crashed: its process was killed by SIGSEGV in step",
        ),
        (
            Crashed(SESSION, "was killed by SIGKILL", Operation.MAKE, "make took more than 3 s"),
            "[session 7] crashed: its process was killed by SIGKILL in make (make took more than 3 s)",
        ),
        (
            MemoryExceeded(SESSION, 300 << 20, 200 << 20, of_worker=False),
            "[session 7] its processes hold 300 MiB and may hold 200; those that the environment started are killed",
        ),
        (
            MemoryExceeded(SESSION, 300 << 20, 200 << 20, of_worker=True),
            "[session 7] its processes hold 300 MiB and may hold 200; all are killed",
        ),
        (Resumed(SESSION, 43), "[session 7] resumed (process 43)"),
        (
            Ended(SESSION, "the client left", 100, 3, 2.0),
            "[session 7] ended: the client left; CartPole-v1 for 127.0.0.1:5, 100 steps, 3 episodes, 50 steps/s, 2.0 s",
        ),
        (
            Ended(SESSION, "the client left", 1, 1, 1.0),
            "[session 7] ended: the client left; CartPole-v1 for 127.0.0.1:5, 1 step, 1 episode, 1 steps/s, 1.0 s",
        ),
    ],
)
def test_each_event_is_a_line(log: Log, event: SessionEvent, line: str) -> None:
    """In the form that the page of the log documents."""
    events = SessionEvents()
    events.subscribe(log_event)
    events.publish(event)
    assert log.lines == [line]


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), *range(127, 160), 0x61C, 0x200E, 0x2028, 0x202E, 0x2066])
def test_control_characters_are_escaped(code: int) -> None:
    """A client cannot clear the operator's screen, or forge a line."""
    assert printable(chr(code)).isascii()
    assert printable(chr(code)).isprintable()


# Limits


def numbered(number: int, host: str = "127.0.0.1") -> SessionInfo:
    """Return the session of a number."""
    return SessionInfo(number, f"{host}:{number}", "CartPole-v1", ProtocolName.INT32)


def test_refusals_of_an_address_are_limited(log: Log) -> None:
    """Some at once and one a second later, the others are counted; another address has a limit of its own."""
    clock = Clock()
    events = SessionLog(clock)
    for port in range(100):
        events(Refused(f"127.0.0.1:{port}", HandshakeError("garbage")))
        events(Incomplete(f"127.0.0.1:{port}", "it left"))
    events(Refused("[::1]:1", HandshakeError("garbage")))
    assert len(log.having("127.0.0.1")) == 20
    assert log.having("[::1]:1")
    clock.advance(1.0)
    assert log.lines[-1] == "[session -] more of 127.0.0.1, not logged: 90 incomplete handshakes, 90 refusals"
    events(Refused("127.0.0.1:5", HandshakeError("garbage")))
    assert len(log.lines) == 22
    clock.advance(1.0)
    assert log.lines[-1] == "[session -] more of 127.0.0.1, not logged: 1 refusals"


def test_a_full_server_writes_a_line_a_second(log: Log) -> None:
    """However many addresses are refused."""
    clock = Clock()
    events = SessionLog(clock)
    for second in range(3):
        for host in range(100):
            events(Refused(f"10.0.{second}.{host}:1", ServerFull("full")))
        clock.advance(1.0)
    assert len(log.lines) <= 4
    events.flush()
    left_out = [int(each.rpartition(": ")[2].split()[0]) for each in log.having("more refused because")]
    assert sum(left_out) + len(log.having(": full")) == 300


def test_a_session_is_in_the_log_from_start_to_end_or_not_at_all(log: Log) -> None:
    """So that each line about the end of a session has its start; what is left out is counted."""
    clock = Clock()
    events = SessionLog(clock)
    for number in range(1, 301):
        events(Started(numbered(number), 42))
        if number == 300:
            events(Crashed(numbered(number), "was killed by SIGSEGV", Operation.STEP, ""))
    for number in range(1, 301):
        events(Ended(numbered(number), "the client left", 0, 0, 1.0))
    assert len(log.having("started:")) == len(log.having("ended:")) == 250
    assert not log.having("[session 300]")
    events.flush()
    assert log.lines[-1] == "[session -] more of 127.0.0.1, not logged: 50 sessions"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Crashed(SESSION, "was killed by SIGSEGV", Operation.STEP, ""), "crashes"),
        (MemoryExceeded(SESSION, 300, 200, of_worker=False), "sessions with too much memory"),
    ],
)
def test_what_a_session_repeats_is_limited(log: Log, event: SessionEvent, kind: str) -> None:
    """It may go on for ever."""
    clock = Clock()
    events = SessionLog(clock)
    for _ in range(1000):
        events(event)
    assert len(log.lines) == 500
    events.flush()
    assert log.lines[-1] == f"[session -] more of 127.0.0.1, not logged: 500 {kind}"


def test_many_addresses_share_a_limit(log: Log) -> None:
    """Nobody can fill the server's memory with limits; those that nothing depends on make room."""
    clock = Clock()
    events = SessionLog(clock)
    for number in range(1100):
        events(Refused(f"10.0.{number // 250}.{number % 250}:1", HandshakeError("garbage")))
    assert len(log.lines) == 1020
    clock.advance(1.0)
    assert log.lines[-1] == "[session -] more of other addresses, not logged: 80 refusals"
    clock.advance(100.0)
    events(Refused("10.1.0.0:1", HandshakeError("garbage")))
    assert "10.1.0.0" in log.lines[-1]
