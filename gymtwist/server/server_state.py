"""What there is to know about the server: counted from events, and read from the sessions when somebody asks.

Sessions pay nothing for it: their processes keep a few words of memory anyway, and the server reads them when it is
asked. What is told more often than once in :data:`_INTERVAL` is told from the same reading.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from gymtwist.error_texts import printable
from gymtwist.server.session_events import (
    Crashed,
    Disconnected,
    Ended,
    Incomplete,
    MemoryExceeded,
    Reconnected,
    Refused,
    Resumed,
    SessionEvent,
    SessionInfo,
)
from gymtwist.worker.session_status import KEPT_EPISODES, STEP_TIME_BOUNDS, Episode

#: Seconds for which what was read of a session is used again.
_INTERVAL = 0.5
#: Seconds over which a rate is measured at least.
_RATE_INTERVAL = 1.0
#: How many errors are kept, and how many characters of each.
_KEPT_ERRORS, _MESSAGE_LENGTH = 100, 1000
#: How many sessions that have ended are kept.
_KEPT_PAGES = 50
#: How many environments are counted apart; those after them are counted together.
_MOST_ENVIRONMENTS = 200
OTHER = "other"
#: Upper bounds of times to the first observation, in seconds.
FIRST_OBSERVATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: How a session has ended, by words of the reason.
_OUTCOMES = {
    "the client left": "left",
    "the client vanished": "vanished",
    "the client broke the protocol": "protocol-error",
    "idle for more than": "idle",
    "took more than": "timeout",
    "the server is shutting down": "stopped",
    "an operator ended it": "stopped",
    "the client did not come back": "vanished",
    "sessions without a connection": "vanished",
}


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session that runs.

    Attributes:
        number: The session's number.
        environment: The environment id that the client asked for; empty if none.
        client: The client's address.
        identity: The name of the client's identity; empty if the server has none.
        protocol: The client's protocol.
        process: The id of its process; None if it is not known.
        node: The node that it is on; empty for this machine.
        state: ``starting``, ``waiting`` (for the client), ``disconnected`` (waiting for the client to come back),
            ``ended``, or what the environment is doing, as ``step``.
        age: Seconds since it began.
        steps: How many steps were taken.
        steps_per_second: How many were taken per second, lately.
        episodes: How many episodes have ended.
        last_return: The return of the last of them; None if there is none.
        memory: Bytes that its process holds.
        processor_time: Seconds of processor time that its process had.
        bytes_sent: Bytes that the client got through its TCP connection.
        bytes_received: Bytes that it sent there.
        snapshots: How many snapshots it holds.
        snapshot_memory: Bytes that these have and no other process shares, as they were measured last.
    """

    number: int
    environment: str
    client: str
    identity: str
    protocol: str
    process: int | None
    state: str
    age: float
    steps: int
    steps_per_second: float
    episodes: int
    last_return: float | None
    memory: int
    processor_time: float
    bytes_sent: int
    bytes_received: int
    node: str = ""
    snapshots: int
    snapshot_memory: int


class EpisodeRow(msgspec.Struct, frozen=True):
    """An episode of a session that has ended.

    Attributes:
        number: 1 is the session's first.
        total: The sum of its rewards.
        steps: How many steps it had.
        age: Seconds since it ended.
    """

    number: int
    total: float = msgspec.field(name="return")
    steps: int = 0
    age: float = 0.0


class SessionPage(SessionRow, frozen=True, kw_only=True):
    """A session that runs, or one of the last that have ended.

    Attributes:
        last_episodes: Its last episodes, oldest first.
        output: The last lines that it has printed, oldest first.
        ended: Why it has ended; empty while it runs.
    """

    last_episodes: list[EpisodeRow]
    output: list[str]
    ended: str = ""


class ErrorRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong.

    Attributes:
        time: When, in seconds since 1970.
        kind: ``refused``, ``incomplete``, ``crashed`` or ``memory-exceeded``.
        session: The number of the session; None if there was none.
        client: The client's address.
        identity: The name of the session's identity; empty if there was no session, or the server has none.
        environment: The environment id that the client asked for; empty if none is known.
        message: What went wrong.
    """

    time: float
    kind: str
    session: int | None
    client: str
    identity: str
    environment: str
    message: str


class Histogram:
    """Counts of durations, up to bounds.

    Args:
        bounds: The upper bounds in seconds, in their order.

    Attributes:
        bounds: The same.
        counts: How many were up to each bound and above the one before; the last count is of those above all.
        total: The sum of all durations.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[sum(bound < seconds for bound in self.bounds)] += 1
        self.total += seconds

    def merge(self, counts: list[int], total: float) -> None:
        """Count what was counted elsewhere."""
        self.counts = [own + more for own, more in zip(self.counts, counts, strict=True)]
        self.total += total

    def copy(self) -> Histogram:
        """Return a copy."""
        copied = Histogram(self.bounds)
        copied.merge(self.counts, self.total)
        return copied


