"""The watchdog: decides from a session's status whether it exceeds a limit, and when to check again."""

from __future__ import annotations

import enum
import socket

import msgspec

from gymtwist.server import keepalive
from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.worker_starter import READY_TIMEOUT
from gymtwist.worker.session_status import Operation, SessionStatus


class Action(enum.Enum):
    """What to do with a session."""

    CONTINUE = enum.auto()  # look again later
    HANG_UP = enum.auto()  # the client is idle or has vanished: close the connection, so that the worker finishes
    REPLACE = enum.auto()  # the worker does not begin: assign the session to another worker
    KILL = enum.auto()  # the environment does not return: kill the worker


class Decision(msgspec.Struct, frozen=True):
    """The result of one check of a session.

    Attributes:
        action: What to do.
        look_again: Seconds until the next check; None for never.
        reason: Why the session ends; empty if it does not.
    """

    action: Action
    look_again: float | None = None
    reason: str = ""


class Watchdog(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of sessions, in seconds; 0 means no limit.

    Attributes:
        idle: How long a client may be silent.
        step: How long an environment may take for one operation.
        request: How long one request may take, with all its operations.
        leave: How long a request may continue after its client has left.
        keepalive: How long a client may leave data unacknowledged.
        ends_vanished: Whether to end a session whose client has vanished.
        measure: How often to measure the session's memory and processor time.
    """

    idle: float
    step: float
    request: float = 0.0
    leave: float = 0.0
    keepalive: float = 0.0
    ends_vanished: bool = True
    measure: float = 0.0

    def look(
        self,
        status: SessionStatus,
        now: float,
        assigned_at: float,
        connection: socket.socket | None = None,
        *,
        responsive: bool = False,
        ready_timeout: float = READY_TIMEOUT,
        left_at: float | None = None,
        time_left: float | None = None,
    ) -> Decision:
        """Check a session.

        Args:
            status: The session's status.
            now: The current time, by ``time.monotonic``.
            assigned_at: When the session was assigned to its worker.
            connection: The client's socket; None if the client is not watched.
            responsive: Whether the worker was idle, with everything imported, and so must begin at once.
            ready_timeout: Seconds that a worker that was not idle may take to import everything.
            left_at: When the client was found to have left; None if it was not.
            time_left: Seconds that the session may still last; None for no limit.
        """
        begun = status.last_activity or status.busy_since
        busy_since = status.busy_since if begun else assigned_at
        if status.untouched:
            decision = self._look_at_start(now - assigned_at, responsive, ready_timeout)
        elif busy_since is not None:
            operation, elapsed = status.operation, now - _past(busy_since, now, assigned_at)
            decision = self._look_at_environment(operation, elapsed)
            if decision.action is Action.CONTINUE and operation is not Operation.CLOSE:
                in_request = now - _past(status.request_since or busy_since, now, assigned_at)
                unattended = None if left_at is None else min(now - left_at, in_request)
                decision = self._look_at_request(in_request, unattended, decision)
        else:
            silent = now - _past(status.last_activity, now, assigned_at)
            unattended = None if left_at is None else min(now - left_at, silent)
            decision = self._look_at_client(silent, unattended)
        is_continued = decision.action is Action.CONTINUE
        if is_continued and self.ends_vanished and keepalive.has_vanished(connection, self.keepalive):
            return Decision(Action.HANG_UP, reason="the client vanished (what was sent to it is not acknowledged)")
        if decision.action is Action.CONTINUE and time_left is not None:
            return Decision(Action.CONTINUE, min(time_left, decision.look_again or time_left))
        return decision

    def look_at_connection(self, connection: socket.socket | None, time_left: float | None) -> Decision:
        """Check a session whose worker is watched by another server.

        Args:
            connection: The client's socket; None if the client is not watched.
            time_left: Seconds that the session may still last; None for no limit.
        """
        if keepalive.has_vanished(connection, self.keepalive):
            return Decision(Action.HANG_UP, reason="the client vanished (what was sent to it is not acknowledged)")
        limits = [self.keepalive / 4] if self.keepalive else []
        limits += [] if time_left is None else [time_left]
        return Decision(Action.CONTINUE, min(limits, default=None))

    def _look_at_start(self, elapsed: float, responsive: bool, ready_timeout: float) -> Decision:
        if responsive and elapsed >= ANSWER_TIMEOUT:
            return Decision(Action.REPLACE)
        # Until it begins, a worker that was not idle is importing modules.
        importing = max(self.step, ready_timeout)
        if self.step and not responsive and elapsed >= importing:
            return self._look_at_environment(Operation.MAKE, elapsed)
        left = (ANSWER_TIMEOUT if responsive else importing) - elapsed
        again = self._continue(self.step, self.idle).look_again
        return Decision(Action.CONTINUE, again if left <= 0 else min(left, again or left))

    def _look_at_environment(self, operation: Operation, elapsed: float) -> Decision:
        if self.step and elapsed >= self.step:
            name = "a step" if operation is Operation.STEP else operation.name.lower()
            return Decision(Action.KILL, reason=f"{name} took more than {self.step:g} s")
        return self._continue(self.step - elapsed, self.idle)

    def _look_at_request(self, elapsed: float, unattended: float | None, otherwise: Decision) -> Decision:
        """Check a request for which the environment is busy.

        Args:
            elapsed: How long the request has taken, in seconds.
            unattended: For how many of these seconds its client has been gone; None if the client is there.
            otherwise: The decision if the request is within its limits.
        """
        if self.request and elapsed >= self.request:
            return Decision(Action.KILL, reason=f"a request took more than {self.request:g} s")
        if self.leave and unattended is not None and unattended >= self.leave:
            return Decision(Action.HANG_UP, reason=f"the client left, and its request went on for {self.leave:g} s")
        left = [self.request - elapsed] if self.request else []
        left += [self.leave - unattended] if self.leave and unattended is not None else []
        return Decision(Action.CONTINUE, min((each for each in (otherwise.look_again, *left) if each), default=None))

    def _look_at_client(self, elapsed: float, unattended: float | None) -> Decision:
        """Check a session whose environment is not busy.

        Args:
            elapsed: How long the client has been silent, in seconds.
            unattended: For how many of these seconds the client has been gone, which its worker should notice; None if
                the client is there.
        """
        if self.leave and unattended is not None and unattended >= self.leave:
            return Decision(Action.HANG_UP, reason="the client left")
        if self.idle and elapsed >= self.idle:
            return Decision(Action.HANG_UP, reason=f"idle for more than {self.idle:g} s")
        return self._continue(self.step, self.idle - elapsed)

    def _continue(self, step_left: float, idle_left: float) -> Decision:
        """Look again when the first limit can be reached: the worker may become busy or idle at any moment."""
        limits = (
            (self.step, step_left),
            (self.idle, idle_left),
            (self.keepalive, self.keepalive / 4),
            (self.measure, self.measure),
            (self.request, self.request),
            (self.leave, self.leave / 2),
        )
        return Decision(Action.CONTINUE, min((left for limit, left in limits if limit), default=None))


def _past(time: float, now: float, otherwise: float) -> float:
    """Return a time from the status, or ``otherwise`` if it is in the future: an environment can overwrite it."""
    # The worker may have written it after the server read the clock.
    return min(time, now) if time < now + 1.0 else otherwise
