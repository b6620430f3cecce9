"""The watch: from the status of a session to what is due."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.watchdog import Action, Decision, Watchdog
from gymtwist.server.worker_starter import READY_TIMEOUT
from gymtwist.worker import session_status
from gymtwist.worker.session_status import BUSY_SINCE, LAST_ACTIVITY, OPERATION, REQUEST_SINCE, Operation, SessionStatus

#: Any time of `time.monotonic`; a session is handed over then.
START = 1000.0
WATCH = Watchdog(idle=600.0, step=300.0)


@pytest.fixture
def session() -> Iterator[SessionStatus]:
    """The status of a session that has not begun."""
    descriptor = session_status.create()
    made = SessionStatus(descriptor)
    os.close(descriptor)
    yield made
    made.close()


def busy(session: SessionStatus, operation: Operation, since: float) -> None:
    """Show that the environment does something."""
    session.words[OPERATION] = operation
    session.words[BUSY_SINCE] = since


def silent(session: SessionStatus, since: float) -> None:
    """Show that it is the client's turn."""
    session.words[LAST_ACTIVITY] = since
    session.words[BUSY_SINCE] = 0.0


def test_a_session_that_has_not_begun_has_the_time_of_one_command(session: SessionStatus) -> None:
    """It counts from the moment the worker was given the session."""
    assert WATCH.look(session, START + 299, START) == Decision(Action.CONTINUE, 1.0)
    late = WATCH.look(session, START + 300, START)
    assert late == Decision(Action.KILL, reason="make took more than 300 s")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (Operation.STEP, "a step"),
        (Operation.RESET, "reset"),
        (Operation.MAKE, "make"),
        (Operation.SAMPLE, "sample"),
        (Operation.MONITOR, "monitor"),
        (Operation.RENDER, "render"),
        (Operation.CLOSE, "close"),
    ],
)
def test_an_operation_past_the_deadline_is_overdue(session: SessionStatus, operation: Operation, name: str) -> None:
    """The reason names what took so long."""
    busy(session, operation, START + 50)
    assert WATCH.look(session, START + 349, START).action is Action.CONTINUE
    assert WATCH.look(session, START + 350, START) == Decision(Action.KILL, reason=f"{name} took more than 300 s")


def test_a_client_past_its_time_is_idle(session: SessionStatus) -> None:
    """The time counts from its last reply."""
    silent(session, START + 50)
    assert WATCH.look(session, START + 649, START).action is Action.CONTINUE
    assert WATCH.look(session, START + 650, START) == Decision(Action.HANG_UP, reason="idle for more than 600 s")


def test_the_steps_of_a_request_have_a_time_together(session: SessionStatus) -> None:
    """However short each of them is; a single one counts, too."""
    watch = Watchdog(idle=600.0, step=300.0, request=1000.0)
    session.words[REQUEST_SINCE] = START
    busy(session, Operation.STEP, START + 999)
    assert watch.look(session, START + 999, START) == Decision(Action.CONTINUE, 1.0)
    late = watch.look(session, START + 1000, START)
    assert late == Decision(Action.KILL, reason="a request took more than 1000 s")
    session.words[REQUEST_SINCE] = 0.0
    assert watch.look(session, START + 1000, START).action is Action.CONTINUE


def test_a_request_without_a_client_has_a_little_time(session: SessionStatus) -> None:
    """From when the client left, or from when it began: a client that only sends no more gets its replies."""
    watch = Watchdog(idle=600.0, step=300.0, leave=30.0)
    busy(session, Operation.RESET, START)
    assert watch.look(session, START + 100, START).action is Action.CONTINUE
    assert watch.look(session, START + 129, START, left_at=START + 100) == Decision(Action.CONTINUE, 1.0)
    late = watch.look(session, START + 130, START, left_at=START + 100)
    assert late == Decision(Action.HANG_UP, reason="the client left, and its request went on for 30 s")
    busy(session, Operation.STEP, START + 120)
    assert watch.look(session, START + 140, START, left_at=START).action is Action.CONTINUE
    session.words[REQUEST_SINCE] = START + 100
    assert watch.look(session, START + 140, START, left_at=START).action is Action.HANG_UP
    busy(session, Operation.CLOSE, START + 100)
    assert watch.look(session, START + 140, START, left_at=START).action is Action.CONTINUE