class Totals:
    """What sessions have done together.

    Attributes:
        steps: Steps, by environment.
        episodes: Episodes, by environment.
        bytes_sent: Bytes that clients got through TCP.
        bytes_received: Bytes that clients sent there.
        processor_time: Seconds of processor time that their processes had.
        step_times: Durations of the steps that were timed.
    """

    def __init__(self) -> None:
        self.steps: collections.Counter[str] = collections.Counter()
        self.episodes: collections.Counter[str] = collections.Counter()
        self.bytes_sent = self.bytes_received = 0
        self.processor_time = 0.0
        self.step_times = Histogram(STEP_TIME_BOUNDS)

    def add(self, label: str, row: SessionRow, step_times: tuple[list[int], float]) -> None:
        """Add what one session has done."""
        self.steps[label] += row.steps
        self.episodes[label] += row.episodes
        self.bytes_sent += row.bytes_sent
        self.bytes_received += row.bytes_received
        self.processor_time += row.processor_time
        self.step_times.merge(*step_times)

    def copy(self) -> Totals:
        """Return a copy."""
        copied = Totals()
        copied.steps, copied.episodes = self.steps.copy(), self.episodes.copy()
        copied.bytes_sent, copied.bytes_received = self.bytes_sent, self.bytes_received
        copied.processor_time, copied.step_times = self.processor_time, self.step_times.copy()
        return copied


class _Reading:
    """What was read of one session, and the count of steps from which its rate is measured."""

    def __init__(self, began: float) -> None:
        self.row: SessionRow | None = None
        self.read_at = 0.0
        self.earlier = self.latest = (began, 0)
        self.has_observed = False

    def rate(self, now: float, steps: int) -> float:
        """Return the steps per second of at least the last :data:`_RATE_INTERVAL`."""
        if now - self.latest[0] >= _RATE_INTERVAL:
            self.earlier, self.latest = self.latest, (now, steps)
        since, before = self.earlier
        return max(0.0, (steps - before) / (now - since)) if now > since else 0.0


