"""What is known about the server: counted from events, and read from the sessions on request.

This costs sessions nothing: their processes keep a few words of memory anyway, and the server reads them when asked.
Requests within :data:`_INTERVAL` share the same reading.
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

#: Seconds for which a reading of a session is reused.
_INTERVAL = 0.5
#: The shortest time over which a rate is measured, in seconds.
_RATE_INTERVAL = 1.0
#: How many errors are kept, and how many characters of each.
_KEPT_ERRORS, _MESSAGE_LENGTH = 100, 1000
#: How many ended sessions are kept.
_KEPT_PAGES = 50
#: How many environments are counted separately; the others are counted together.
_MOST_ENVIRONMENTS = 200
OTHER = "other"
#: Upper bounds of the histogram of times to the first observation, in seconds.
FIRST_OBSERVATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Maps a phrase in the end reason to the outcome of the session.
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
    """A running session.

    Attributes:
        number: The session's number.
        environment: The environment id that the client asked for; empty if none.
        client: The client's address.
        identity: The name of the client's identity; empty if the server has none.
        protocol: The client's protocol.
        process: The id of its process; None if it is not known.
        node: The node that it is on; empty for this machine.
        state: ``starting``, ``waiting`` (for the client), ``disconnected`` (waiting for the client to come back),
            ``ended``, or what the environment is doing, such as ``step``.
        age: Seconds since it began.
        steps: The number of steps taken.
        steps_per_second: The recent step rate.
        episodes: The number of ended episodes.
        last_return: The return of the last ended episode; None if there is none.
        memory: Bytes held by its process.
        processor_time: Processor time used by its process, in seconds.
        bytes_sent: Bytes that the client has received over TCP.
        bytes_received: Bytes that the client has sent over TCP.
        snapshots: The number of snapshots that it holds.
        snapshot_memory: Bytes held by its snapshots and shared with no other process, when last measured.
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
    """An ended episode of a session.

    Attributes:
        number: Its number; 1 is the session's first episode.
        total: The sum of its rewards.
        steps: The number of its steps.
        age: Seconds since it ended.
    """

    number: int
    total: float = msgspec.field(name="return")
    steps: int = 0
    age: float = 0.0


class SessionPage(SessionRow, frozen=True, kw_only=True):
    """A running session, or one of the last that have ended.

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
        time: When, in seconds since the Unix epoch.
        kind: ``refused``, ``incomplete``, ``crashed`` or ``memory-exceeded``.
        session: The number of the session; None if there was none.
        client: The client's address.
        identity: The name of the session's identity; empty if there was no session, or the server has none.
        environment: The environment id that the client asked for; empty if unknown.
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
    """A histogram of durations.

    Args:
        bounds: The upper bounds, in seconds and ascending.

    Attributes:
        bounds: The upper bounds.
        counts: The number of durations in each bucket: above the previous bound, and at most the bucket's own; the last
            bucket is for durations above all bounds.
        total: The sum of all durations, in seconds.
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
        """Add the counts and the total of another histogram."""
        self.counts = [own + more for own, more in zip(self.counts, counts, strict=True)]
        self.total += total

    def copy(self) -> Histogram:
        """Return a copy."""
        copied = Histogram(self.bounds)
        copied.merge(self.counts, self.total)
        return copied


class Totals:
    """What sessions have done in total.

    Attributes:
        steps: The number of steps, by environment.
        episodes: The number of episodes, by environment.
        bytes_sent: Bytes that clients have received over TCP.
        bytes_received: Bytes that clients have sent over TCP.
        processor_time: Processor time used by the sessions' processes, in seconds.
        step_times: The durations of the steps that were timed.
    """

    def __init__(self) -> None:
        self.steps: collections.Counter[str] = collections.Counter()
        self.episodes: collections.Counter[str] = collections.Counter()
        self.bytes_sent = self.bytes_received = 0
        self.processor_time = 0.0
        self.step_times = Histogram(STEP_TIME_BOUNDS)

    def add(self, label: str, row: SessionRow, step_times: tuple[list[int], float]) -> None:
        """Add one session's numbers."""
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
    """The last reading of a session, and the step counts from which its rate is calculated."""

    def __init__(self, began: float) -> None:
        self.row: SessionRow | None = None
        self.read_at = 0.0
        self.earlier = self.latest = (began, 0)
        self.has_observed = False

    def rate(self, now: float, steps: int) -> float:
        """Return the steps per second over at least the last :data:`_RATE_INTERVAL`."""
        if now - self.latest[0] >= _RATE_INTERVAL:
            self.earlier, self.latest = self.latest, (now, steps)
        since, before = self.earlier
        return max(0.0, (steps - before) / (now - since)) if now > since else 0.0


class ServerState:
    """Counts events, and reads the sessions; subscribe it to :class:`~.session_events.SessionEvents`.

    Args:
        sessions: The running sessions by number.

    Attributes:
        errors: The last errors, oldest first.
        refusals: The number of refused clients, by error code.
        ended: The number of ended sessions, by environment, protocol and outcome.
        crashes: The number of processes that have crashed during a session.
        resumptions: The number of times that another process has resumed a session.
        disconnections: The number of times that a session has lost its connection and waited for its client.
        reconnections: The number of times that a client has come back to its session.
        excesses: The number of times that processes were killed because a session held too much memory.
        first_observations: The times from the start of a session to its first observation.
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
        # Its process may have ended already; the event has its processor time.
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
        """Return the label of a session's environment for metrics; the number of labels is limited."""
        environment: str = session.info.environment
        if environment in self._labels:
            return environment
        # Only what could be made becomes a label, not anything that a client sends.
        if environment and session.status.first_observation and len(self._labels) < _MOST_ENVIRONMENTS:
            self._labels.add(environment)
            return environment
        return OTHER

    def rows(self) -> list[SessionRow]:
        """Return the running sessions."""
        now = time.monotonic()
        return [self._read(session, now) for session in self._sessions.values()]

    def totals(self) -> Totals:
        """Return the totals of all running and ended sessions."""
        totals = self._past.copy()
        for session in self._sessions.values():
            totals.add(self.label(session), self._read(session, time.monotonic()), session.status.step_times())
        return totals

    def page(self, number: int) -> SessionPage | None:
        """Return all that is known about a running or recently ended session; None for any other."""
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
            now: The current time, by ``time.monotonic``.
            anew: Whether to read it even if the last reading is recent.
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
            # A process that has ended reports less, as does a new process after a resumption.
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
