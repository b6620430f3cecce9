"""Admission: limits the sessions, queues the connections beyond that, and limits the connections without a session."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from gymtwist.errors import GymtwistError, NodeMissing, QuotaExceeded, ServerFull, ServerStopping
from gymtwist.server.identities import Identity

_STOPPING = "the server is shutting down; try again in a while"
_MINUTE = 60.0
#: How often the queue may pass over a connection that no node has room for, before a node is held for it.
MOST_PASSED = 16


class Waiter(Protocol):
    """A connection that asks for a session."""

    @property
    def identity(self) -> Identity:
        """Who the client is."""

    @property
    def environment(self) -> str:
        """The id of the environment that the client asks for; empty for none."""

    def queued(self) -> None:
        """Wait until another session ends."""

    def moved(self, place: int) -> None:
        """Note the place in the queue, which may be unchanged; 1 is the first."""

    def admitted(self) -> None:
        """Begin the session."""

    def refused(self, error: GymtwistError) -> None:
        """Close the connection: no session will begin."""


class Room(Protocol):
    """What other machines have room for."""

    def attend(self, room_changed: Callable[[], None], queued: Callable[[], Iterable[str]]) -> None:
        """Register callbacks.

        Args:
            room_changed: Called when there may be more room.
            queued: Returns the environments that the queue waits for.
        """

    def lack(self, environment: str) -> str:
        """Return why no session of an environment can begin now, as a clause; empty if one can."""

    def why_never(self, environment: str) -> str:
        """Return why no session of an environment can ever begin, as a clause; empty if one may."""

    def hold(self, environment: str | None) -> bool:
        """Hold room for one session of an environment until the next call; None releases it.

        Returns:
            Whether room is held, so that no other session takes it.
        """


class _Share:
    """What one identity uses of the server.

    Attributes:
        sessions: The number of its sessions.
        waiting: Its queued connections, oldest first, each with its arrival number.
        begun: When the sessions of the last minute were admitted or queued; kept only if their rate is limited.
    """

    def __init__(self) -> None:
        self.sessions = 0
        self.waiting: dict[Waiter, int] = {}
        self.begun: collections.deque[float] = collections.deque()

    def check(self, identity: Identity, now: float) -> None:
        """Check that the identity may have one more session.

        Raises:
            QuotaExceeded: It may not.
        """
        most = identity.max_sessions
        if most is not None and self.sessions + len(self.waiting) >= most:
            raise QuotaExceeded(
                f'"{identity.name}" may have {most} sessions at once (max-sessions), those in the queue among them: '
                f"end one first"
            )
        rate = identity.sessions_per_minute
        if rate is None:
            return
        while self.begun and now - self.begun[0] >= _MINUTE:
            self.begun.popleft()
        if len(self.begun) >= rate:
            wait = _MINUTE - (now - self.begun[0])
            raise QuotaExceeded(
                f'"{identity.name}" may begin {rate} sessions a minute (sessions-per-minute): try again in {wait:.0f} s'
            )

    def note(self, identity: Identity, now: float) -> None:
        """Count a session that the identity gets now or later towards its rate limit."""
        if identity.sessions_per_minute is not None:
            self.begun.append(now)


class Admission:
    """Counts the sessions, and queues connections until one ends.

    A free place goes to the identity with the fewest sessions; on a tie, to the connection that has waited longest. A
    connection that no node has room for lets others pass, but not forever: once it has been passed :data:`MOST_PASSED`
    times, a node is held for it. If the queue is full, a connection of an identity with few places there displaces the
    last connection of the identity with the most.

    Args:
        max_sessions: The maximum number of concurrent sessions.
        queue: The maximum number of waiting connections.
        clock: Returns a time in seconds.

    Attributes:
        room: What other machines have room for; None if sessions run on this one.
    """

    def __init__(self, max_sessions: int, queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.room: Room | None = None
        self._max_sessions = max_sessions
        self._queue = queue
        self._clock = clock
        self._shares: dict[str, _Share] = collections.defaultdict(_Share)
        self._sessions = 0
        self._elsewhere = 0
        self._arrivals = 0
        #: How often each queued connection was passed over, and the one for which a node is held.
        self._passed: collections.Counter[Waiter] = collections.Counter()
        self._held_for: Waiter | None = None
        self._stopping = False
        self._admitting = False

    def limit(self, max_sessions: int, queue: int) -> None:
        """Change the limits; sessions and connections over the new limits are kept.

        Args:
            max_sessions: The maximum number of concurrent sessions.
            queue: The maximum number of waiting connections.
        """
        self._max_sessions, self._queue = max_sessions, queue
        self.admit_waiting()

    def ask(self, room: Room) -> None:
        """Admit only sessions that other machines have room for."""
        self.room = room
        room.attend(self.admit_waiting, lambda: self.waiting_for)

    def note_elsewhere(self, sessions: int) -> None:
        """Count the sessions that earlier processes still run after an upgrade.

        Args:
            sessions: The total number of these sessions.
        """
        self._elsewhere = sessions
        self.admit_waiting()

    @property
    def _is_full(self) -> bool:
        return self._sessions + self._elsewhere >= self._max_sessions

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return self._sessions

    @property
    def queued(self) -> int:
        """The number of waiting connections."""
        return sum(len(each.waiting) for each in self._shares.values())

    @property
    def waiting_for(self) -> list[str]:
        """The environments that the queued connections ask for."""
        return [waiter.environment for share in self._shares.values() for waiter in share.waiting]

    def lack(self, environment: str) -> str:
        """Return why a session of an environment cannot begin now, as a clause; empty if it can."""
        if self._is_full:
            return f"{self._sessions + self._elsewhere} of {self._max_sessions} sessions run"
        return "" if self.room is None else self.room.lack(environment)

    @property
    def is_stopping(self) -> bool:
        """Whether no more sessions begin."""
        return self._stopping

    def enter(self, waiter: Waiter) -> None:
        """Admit, queue or refuse a connection, by calling its method ``admitted``, ``queued`` or ``refused``."""
        if self._stopping:
            waiter.refused(ServerStopping(_STOPPING))
            return
        share, now = self._shares[waiter.identity.name], self._clock()
        try:
            share.check(waiter.identity, now)
        except QuotaExceeded as error:
            waiter.refused(error)
            return
        if self.room is not None and (never := self.room.why_never(waiter.environment)):
            waiter.refused(NodeMissing(never))
            return
        if not self.lack(waiter.environment):
            share.note(waiter.identity, now)
            if self.room is not None:
                self._passed.update(each for other in self._shares.values() for each in other.waiting)
            self._admit(waiter)
            self._hold()
        elif self._makes_room(share):
            share.note(waiter.identity, now)
            self._arrivals += 1
            share.waiting[waiter] = self._arrivals
            waiter.queued()
            if len(share.waiting) == self.queued:
                waiter.moved(len(share.waiting))  # last in line: no need to sort
            else:
                self._tell_places()
            if self.room is not None:
                self.admit_waiting()  # the connection refused to make room may have had a node held
        else:
            waiter.refused(self._full(waiter))

    def _admit(self, waiter: Waiter) -> None:
        self._sessions += 1
        self._shares[waiter.identity.name].sessions += 1
        waiter.admitted()

    def _makes_room(self, share: _Share) -> bool:
        """Return whether an identity gets a place in the queue, which may mean refusing another connection."""
        if self.queued < self._queue:
            return True
        longest = max(self._shares.values(), key=lambda each: len(each.waiting))
        if len(share.waiting) + 1 >= len(longest.waiting):
            return False
        last, _ = longest.waiting.popitem()
        self._forget(last)
        last.refused(self._full(last))
        return True

    def _full(self, waiter: Waiter) -> ServerFull:
        taken = self.lack(waiter.environment)
        more = "a larger --max-sessions" if self._is_full else "more nodes"
        if self._queue:
            taken += f" and {self.queued} of {self._queue} places in the queue are taken"
        return ServerFull(f"the server is full: {taken}; try again later, or ask its operator for {more}")

    def leave_queue(self, waiter: Waiter) -> None:
        """Remove a connection from the queue, if it is there."""
        if self._shares[waiter.identity.name].waiting.pop(waiter, None) is not None:
            self._forget(waiter)
            self.admit_waiting()

    def _forget(self, waiter: Waiter) -> None:
        """Forget how often a connection that has left the queue was passed over."""
        del self._passed[waiter]
        self._hold()

    def _hold(self) -> None:
        """Hold a node for a connection that was passed over too often; keep to the same connection while it waits."""
        if self.room is None:
            return
        overdue = [each for each, passed in self._passed.items() if passed >= MOST_PASSED]
        overdue.sort(key=lambda each: each is not self._held_for)
        hold = self.room.hold
        self._held_for = next((each for each in overdue if hold(each.environment)), None)
        if self._held_for is None:
            hold(None)

    def _in_order(self) -> Iterator[Waiter]:
        """Yield the queued connections in the order in which they get places if no session ends in the meantime."""
        ranked = (
            (share.sessions + ahead, arrival, waiter)
            for share in self._shares.values()
            for ahead, (waiter, arrival) in enumerate(share.waiting.items())
        )
        for _, _, waiter in sorted(ranked, key=lambda each: each[:2]):
            yield waiter

    def _tell_places(self) -> None:
        """Tell each waiting connection its place; a connection ignores an unchanged place."""
        for place, waiter in enumerate(self._in_order(), 1):
            waiter.moved(place)

    def _next(self) -> Waiter | None:
        """Remove the connection that gets the next place from the queue and return it; None if there is none.

        Connections that no node has room for are passed over.
        """
        lacks: dict[str, str] = {}

        def fits(waiter: Waiter) -> bool:
            environment = waiter.environment
            if environment not in lacks:
                lacks[environment] = self.lack(environment)
            return not lacks[environment]

        waiter = self._held_for
        if waiter is None or not fits(waiter):
            firsts = (next(filter(fits, share.waiting), None) for share in self._shares.values())
            ranked = [
                (share.sessions, share.waiting[first], first)
                for first, share in zip(firsts, self._shares.values(), strict=True)
                if first is not None
            ]
            if not ranked:
                return None
            _, _, waiter = min(ranked, key=lambda each: each[:2])
        arrival = self._shares[waiter.identity.name].waiting.pop(waiter)
        if self.room is not None:
            queued = (each for share in self._shares.values() for each in share.waiting.items())
            self._passed.update(each for each, came in queued if came < arrival and not fits(each))
        self._forget(waiter)
        return waiter

    def session_ended(self, waiter: Waiter) -> None:
        """Give the place of an ended session to a waiting connection.

        Args:
            waiter: The connection that had the session.
        """
        self._sessions -= 1
        self._shares[waiter.identity.name].sessions -= 1
        self.admit_waiting()

    def admit_waiting(self) -> None:
        """Admit the waiting connections that there is room for."""
        if self._admitting:
            return  # a session that ended as soon as it began; the loop below, which began it, continues
        self._admitting = True
        self._hold()  # nodes may have come or gone
        try:
            while self.queued and not self._is_full and (following := self._next()) is not None:
                self._admit(following)
        finally:
            self._admitting = False
        self._tell_places()

    def stop(self) -> None:
        """Refuse all waiting and later connections."""
        self._stopping = True
        waiting = list(self._in_order())
        for share in self._shares.values():
            share.waiting.clear()
        for waiter in waiting:
            waiter.refused(ServerStopping(_STOPPING))


class Droppable(Protocol):
    """A connection without a session, as seen by :class:`ConnectionLimit`."""

    def drop(self) -> None:
        """Close the connection as soon as possible, unless it can have its session now."""


class ConnectionLimit:
    """Limits the connections that have no session, in total and per address; beyond the limit, the oldest is dropped.

    Args:
        total: The maximum number of connections.
        per_address: The maximum number of connections from one address.

    Attributes:
        total: The maximum number of connections.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self.total = total
        self._per_address = per_address
        # All three are in order of arrival, oldest first.
        self._addresses: dict[Droppable, str] = {}
        self._by_address: dict[str, dict[Droppable, None]] = {}
        self._crowded: dict[str, None] = {}
        self._dropping = False

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._addresses)

    def limit(self, total: int, per_address: int) -> None:
        """Change the limits; they apply when the next connection is added.

        Args:
            total: The maximum number of connections.
            per_address: The maximum number of connections from one address.
        """
        self.total, self._per_address = total, per_address
        self._crowded = {name: None for name, each in self._by_address.items() if len(each) > per_address}

    def add(self, connection: Droppable, address: str) -> None:
        """Count a connection, and drop the oldest if there are too many; one already counted keeps its age."""
        if connection in self._addresses:
            return
        self._addresses[connection] = address
        of_address = self._by_address.setdefault(address, {})
        of_address[connection] = None
        if len(of_address) > self._per_address:
            self._crowded[address] = None
        if self._dropping:
            return  # dropping one may add it again; the loop below continues
        self._dropping = True
        try:
            while (oldest := self._oldest_excess()) is not None:
                self.remove(oldest)
                oldest.drop()
        finally:
            self._dropping = False

    def _oldest_excess(self) -> Droppable | None:
        for address in self._crowded:
            return next(iter(self._by_address[address]))
        return next(iter(self._addresses)) if len(self._addresses) > self.total else None

    def remove(self, connection: Droppable) -> None:
        """Stop counting a connection, if it is counted: it has a session, waits for one, or is closed."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        of_address = self._by_address[address]
        del of_address[connection]
        if len(of_address) <= self._per_address:
            self._crowded.pop(address, None)
        if not of_address:
            del self._by_address[address]
