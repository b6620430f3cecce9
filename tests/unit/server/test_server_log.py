"""The log: one line for each event, and nothing in it that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gymtwist.errors import ServerFull
from gymtwist.protocol.framing import ProtocolName
from gymtwist.server.server_log import log_event, printable
from gymtwist.server.session_events import (
    Crashed,
    Ended,
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
        (Queued("127.0.0.1:5", "Pong-v4"), "[session -] queued 127.0.0.1:5 for Pong-v4"),
        (Refused("127.0.0.1:5", ServerFull("full\n")), "[session -] refused 127.0.0.1:5: full\\x0a"),
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
        (Resumed(SESSION, 43), "[session 7] resumed (process 43)"),
        (
            Ended(SESSION, "the client left", 100, 3, 2.0),
            "[session 7] ended: the client left; CartPole-v1 for 127.0.0.1:5, 100 steps, 3 episodes, 50 steps/s, 2.0 s",
        ),
    ],
)
def test_each_event_is_a_line(log: Log, event: SessionEvent, line: str) -> None:
    """In the form that the page of the log documents."""
    events = SessionEvents()
    events.subscribe(log_event)
    events.publish(event)
    assert log.lines == [line]


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\u2028", "\u202e"])
def test_control_characters_are_escaped(text: str) -> None:
    """A client cannot clear the operator's screen, or forge a line."""
    assert printable(text).isascii()
    assert printable(text).isprintable()
