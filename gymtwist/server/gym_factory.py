"""The factory of client connections, and what connections share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from gymtwist.errors import ServerFull, SnapshotRefused, UnknownSession, UnknownSnapshot
from gymtwist.protocol.handshake import Handshake
from gymtwist.protocol.snapshot_tickets import is_of_state, session_of
from gymtwist.recordings.dataset_names import DATASETS
from gymtwist.server.admission import Admission, ConnectionLimit
from gymtwist.server.client_address import name_of
from gymtwist.server.disconnected_session import DisconnectedSessions
from gymtwist.server.handshake_reader import Http
from gymtwist.server.identities import Identities, Identity
from gymtwist.server.reconnection import Reconnection
from gymtwist.server.scratch_directories import ScratchDirectories
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.server_session import NO_SUCH_TICKET, Session, Terms
from gymtwist.server.server_state import ServerState
from gymtwist.server.session_events import Refused, SessionEvents, SessionInfo
from gymtwist.server.takeover import Predecessors
from gymtwist.server.token_delays import TokenDelays
from gymtwist.server.watchdog import Watchdog
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.worker.access_policy import AllowList, is_among

#: Seconds between measurements of a session's memory and processor time, if those are limited.
_MEASURE_INTERVAL = 0.5
#: After an upgrade, session numbers continue in a new block; the old process keeps some spare numbers.
_SESSION_BLOCK, _SPARE_NUMBERS = 1000, 100
#: Why a connection without a session is dropped.
TOO_MANY_CONNECTIONS = (
    "the server is full: too many connections have sent no handshake; send it as soon as you connect, or try again "
    "later"
)


def _watchdog(options: ServerOptions, identities: Identities) -> Watchdog:
    return Watchdog(
        idle=options.idle_timeout,
        step=options.step_timeout,
        request=options.request_timeout,
        leave=options.leave_timeout,
        keepalive=options.keepalive,
        measure=_MEASURE_INTERVAL if options.memory_limit or identities.are_measured else 0.0,
    )


@implementer(IProtocolNegotiationFactory)
class PortFactory(Factory):
    """Builds the protocols of a port; with TLS, clients may negotiate HTTP/1.1 by ALPN, as browsers do."""

    noisy = False

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols that ALPN may choose; called by Twisted."""
        return [b"http/1.1"]


class HttpPortFactory(PortFactory):
    """Builds the protocol of each connection to a port that speaks only HTTP and WebSocket.

    Args:
        factory: The factory of all connections.
    """

    def __init__(self, factory: GymFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: Any) -> Any:
        """Return the protocol of a new connection; called by Twisted."""
        connection = self._factory.buildProtocol(addr)
        if connection is not None:
            connection.reader.http = Http.ONLY
        return connection


