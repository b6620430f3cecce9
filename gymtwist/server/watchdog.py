"""The watch over a session: from its vitals to what is due, and when to look again."""

from __future__ import annotations

import enum

import msgspec

from gymtwist.worker.session_status import Operation, SessionStatus


class Action(enum.Enum):
    """What is due to a session."""

    GOES_ON = enum.auto()  # look again later
    IDLE = enum.auto()  # its client has been silent for too long: hang up, and let the child close
    OVERDUE = enum.auto()  # its environment does not return: the child must be killed


class Decision(msgspec.Struct, frozen=True):
    """What a look at the vitals found.

    Attributes:
        fate: What is due.
        look_again: Seconds until the next look is due; None for never.
        reason: Why the session ends, if it does.
    """

    fate: Action
    look_again: float | None = None
    reason: str = ""


def _past(time: float, now: float, otherwise: float) -> float:
    """Return a time of the vitals, unless it lies in the future: an environment can write to them."""
    # The child may have written it since the server looked at the clock.
    return min(time, now) if time < now + 1.0 else otherwise


class Watchdog(msgspec.Struct, frozen=True):
    """The limits of a session.

    Attributes:
        idle: Seconds that a client may be silent; 0 for ever.
        step: Seconds that an environment may take for one command; 0 for ever.
    """

    idle: float
    step: float

    def look(self, status: SessionStatus, now: float, handed_over: float) -> Decision:
        """Look at the vitals of a session.

        Args:
            status: The session's.
            now: The time, of ``time.monotonic``.
            handed_over: When the child was given the session.
        """
        # Until the child begins, what it does is imports: it is given the time of one command for that, too.
        begun = status.last_activity or status.busy_since
        busy_since = status.busy_since if begun else handed_over
        if busy_since is not None:
            return self._look_at_environment(status.operation, now - _past(busy_since, now, handed_over))
        return self._look_at_client(now - _past(status.last_activity, now, handed_over))

    def _look_at_environment(self, operation: Operation, elapsed: float) -> Decision:
        if self.step and elapsed >= self.step:
            return Decision(Action.OVERDUE, reason=f"{self._name(operation)} took more than {self.step:g} s")
        return self._go_on(self.step - elapsed, self.idle)

    @staticmethod
    def _name(operation: Operation) -> str:
        return "a step" if operation is Operation.STEP else operation.name.lower()

    def _look_at_client(self, elapsed: float) -> Decision:
        if self.idle and elapsed >= self.idle:
            return Decision(Action.IDLE, reason=f"idle for more than {self.idle:g} s")
        return self._go_on(self.step, self.idle - elapsed)

    def _go_on(self, step: float, idle: float) -> Decision:
        """Look again when either limit can be reached first: whose turn it is may change at any moment."""
        times = [left for limit, left in ((self.step, step), (self.idle, idle)) if limit]
        return Decision(Action.GOES_ON, min(times, default=None))
