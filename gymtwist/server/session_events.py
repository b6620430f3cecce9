"""Events of sessions, and of the connections that ask for one; the log and the metrics subscribe to them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gymtwist.errors import GymtwistError
from gymtwist.protocol.handshake import ProtocolName
from gymtwist.worker.session_status import Operation


class SessionInfo(msgspec.Struct, frozen=True):
    """A session, as its events describe it.

    Attributes:
        number: The session's number; 1 is the first.
        client: The client's address.
        environment: The environment id that the client asked for; empty if none.
        protocol: The client's protocol.
        identity: The name of the client's identity; empty if the server has none.
        interface: The interface that the client uses, if the server plays the session for it; otherwise empty.
        records: Whether the client has asked to record its episodes.
    """

    number: int
    client: str
    environment: str
    protocol: ProtocolName
    identity: str = ""
    interface: str = ""
    records: bool = False

    @property
    def spoken(self) -> str:
        """The name of the interface or protocol that the client uses."""
        return self.interface or self.protocol.value

    @property
    def owner(self) -> str:
        """The client's address, and its identity if it has one."""
        return f"{self.client} as {self.identity}" if self.identity else self.client


class Queued(msgspec.Struct, frozen=True):
    """A connection waits for a session to end.

    Attributes:
        client: The client's address.
        environment: The environment id that the client asks for; empty if none.
        lack: What is lacking for the session to begin, as a clause.
    """

    client: str
    environment: str
    lack: str


class Refused(msgspec.Struct, frozen=True):
    """A client was refused a session, or its handshake was refused."""

    client: str
    error: GymtwistError


class Incomplete(msgspec.Struct, frozen=True):
    """A connection has ended before its handshake was complete.

    Attributes:
        client: The client's address.
        problem: What was wrong, or how much was received.
    """

    client: str
    problem: str


class Started(msgspec.Struct, frozen=True):
    """A worker serves a session.

    Attributes:
        session: The session.
        process: The worker's process id; None if there is no process, or its id is not known.
        place: The node that the worker is on; empty for this machine.
    """

    session: SessionInfo
    process: int | None
    place: str = ""


class Crashed(msgspec.Struct, frozen=True):
    """A session's worker has ended without finishing the session.

    Attributes:
        session: The session.
        how: How the process ended, as a clause: ``was killed by SIGSEGV``.
        operation: What it was doing.
        timeout_reason: The timeout for which the server killed it; empty if it did not.
    """

    session: SessionInfo
    how: str
    operation: Operation
    timeout_reason: str


class MemoryExceeded(msgspec.Struct, frozen=True):
    """The processes of a session exceeded its memory limit, and some were killed.

    Attributes:
        session: The session.
        held: Bytes that they held together.
        limit: The limit, in bytes.
        of_worker: Whether the worker exceeded the limit alone, and was killed as well.
    """

    session: SessionInfo
    held: int
    limit: int
    of_worker: bool


class Resumed(msgspec.Struct, frozen=True):
    """Another worker serves a session whose worker has crashed; see :class:`Started`."""

    session: SessionInfo
    process: int | None
    place: str = ""


class Disconnected(msgspec.Struct, frozen=True):
    """A session has lost its connection, and waits for its client.

    Attributes:
        session: The session.
        seconds: How long it waits, in seconds.
    """

    session: SessionInfo
    seconds: float


class Reconnected(msgspec.Struct, frozen=True):
    """The client of a session has come back, perhaps from another address.

    Attributes:
        session: The session.
        seconds: How long the session had no connection; 0.0 if the server had not yet noticed that the last one was
            lost.
    """

    session: SessionInfo
    seconds: float


class Ended(msgspec.Struct, frozen=True):
    """A session has ended.

    Attributes:
        session: The session.
        reason: Why.
        steps: The number of steps taken.
        episodes: The number of completed episodes.
        seconds: The duration of the session.
        processor_time: Processor time used by its process and by the processes that it started and that have ended, in
            seconds.
        bytes_sent: Bytes that the client has received over TCP.
        bytes_received: Bytes that the client has sent over TCP.
        snapshots: The number of snapshots taken.
    """

    session: SessionInfo
    reason: str
    steps: int
    episodes: int
    seconds: float
    processor_time: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    snapshots: int = 0


SessionEvent = (
    Queued | Refused | Incomplete | Started | MemoryExceeded | Crashed | Resumed | Disconnected | Reconnected | Ended
)
Subscriber = Callable[[SessionEvent], None]


class SessionEvents:
    """Passes each event to all subscribers, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call a function with every event from now on; it must not raise."""
        self._subscribers.append(subscriber)

    def publish(self, event: SessionEvent) -> None:
        """Pass an event to every subscriber."""
        for subscriber in self._subscribers:
            subscriber(event)
