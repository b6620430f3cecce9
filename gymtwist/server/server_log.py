"""The server's log: the lines about sessions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.logger import Logger

from gymtwist.error_texts import printable
from gymtwist.errors import ServerFull
from gymtwist.server.client_address import network_of
from gymtwist.server.line_limit import LineLimit, listed
from gymtwist.server.session_events import (
    Crashed,
    Disconnected,
    Ended,
    Incomplete,
    MemoryExceeded,
    Queued,
    Reconnected,
    Refused,
    Resumed,
    SessionEvent,
    Started,
)

log = Logger(namespace="gymsock")

#: The number of lines that the sessions of one address can cause at once, and then per second.
_SESSIONS = (500, 5.0)
#: The same for events without a session.
_OTHERS = (20, 1.0)
#: The same for refusals because the server is full, for all addresses together.
_FULL = (1, 1.0)
#: The maximum number of addresses with limits of their own; further addresses share one.
_MOST_LIMITS = 1000

#: What the lines in the middle of a session are called when they are not logged.
_KINDS: dict[type[SessionEvent], str] = {
    Crashed: "crashes",
    Resumed: "resumptions",
    Disconnected: "lost connections",
    Reconnected: "clients that came back",
    MemoryExceeded: "sessions with too much memory",
}


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 step`` or ``2 steps``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def log_event(event: SessionEvent) -> None:
    """Log a session event on one line; subscribe this to :class:`~.session_events.SessionEvents`."""
    info, error = partial(log.info, happened=event), partial(log.error, happened=event)
    match event:
        case Queued(client, environment, lack):
            info(
                "[session -] queued {client} for {environment}: {lack}",
                client=client,
                environment=_environment(environment),
                lack=lack,
            )
        case Refused(client, refusal):
            info("[session -] refused {client}: {reason}", client=client, reason=printable(str(refusal)))
        case Incomplete(client, problem):
            info(
                "[session -] no handshake of {client}: {problem}",
                client=client,
                problem=printable(problem),
            )
        case Started(session, process, place):
            info(
                "[session {session.number}] started: {environment} for {session.owner} ({session.spoken}, {process})",
                session=session,
                environment=_environment(session.environment),
                process=_process(process, place),
            )
        case Crashed(session, how, operation, timeout_reason):
            error(
                "[session {session.number}] crashed: its process {how} in {operation}{because}",
                session=session,
                how=how,
                operation=operation.name.lower(),
                because=f" ({timeout_reason})" if timeout_reason else "",
            )
        case MemoryExceeded(session, held, limit, of_worker):
            error(
                "[session {session.number}] its processes hold {held} MiB and may hold {limit}; {killed} killed",
                session=session,
                held=held >> 20,
                limit=limit >> 20,
                killed="all are" if of_worker else "those that the environment started are",
            )
        case Resumed(session, process, place):
            info(
                "[session {session.number}] resumed ({process})",
                session=session,
                process=_process(process, place),
            )
        case Disconnected(session, seconds):
            info(
                "[session {session.number}] lost its connection; it waits {seconds:g} s for {session.owner}",
                session=session,
                seconds=seconds,
            )
        case Reconnected(session, seconds):
            info(
                "[session {session.number}] has its client back after {seconds:.1f} s ({session.owner})",
                session=session,
                seconds=seconds,
            )
        case Ended(session, reason, steps, episodes, seconds, snapshots=snapshots):
            info(
                "[session {session.number}] ended: {reason}; {environment} for {session.owner}, {steps}, "
                "{episodes}, {snapshots}{rate:.0f} steps/s, {seconds:.1f} s",
                session=session,
                reason=printable(reason),
                environment=_environment(session.environment),
                steps=counted(steps, "step"),
                episodes=counted(episodes, "episode"),
                snapshots=f"{counted(snapshots, 'snapshot')}, " if snapshots else "",
                rate=steps / seconds if seconds else 0.0,
                seconds=seconds,
            )


def _environment(environment: str) -> str:
    return printable(environment) or "no environment"


def _process(process: int | None, place: str) -> str:
    if place:
        return f"on {place}"
    return "process not known" if process is None else f"process {process}"


class SessionLog:
    """Logs session events; subscribe it to :class:`~.session_events.SessionEvents`.

    The lines that clients of one address cause are limited. A session is logged from start to end or not at all, and
    what is left out is counted.

    Args:
        clock: Provides the time: an ``IReactorTime``.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._limits: dict[tuple[str, int], LineLimit] = {}
        self._full = LineLimit(clock, *_FULL, _log_refused)
        self._unlogged: set[int] = set()

    def __call__(self, event: SessionEvent) -> None:
        """Log an event, or count it."""
        if self._is_logged(event):
            log_event(event)

    def _is_logged(self, event: SessionEvent) -> bool:
        match event:
            case Refused(_, ServerFull()):
                return self._full.allows("connections")
            case Refused(client):
                return self._limit(client, *_OTHERS).allows("refusals")
            case Incomplete(client):
                return self._limit(client, *_OTHERS).allows("incomplete handshakes")
            case Queued(client):
                return self._limit(client, *_SESSIONS).allows("queued connections")
            case Started(session):
                if not self._limit(session.client, *_SESSIONS).allows("sessions", lines=2):  # one for the end
                    self._unlogged.add(session.number)
            case Ended(session) if session.number in self._unlogged:
                self._unlogged.remove(session.number)
                return False
            case Crashed() | Resumed() | MemoryExceeded() | Disconnected() | Reconnected():
                kind, session = _KINDS[type(event)], event.session
                return session.number not in self._unlogged and self._limit(session.client, *_SESSIONS).allows(kind)
        return event.session.number not in self._unlogged

    def _limit(self, client: str, burst: int, rate: float) -> LineLimit:
        address = network_of(client)
        if (address, burst) not in self._limits and len(self._limits) >= _MOST_LIMITS:
            self._limits = {key: limit for key, limit in self._limits.items() if not limit.is_idle}
            if len(self._limits) >= _MOST_LIMITS:
                address = "other addresses"
        if (address, burst) not in self._limits:
            self._limits[address, burst] = LineLimit(self._clock, burst, rate, partial(_log_left_out, address))
        return self._limits[address, burst]

    def flush(self) -> None:
        """Log the counts of what was left out now."""
        for limit in (self._full, *self._limits.values()):
            limit.flush()


def _log_left_out(address: str, left_out: Mapping[str, int]) -> None:
    log.info("[session -] more of {address}, not logged: {what}", address=address, what=listed(left_out))


def _log_refused(left_out: Mapping[str, int]) -> None:
    log.info("[session -] more refused because the server is full, not logged: {what}", what=listed(left_out))