class GymFactory(PortFactory):
    """Builds the protocol of each connection, and holds what connections share.

    Args:
        build: Builds the protocol of a connection.
        reactor: The reactor.
        options: The options of the server.
        pool: The workers.
        in_thread: Calls a function in the thread that measures memory; returns a Deferred that fires with the result.
        fresh_pool: The workers for environments that must not run in a forked process; None for the same as ``pool``.
        identities: Who may connect; None for everybody.

    Attributes:
        reactor: The reactor.
        options: The options of the server.
        pool: The workers.
        identities: Who may connect.
        token_delays: How long to wait before a token is refused.
        admission: Limits the number of sessions.
        limit: Limits the connections that have no session.
        request_limit: Limits the connections whose HTTP request is being answered.
        watchdog: The time limits of sessions.
        events: Where to subscribe to the events of sessions.
        connections: All connections that are not closed yet.
        when_applied: Called after the options and identities have changed.
        site: Answers HTTP: a Twisted factory, set by the service.
        sessions: The running sessions by number.
        disconnected: The sessions among them that have lost their connection and wait for their client.
        state: What is known about the server.
        in_thread: Calls a function in the thread that measures memory; returns a Deferred that fires with the result.
        predecessors: The earlier processes, which keep their sessions after an upgrade.
        successor: The id of the process that has the ports after an upgrade; None before one.
        datasets: The root directory of recorded datasets.
        scratch: The working directories of sessions; None if sessions use the workers' own working directory.
    """

    def __init__(
        self,
        build: Callable[[GymFactory], Any],
        reactor: Any,
        options: ServerOptions,
        pool: WorkerPool,
        in_thread: Callable[..., defer.Deferred[Any]],
        fresh_pool: WorkerPool | None = None,
        identities: Identities | None = None,
    ) -> None:
        self._build = build
        self.reactor = reactor
        self.options = options
        self.pool = pool
        self._fresh_pool = fresh_pool or pool
        self.in_thread = in_thread
        self.identities = identities or Identities()
        self.token_delays = TokenDelays(reactor.seconds)
        self.admission = Admission(options.max_sessions, options.queue, reactor.seconds)
        self.limit = ConnectionLimit(options.max_handshakes, options.max_handshakes_per_address)
        self.request_limit = ConnectionLimit(options.max_handshakes, options.max_handshakes_per_address)
        self.watchdog = _watchdog(options, self.identities)
        self.events = SessionEvents()
        self.connections: set[Any] = set()
        self.sessions: dict[int, Session] = {}
        self.disconnected = DisconnectedSessions(options.max_disconnected)
        self.state = ServerState(self.sessions)
        self.events.subscribe(self.state)
        self.predecessors = Predecessors(reactor, None)
        self.successor: int | None = None
        self.scratch: ScratchDirectories | None = None
        self.datasets = Path(options.monitor_root or os.curdir, DATASETS)
        self.site: Any = None
        self.when_applied: list[Callable[[], None]] = []
        #: The worker settings that have changed since the workers were started.
        self._settings: dict[str, Any] = {}
        self._next_session = 1
        self._all_closed: defer.Deferred[None] | None = None

    def apply(self, options: ServerOptions, identities: Identities) -> None:
        """Apply other options and identities to what begins from now on.

        Args:
            options: The options; those for ports, workers and the log have no effect.
            identities: Who may connect.
        """
        self.options, self.identities = options, identities
        started, wanted = self.pool.starter.settings, options.changeable_settings()
        self._settings = {name: value for name, value in wanted.items() if value != getattr(started, name)}
        self.watchdog = _watchdog(options, self.identities)
        self.admission.limit(options.max_sessions, options.queue)
        self.disconnected.most = options.max_disconnected
        for limit in (self.limit, self.request_limit):
            limit.limit(options.max_handshakes, options.max_handshakes_per_address)
        for react in self.when_applied:
            react()

    def buildProtocol(self, addr: Any) -> Any:
        """Return the protocol of a new connection; None to close it at once, if too many connections are still open."""
        # Twisted accepts many connections before it closes the ones dropped to make room.
        if len(self.connections) < self.options.max_sessions + self.options.queue + 2 * self.limit.total:
            return self._build(self)
        self.events.publish(Refused(name_of(addr), ServerFull(TOO_MANY_CONNECTIONS)))
        return None

    def allow_list_of(self, identity: Identity) -> AllowList:
        """Return the environments that an identity may use."""
        return AllowList(self.options.allow if identity.allow is None else identity.allow)

    def new_session(
        self, handshake: Handshake, client: str, identity: Identity, interface: str, terms: Terms | None = None
    ) -> Session:
        """Return a new session, not yet assigned to a worker.

        Args:
            handshake: The client's first message.
            client: The client's address.
            identity: Who the client is.
            interface: The interface that the client uses, if the server itself plays the session for it; otherwise
                empty.
            terms: The terms of this session; None for those that follow from the identity.

        Raises:
            OSError: There are no descriptors left, or there is no memory.
        """
        number, environment = self._next_session, handshake.environment
        self._next_session += 1
        info = SessionInfo(number, client, environment, handshake.protocol, identity.name, interface, handshake.records)
        pool = self._fresh_pool if is_among(self.options.spawn, handshake.environment) else self.pool
        in_thread = self.in_thread
        # A session that a node serves ends with its connection.
        may_outlive = terms is None and pool.is_watching
        if terms is None:
            settings = self._settings | identity.overrides
            terms = Terms(identity.name, identity.session_seconds, identity.processor_seconds, settings)
        session = Session(info, handshake, pool, self.events, self.scratch, in_thread, self.sessions, terms)
        most = self.options.resume_timeout if identity.resume_timeout is None else identity.resume_timeout
        seconds = min(handshake.resume_seconds or 0.0, most)
        if may_outlive and seconds:
            session.outlive_connection(Reconnection(number, seconds, self.reactor))
        return session

    def session_of(self, handshake: Handshake, identity: Identity) -> Session:
        """Return the session that a client wants to resume.

        Raises:
            UnknownSession: The client cannot have it, or there is none.
        """
        assert handshake.resume is not None
        secret = handshake.resume.secret
        number = secret.partition(".")[0]
        session = self.sessions.get(int(number)) if number.isascii() and number.isdecimal() else None
        if session is None or not session.may_reconnect(secret, identity.name, handshake.protocol):
            raise UnknownSession(
                "no session waits for you: it has ended, the server was restarted or "
                "upgraded, or it is another identity's or in another protocol; make a new environment"
            )
        return session

    def origin_of(self, ticket: str, identity: Identity) -> Session:
        """Return the session whose snapshot has a ticket.

        Args:
            ticket: The ticket.
            identity: Who uses it.

        Raises:
            UnknownSnapshot: This identity has no such ticket.
            SnapshotRefused: No session can branch off from it.
        """
        origin = self.sessions.get(session_of(ticket))
        if origin is None or origin.info.identity != identity.name:
            raise UnknownSnapshot(NO_SUCH_TICKET)
        if is_of_state(ticket):
            raise SnapshotRefused(
                f'branch "{ticket}": the snapshot is a state in the memory of the environment\'s process, and no copy '
                "of that process, so no other can go on from it; restore it in its session, or make another "
                "environment and replay the actions after a reset with the same seed"
            )
        return origin

    def worker_processes(self) -> set[int]:
        """Return the ids of the processes below which environments' code may run."""
        found = {session.process for session in self.sessions.values()} | {self.pool.starter.process}
        # Anything below another server process is one of its sessions: no server process uses a control socket itself.
        found |= {each.process for each in self.predecessors.links} | {self.successor}
        return {process for process in found if process is not None}

    def number_sessions_from(self, first: int) -> None:
        """Set the number of the next session."""
        self._next_session = first

    def next_session_block(self) -> int:
        """Return the first session number for a replacement process; this one may still begin a few sessions."""
        return -(-(self._next_session + _SPARE_NUMBERS) // _SESSION_BLOCK) * _SESSION_BLOCK + 1

    def connection_closed(self, connection: Any) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections and self._all_closed is not None:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    def when_all_closed(self) -> defer.Deferred[None]:
        """Return a Deferred that fires when no connection is left."""
        if not self.connections:
            return defer.succeed(None)
        self._all_closed = defer.Deferred()
        return self._all_closed