class ServerState:
    """Counts what happens, and reads the sessions; subscribe it to :class:`~.session_events.SessionEvents`.

    Args:
        sessions: The sessions that run, by their numbers.

    Attributes:
        errors: The last errors, oldest first.
        refusals: How many clients were refused, by the code of the error.
        ended: How many sessions have ended, by environment, protocol and outcome.
        crashes: How many processes have crashed in the middle of a session.
        resumptions: How many sessions another process has resumed.
        disconnections: How many times sessions have lost their connection and waited for their client.
        reconnections: How many times a client has come back to its session.
        excesses: How many times processes were killed because a session held too much memory.
        first_observations: The times from the beginning of sessions to their first observations.
        started_at: When the server started, by ``time.monotonic``.
    """

    def __init__(self, sessions: Mapping[int, Any]) -> None:
        self._sessions = sessions
        self._readings: dict[int, _Reading] = {}
        self._labels: set[str] = set()
        self._crashed: set[int] = set()
        self._past = Totals()
        self._ended_pages: dict[int, SessionPage] = {}
        self.errors: collections.deque[ErrorRow] = collections.deque(maxlen=_KEPT_ERRORS)
        self.refusals: collections.Counter[str] = collections.Counter()
        self.ended: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self.crashes = self.resumptions = self.excesses = self.disconnections = self.reconnections = 0
        self.first_observations = Histogram(FIRST_OBSERVATION_BOUNDS)
        self.started_at = time.monotonic()

    # Events

    def __call__(self, event: SessionEvent) -> None:
        """Count an event."""
        match event:
            case Refused(client, error):
                self.refusals[error.code] += 1
                self._note("refused", client, str(error))
            case Incomplete(client, problem):
                self._note("incomplete", client, problem)
            case Crashed(session, how, operation, reason):
                self.crashes += 1
                self._crashed.add(session.number)
                why = f" ({reason})" if reason else ""
                self._note("crashed", session, f"its process {how} in {operation.name.lower()}{why}")
            case MemoryExceeded(session, held, limit):
                self.excesses += 1
                problem = f"its processes hold {held >> 20} MiB and may hold {limit >> 20}"
                self._note("memory-exceeded", session, problem)
            case Disconnected():
                self.disconnections += 1
            case Reconnected():
                self.reconnections += 1
            case Resumed(session):
                self.resumptions += 1
                self._crashed.discard(session.number)
            case Ended():
                self._count_ended(event)

    def _note(self, kind: str, source: SessionInfo | str, message: str) -> None:
        session = source if isinstance(source, SessionInfo) else None
        self.errors.append(
            ErrorRow(
                time=time.time(),
                kind=kind,
                session=None if session is None else session.number,
                client=source.client if isinstance(source, SessionInfo) else source,
                identity="" if session is None else session.identity,
                environment="" if session is None else printable(session.environment),
                message=printable(message[:_MESSAGE_LENGTH]),
            )
        )

    def _count_ended(self, event: Ended) -> None:
        info, reason = event.session, event.reason
        session = self._sessions[info.number]
        label = self.label(session)
        # Its process may have ended by now; the event knows what it had.
        row = msgspec.structs.replace(
            self._read(session, time.monotonic(), anew=True), processor_time=event.processor_time
        )
        self._past.add(label, row, session.status.step_times())
        page = self.page(info.number)
        if page is not None:
            self._ended_pages[info.number] = msgspec.structs.replace(page, state="ended", ended=printable(reason))
            if len(self._ended_pages) > _KEPT_PAGES:
                del self._ended_pages[next(iter(self._ended_pages))]
        crashed = info.number in self._crashed
        outcome = next((each for words, each in _OUTCOMES.items() if words in reason), "failed")
        self.ended[label, info.spoken, "crashed" if crashed else outcome] += 1
        self._crashed.discard(info.number)
        del self._readings[info.number]

    # Readings

    def label(self, session: Any) -> str:
        """Return the environment of a session as metrics name it: there is a bound to how many they name."""
        environment: str = session.info.environment
        if environment in self._labels:
            return environment
        # Only what could be made is a name, and not anything that a client has sent.
        if environment and session.status.first_observation and len(self._labels) < _MOST_ENVIRONMENTS:
            self._labels.add(environment)
            return environment
        return OTHER

    def rows(self) -> list[SessionRow]:
        """Return the sessions that run."""
        now = time.monotonic()
        return [self._read(session, now) for session in self._sessions.values()]

    def totals(self) -> Totals:
        """Return what all sessions have done that have ended or run."""
        totals = self._past.copy()
        for session in self._sessions.values():
            totals.add(self.label(session), self._read(session, time.monotonic()), session.status.step_times())
        return totals

    def page(self, number: int) -> SessionPage | None:
        """Return all that is known of a session that runs, or of one of the last that did; None for any other."""
        session = self._sessions.get(number)
        if session is None:
            return self._ended_pages.get(number)
        now = time.monotonic()
        episodes: list[Episode] = session.status.last_episodes(KEPT_EPISODES)
        rows = [EpisodeRow(each.number, each.total, each.steps, max(0.0, now - each.ended)) for each in episodes]
        known = msgspec.structs.asdict(self._read(session, now))
        return SessionPage(**known, last_episodes=rows, output=list(session.output))

    def _read(self, session: Any, now: float, *, anew: bool = False) -> SessionRow:
        """Read a session.

        Args:
            session: The session.
            now: The time.
            anew: Whether to read it even if it was read a moment ago.
        """
        number = session.info.number
        reading = self._readings.get(number)
        if reading is None:
            reading = self._readings[number] = _Reading(session.started_at)
        if reading.row is not None and now - reading.read_at < _INTERVAL and not anew:
            return reading.row
        status, info = session.status, session.info
        if not reading.has_observed and status.first_observation is not None:
            reading.has_observed = True
            self.first_observations.add(max(0.0, status.first_observation - session.started_at))
        steps = status.steps
        last = status.last_episodes(1)
        memory, processor_time = session.used()
        sent, received = session.bytes_exchanged
        before = reading.row
        reading.read_at = now
        reading.row = SessionRow(
            number=number,
            environment=printable(info.environment),
            client=info.client,
            identity=info.identity,
            protocol=info.spoken,
            process=session.process,
            node=session.place,
            state="disconnected" if session.disconnected_at is not None else _state(status),
            age=now - session.started_at,
            steps=steps,
            steps_per_second=reading.rate(now, steps),
            episodes=status.episodes,
            last_return=last[0].total if last else None,
            memory=memory,
            # A process that has ended, or another one that has resumed the session, tells less.
            processor_time=processor_time if before is None else max(processor_time, before.processor_time),
            bytes_sent=sent if before is None else max(sent, before.bytes_sent),
            bytes_received=received if before is None else max(received, before.bytes_received),
            snapshots=status.snapshots,
            snapshot_memory=status.snapshot_bytes,
        )
        return reading.row


def _state(status: Any) -> str:
    if status.untouched:
        return "starting"
    return "waiting" if status.busy_since is None else str(status.operation.name.lower())