def test_a_worker_that_does_not_notice_that_its_client_left_is_not_waited_for(session: SessionStatus) -> None:
    """It may have damaged its link with the server, so that its answer cannot be read."""
    watch = Watchdog(idle=600.0, step=300.0, leave=30.0)
    silent(session, START)
    assert watch.look(session, START + 129, START, left_at=START + 100).action is Action.CONTINUE
    late = watch.look(session, START + 130, START, left_at=START + 100)
    assert late == Decision(Action.HANG_UP, reason="the client left")
    silent(session, START + 120)
    assert watch.look(session, START + 140, START, left_at=START + 100).action is Action.CONTINUE


def test_it_looks_again_before_a_step_can_be_overdue(session: SessionStatus) -> None:
    """A step may begin just after the look, whatever is left of the idle time."""
    silent(session, START)
    assert WATCH.look(session, START, START).look_again == 300.0
    assert WATCH.look(session, START + 599, START).look_again == 1.0


def test_it_looks_again_before_a_client_can_be_idle(session: SessionStatus) -> None:
    """A short idle time is kept even while the environment works."""
    busy(session, Operation.STEP, START)
    assert Watchdog(idle=5.0, step=300.0).look(session, START + 1, START).look_again == 5.0


def test_without_a_step_deadline_nothing_is_overdue(session: SessionStatus) -> None:
    """A step may take forever; its client may still turn out idle afterwards."""
    busy(session, Operation.STEP, START)
    assert Watchdog(idle=600.0, step=0.0).look(session, START + 1e6, START) == Decision(Action.CONTINUE, 600.0)


def test_without_an_idle_time_no_client_is_idle(session: SessionStatus) -> None:
    """But steps are looked after."""
    silent(session, START)
    assert Watchdog(idle=0.0, step=300.0).look(session, START + 1e6, START) == Decision(Action.CONTINUE, 300.0)


def test_without_limits_it_never_looks_again(session: SessionStatus) -> None:
    """No timer is left running for nothing."""
    watch = Watchdog(idle=0.0, step=0.0)
    assert watch.look(session, START + 1e6, START) == Decision(Action.CONTINUE)
    silent(session, START)
    assert watch.look(session, START + 1e6, START) == Decision(Action.CONTINUE)


def test_times_in_the_future_are_none(session: SessionStatus) -> None:
    """An environment can write to the status; that does not evade the limits."""
    busy(session, Operation.STEP, START + 1e9)
    assert WATCH.look(session, START + 300, START).action is Action.KILL
    silent(session, START + 1e9)
    assert WATCH.look(session, START + 600, START).action is Action.HANG_UP


def test_a_step_that_began_since_the_look_has_just_begun(session: SessionStatus) -> None:
    """The worker does not wait while the server looks at the clock and then at the status."""
    busy(session, Operation.STEP, START + 1000.001)
    assert WATCH.look(session, START + 1000, START) == Decision(Action.CONTINUE, 300.0)


def test_a_worker_that_was_idle_begins_within_seconds(session: SessionStatus) -> None:
    """Else another one is assigned; one that is importing has the time of a command."""
    assert WATCH.look(session, START + 1, START, responsive=True) == Decision(Action.CONTINUE, ANSWER_TIMEOUT - 1)
    assert WATCH.look(session, START + ANSWER_TIMEOUT, START, responsive=True) == Decision(Action.REPLACE)
    busy(session, Operation.MAKE, START)
    assert WATCH.look(session, START + ANSWER_TIMEOUT, START, responsive=True).action is Action.CONTINUE


def test_a_worker_that_imports_has_the_time_of_imports(session: SessionStatus) -> None:
    """A fresh Python needs seconds, however short a step may be; then its step is late."""
    short = Watchdog(idle=600.0, step=2.0)
    assert short.look(session, START + 3, START) == Decision(Action.CONTINUE, 2.0)
    assert short.look(session, START + READY_TIMEOUT, START).action is Action.KILL
    longer = READY_TIMEOUT + 100
    assert short.look(session, START + longer - 1, START, ready_timeout=longer) == Decision(Action.CONTINUE, 1.0)
    assert short.look(session, START + longer, START, ready_timeout=longer).action is Action.KILL
    busy(session, Operation.MAKE, START)
    assert short.look(session, START + 3, START) == Decision(Action.KILL, reason="make took more than 2 s")
