"""Client connections: the factory with what they share, and the protocol of each, from accept to end.

A connection is a state machine: :class:`State` has its states, :class:`Event` its events, and
``GymProtocol.TRANSITIONS`` says what each event does in each state.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.errors import GymtwistError, HandshakeError, ServerFull, WorkerStartError
from gymtwist.protocol.handshake import Handshake, error_reply, queue_reply
from gymtwist.server import keepalive, relay
from gymtwist.server.admission import Admission, ConnectionLimit
from gymtwist.server.client_address import name_of, network_of
from gymtwist.server.handshake_reader import HandshakeReader
from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.scratch_directories import ScratchDirectories
from gymtwist.server.server_log import counted
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.server_session import Session
from gymtwist.server.session_events import Incomplete, Queued, Refused, SessionEvents, SessionInfo
from gymtwist.server.watchdog import Action, Watchdog
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.worker.access_policy import AllowList, is_among

#: Bytes read at a time before a worker has the connection; trailing data behind a handshake must fit one value of AMP
#: (65,535 bytes).
_READ_SIZE = 16 * 1024
#: Seconds a worker has to close its environment once its client is hung up on; then it is killed.
CLOSE_TIMEOUT = 30.0
#: Seconds between two measurements of a session's memory, if that is limited.
_MEMORY_INTERVAL = 0.5
#: Seconds between two checks whether a client is still there that is not read from while it waits.
_QUEUE_INTERVAL = 2.0
#: Seconds a client has to read the final reply and to close; then the connection is aborted.
_LINGER = 5.0
_TOO_MANY = (
    "the server is full: too many connections have sent no handshake; send it as soon as you connect, or try again "
    "later"
)


class State(enum.Enum):
    """The state of a connection."""

    HANDSHAKE = enum.auto()  # its first message is being read
    QUEUED = enum.auto()  # it waits for another session to end
    SERVING = enum.auto()  # a worker serves it
    ENDING = enum.auto()  # its worker is to close the environment, or is being killed
    ABANDONED = enum.auto()  # relayed, and the client has left; its worker is to close the environment
    FLUSHING = enum.auto()  # relayed, and its worker has finished; what that sent is on its way to the client
    CLOSING = enum.auto()  # the final reply is sent; what the client still sends is dropped
    CLOSED = enum.auto()


class Event(enum.Enum):
    """An event in the life of a connection, with its argument if it has one."""

    DATA = enum.auto()  # bytes came from the client (bytes)
    LOST = enum.auto()  # the connection is closed, by either side (reason)
    TIMEOUT = enum.auto()  # the timer has fired
    STOP = enum.auto()  # the server is shutting down (reason)
    DROP = enum.auto()  # it has no session, and there are too many such connections
    # Admission
    QUEUE = enum.auto()  # too many sessions run
    ADMIT = enum.auto()  # its session can begin
    REFUSE = enum.auto()  # it gets no session (error)
    # The watchdog
    HANG_UP = enum.auto()  # the client is idle or has vanished (reason)
    KILL = enum.auto()  # the environment does not return (reason)
    KILL_AND_RESUME = enum.auto()  # the same, but another worker can continue (reason)
    # The session
    RESUMED = enum.auto()  # another worker serves it
    FINISHED = enum.auto()  # the session has ended (final reply)
    FINISHED_UNFLUSHED = enum.auto()  # the same, but the relay may have bytes for the client (final reply)
    RELAY_CLOSED = enum.auto()  # the relay has passed on everything that the worker sent


class GymFactory(Factory):
    """Builds the protocol of each connection, and holds what connections share.

    Args:
        reactor: The reactor.
        options: The options of the server.
        pool: The workers.
        fresh_pool: The workers of environments that a forked process does not serve.
        in_thread: Calls a function in a thread that measures memory, and fires with the result.

    Attributes:
        reactor: The reactor.
        options: The options of the server.
        pool: The workers.
        allowed: The environments that clients may use.
        admission: Limits the number of sessions.
        limit: Limits the connections that have no session.
        watchdog: Limits their time.
        events: Where to subscribe to what happens to sessions.
        connections: Every connection that is not closed yet.
        scratch: The directories that sessions work in; None if they work where the workers started.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        options: ServerOptions,
        pool: WorkerPool,
        fresh_pool: WorkerPool | None = None,
        in_thread: Callable[..., defer.Deferred[Any]] = defer.maybeDeferred,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.pool = pool
        self._fresh_pool = fresh_pool or pool
        self._in_thread = in_thread
        self.allowed = AllowList(options.allow)
        self.admission = Admission(options.max_sessions, options.queue)
        self.limit = ConnectionLimit(options.max_handshakes, options.max_handshakes_per_address)
        self.admission.when_moved = GymProtocol.moved
        self.watchdog = Watchdog(
            idle=options.idle_timeout,
            step=options.step_timeout,
            request=options.request_timeout,
            leave=options.leave_timeout,
            keepalive=options.keepalive,
            memory=_MEMORY_INTERVAL if options.memory_limit else 0.0,
        )
        self.events = SessionEvents()
        self.connections: set[GymProtocol] = set()
        self.scratch: ScratchDirectories | None = None
        self._session_numbers = itertools.count(1)
        self._all_closed: defer.Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> GymProtocol | None:  # type: ignore[override] # Twisted wants `factory` optional
        """Return the protocol of a new connection; None, to close it at once, if too many wait to be closed."""
        # Twisted accepts many connections before it closes those that were dropped for them.
        if len(self.connections) < self.options.max_sessions + self.options.queue + 2 * self.limit.total:
            return GymProtocol(self)
        self.events.publish(Refused(name_of(addr), ServerFull(_TOO_MANY)))
        return None

    def new_session(self, handshake: Handshake, client: str) -> Session:
        """Return a session that is not assigned to a worker yet.

        Raises:
            OSError: There are no descriptors left, or there is no memory.
        """
        info = SessionInfo(next(self._session_numbers), client, handshake.environment, handshake.protocol)
        pool = self._fresh_pool if is_among(self.options.spawn, handshake.environment) else self.pool
        return Session(info, handshake, pool, self.events, self.scratch, self._in_thread)

    def connection_closed(self, connection: GymProtocol) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections and self._all_closed is not None:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    def when_all_closed(self) -> defer.Deferred[None]:
        """Return what fires when no connection is left."""
        if not self.connections:
            return defer.succeed(None)
        self._all_closed = defer.Deferred()
        return self._all_closed


@implementer(IFileDescriptorReceiver)
class GymProtocol(Protocol, TimeoutMixin):
    """One connection: it reads the handshake, is admitted, is handed to a worker, and is watched until it ends.

    Args:
        factory: What connections share.

    Attributes:
        client: The client's address, for the log.
    """

    transport: Any  # TCP, UNIX and TLS transports have more in common than Twisted's interface says

    def __init__(self, factory: GymFactory) -> None:
        self.factory: GymFactory = factory
        self.client = "?"
        self._state = State.HANDSHAKE
        self._reader = HandshakeReader(factory.allowed)
        self._handshake: Handshake | None = None
        self._session: Session | None = None
        self._relay: relay.Relay | None = None
        self._final_reply = b""

    def _handle(self, event: Event, *argument: Any) -> None:
        """Make the transition that an event causes, then do what belongs to it."""
        transition = self.TRANSITIONS[self._state].get(event)
        if transition is None:
            raise AssertionError(f"{event.name} cannot happen to a connection in the state {self._state.name}")
        self._state, action = transition
        if action is not None:
            action(self, *argument)

    # Sources of events

    def dataReceived(self, data: bytes) -> None:
        """Handle data from the client; called by Twisted."""
        self._handle(Event.DATA, data)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Close a descriptor that came by a UNIX socket; Twisted would also log a line for each."""
        os.close(descriptor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the connection; called by Twisted."""
        self._handle(Event.LOST, reason)

    def timeoutConnection(self) -> None:
        """Handle the timer; called by ``TimeoutMixin``."""
        self._handle(Event.TIMEOUT)

    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        """Use the server's reactor for ``TimeoutMixin``, not the global one."""
        return self.factory.reactor.callLater(period, func)

    def stop(self, reason: str) -> None:
        """End the connection.

        Args:
            reason: The reason, for the log.
        """
        self._handle(Event.STOP, reason)

    def drop(self) -> None:
        """Close the connection unless it can have its session now; called by the limit."""
        if self._state is State.HANDSHAKE and relay.can_be_handed_over(self.transport):
            # If many connect at once, its handshake may have come and not be read yet. The reactor notices any end.
            self.transport.doRead()
        if self._state not in (State.QUEUED, State.SERVING):
            self._handle(Event.DROP)

    def queued(self) -> None:
        """Wait for a session to end; called by the admission."""
        self._handle(Event.QUEUE)

    def admitted(self) -> None:
        """Begin the session; called by the admission."""
        self._handle(Event.ADMIT)

    def refused(self, error: GymtwistError) -> None:
        """Close the connection without a session; called by the admission."""
        self._handle(Event.REFUSE, error)

    def session_resumed(self) -> None:
        """Watch another worker; called by the session."""
        self._handle(Event.RESUMED)

    def session_ended(self, final_reply: bytes) -> None:
        """Close the connection after a final reply; called by the session."""
        if self._relay is not None:
            self._relay.worker_end.close()
        self.factory.admission.session_ended()
        unflushed = self._relay is not None and not self._relay.closed
        self._handle(Event.FINISHED_UNFLUSHED if unflushed else Event.FINISHED, final_reply)

    def _relay_closed(self) -> None:
        self._handle(Event.RELAY_CLOSED)

    # The handshake

    def connectionMade(self) -> None:
        """Begin to read the handshake; called by Twisted."""
        self.client = name_of(self.transport.getPeer())
        self.transport.bufferSize = _READ_SIZE
        keepalive.set_options(self._socket, self.factory.options.keepalive)
        self.factory.connections.add(self)
        self.setTimeout(self.factory.options.opening_timeout)
        self._count()

    def _count(self) -> None:
        """Count the connection among those without a session."""
        self.factory.limit.add(self, network_of(self.client))

    @property
    def _socket(self) -> socket.socket | None:
        return getattr(self.transport, "socket", None)

    def _read(self, data: bytes) -> None:
        """Read the handshake; in the framed protocol a client may try again after a refusal."""
        self._reader.received += data
        while self._state is State.HANDSHAKE and not self.transport.disconnecting:
            found = self._reader.next()
            if found is None:
                return
            if isinstance(found, Handshake):
                self._handshake = found
                self.setTimeout(None)
                self.factory.admission.enter(self)
                return
            if found.is_final:
                self._handle(Event.REFUSE, found.error)
            else:
                self.factory.events.publish(Refused(self.client, found.error))
                self._write_now(found.reply)

    def _wait(self) -> None:
        assert self._handshake is not None
        self.factory.limit.remove(self)
        self.factory.events.publish(Queued(self.client, self._handshake.environment))

    def moved(self, place: int) -> None:
        """Tell the client its place in the queue if it asked for that; called by the admission."""
        if self._state is not State.QUEUED or self._handshake is None or not self._handshake.report_queue:
            return
        message = queue_reply(self._handshake.protocol, place)
        if relay.can_be_handed_over(self.transport):
            # At once or not at all: a worker may write next. A client that does not read misses nothing else.
            with contextlib.suppress(OSError):
                message = message[self.transport.socket.send(message) :]
                self.transport.write(message)
        else:
            self.transport.write(message)

    def _keep(self, data: bytes) -> None:
        """Keep trailing data for the worker."""
        self._reader.received += data
        if len(self._reader.received) >= 2 * _READ_SIZE:
            # The rest stays in the kernel's buffers, and with it the end of the stream.
            self.transport.pauseProducing()
            self.setTimeout(_QUEUE_INTERVAL)

    def _watch_paused(self) -> None:
        """Close the connection if its client has left the queue without a read that would show it."""
        if keepalive.has_left(self._socket):
            self._abort()
        else:
            self.setTimeout(_QUEUE_INTERVAL)

    def _refuse(self, error: GymtwistError) -> None:
        self.factory.events.publish(Refused(self.client, error))
        if self._handshake is None:
            protocol = self._reader.protocol()
        else:
            protocol, error.warnings = self._handshake.protocol, self._handshake.warnings
        self._close(error_reply(protocol, error))

    def _refuse_dropped(self) -> None:
        """Refuse the client without waiting until it has read the reason: its descriptor is needed."""
        self._refuse(ServerFull(_TOO_MANY))
        self.factory.limit.remove(self)
        if relay.can_be_handed_over(self.transport):
            self.transport.loseConnection()
        else:
            self._abort()

    def _refuse_slow(self) -> None:
        timeout = self.factory.options.opening_timeout
        self._refuse(HandshakeError(f"no handshake came within {timeout:g} s; send it as soon as you connect"))

    # The session

    def _serve(self) -> None:
        """Hand the connection to a worker, through a relay if the socket itself cannot be handed over."""
        assert self._handshake is not None
        self.factory.limit.remove(self)
        trailing_data = bytes(self._reader.received)
        self._reader.received.clear()
        try:
            session = self._session = self.factory.new_session(self._handshake, self.client)
            if not relay.can_be_handed_over(self.transport):
                self._relay = relay.start(self.factory.reactor, self.transport, self._relay_closed)
        except OSError as error:
            self._cannot_serve(error)
            return
        if self._relay is None:
            self.transport.pauseProducing()
            session.start(self, self.transport.fileno(), trailing_data)
        else:
            self.transport.resumeProducing()
            self._relay.write(trailing_data)
            session.start(self, self._relay.worker_end.fileno(), b"")
        if self._state is State.SERVING:
            self._watch()

    def _cannot_serve(self, error: OSError) -> None:
        """Refuse the client: the server has no descriptors left, or no memory."""
        if self._session is not None:
            self._session.discard()
        # Not at once: the next connection in the queue might fare no better.
        self.factory.reactor.callLater(0, self.factory.admission.session_ended)
        problem = f"the server cannot begin a session now: {error.strerror}; try again later"
        self._handle(Event.REFUSE, WorkerStartError(problem))

    def _pass_on(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.write(data)

    def _watch(self) -> None:
        """Check the session, and set the timer for the next check."""
        assert self._session is not None
        if self.factory.options.memory_limit:
            self._session.check_memory()
        if self._session.left_at is None and keepalive.has_left(self._socket):
            self._session.left_at = time.monotonic()
        decision = self.factory.watchdog.look(
            self._session.status,
            time.monotonic(),
            self._session.assigned_at,
            self._socket,
            responsive=self._session.worker_is_responsive,
            ready_timeout=self._session.ready_timeout,
            left_at=self._session.left_at,
        )
        if decision.action is Action.CONTINUE:
            self.setTimeout(decision.look_again)
        elif decision.action is Action.REPLACE:
            self._session.kill()
            self.setTimeout(ANSWER_TIMEOUT)
        elif decision.action is Action.HANG_UP:
            self._handle(Event.HANG_UP, decision.reason)
        elif self._session.can_be_resumed:
            self._handle(Event.KILL_AND_RESUME, self._session.explained(decision.reason))
        else:
            self._handle(Event.KILL, self._session.explained(decision.reason))

    def _watch_abandoned(self) -> None:
        """Check the session, unless it was to end before its client left: then its time is up."""
        assert self._session is not None
        if self._session.reason is None:
            self._watch()
        else:
            self._kill()

    def _hang_up(self, reason: str) -> None:
        """Let the worker read the end of the stream, so that it closes the environment."""
        assert self._session is not None
        self._session.reason = reason
        self.setTimeout(CLOSE_TIMEOUT)
        if self._relay is not None:
            self._relay.abort()
        else:
            with contextlib.suppress(OSError):  # the client may have left already
                self.transport.socket.shutdown(socket.SHUT_RDWR)

    def _kill_for(self, reason: str) -> None:
        assert self._session is not None
        self._session.reason = reason
        self._kill()

    def _kill_and_resume(self, reason: str) -> None:
        assert self._session is not None
        self._session.timeout_reason = reason
        self._kill()

    def _kill(self) -> None:
        assert self._session is not None
        self._session.kill()
        # A process in a system call may take its time to die; try again.
        self.setTimeout(CLOSE_TIMEOUT)

    # The end

    def _abandon(self, reason: Failure) -> None:
        """Let the worker of a relayed connection read the end of the stream at once, as any other worker does."""
        if self._relay is not None:
            self._relay.abort()
        if self._session is not None and self._session.left_at is None:
            self._session.left_at = time.monotonic()
            if self._session.reason is None:
                self._watch()

    def _flush(self, final_reply: bytes) -> None:
        """Wait until the client has what the worker sent; the final reply comes behind it."""
        self._final_reply = final_reply
        self.setTimeout(CLOSE_TIMEOUT)
        self._count()

    def _stop_flushing(self) -> None:
        """Give up on a client that does not read."""
        assert self._relay is not None
        self._relay.abort()

    def _close_flushed(self) -> None:
        self._close(self._final_reply)

    def _close_silently(self, reason: str) -> None:
        self._close(b"")

    def _close_queued(self, reason: str) -> None:
        self.factory.admission.leave_queue(self)
        self._close(b"")

    def _close(self, final_reply: bytes) -> None:
        """Send the final reply and close, without a reset that would take the reply away from the client."""
        self._relay = None
        self.setTimeout(_LINGER)
        self._count()
        if self._socket is not None:
            # A worker may have had the connection, and made it blocking.
            self._socket.setblocking(False)
        if final_reply:
            self._write_now(final_reply)
        self.transport.resumeProducing()
        if relay.can_be_handed_over(self.transport):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _write_now(self, data: bytes) -> None:
        """Write at once: a worker may write next, and Twisted may drop a client that has closed its sending side."""
        written = 0
        if relay.can_be_handed_over(self.transport):
            with contextlib.suppress(OSError):  # the client has left, or does not read
                written = self.transport.socket.send(data)
        self.transport.write(data[written:])

    def _abort(self) -> None:
        self.transport.abortConnection()

    def _forget(self, _: Failure | bytes = b"") -> None:
        self.setTimeout(None)
        self.factory.limit.remove(self)
        self.factory.connection_closed(self)

    def _forget_incomplete(self, reason: Failure) -> None:
        self._forget()
        received = bytes(self._reader.received.strip(b"\r\n"))
        if type(reason.value).__module__.partition(".")[0] == "OpenSSL":
            problem = f"the TLS handshake failed ({_tls_problem(reason.value)})"
        elif not reason.check(ConnectionClosed):
            problem = f"an error in gymtwist itself: {type(reason.value).__name__}"
        elif received:
            problem = f"it left after {counted(len(received), 'byte')}, {received[:40]!r}"
        else:
            return  # as a load balancer does that checks the port
        self.factory.events.publish(Incomplete(self.client, problem))

    def _forget_queued(self, reason: Failure) -> None:
        self.factory.admission.leave_queue(self)
        self._forget()

    def _forget_relayed(self, reason: Failure) -> None:
        self._forget()
        self._stop_flushing()

    #: For each state and event: the next state, and what is done then. An event that is missing cannot happen.
    TRANSITIONS: dict[State, dict[Event, tuple[State, Callable[..., None] | None]]] = {
        State.HANDSHAKE: {
            Event.DATA: (State.HANDSHAKE, _read),
            Event.QUEUE: (State.QUEUED, _wait),
            Event.ADMIT: (State.SERVING, _serve),
            Event.REFUSE: (State.CLOSING, _refuse),
            Event.TIMEOUT: (State.CLOSING, _refuse_slow),
            Event.STOP: (State.CLOSING, _close_silently),
            Event.DROP: (State.CLOSING, _refuse_dropped),
            Event.LOST: (State.CLOSED, _forget_incomplete),
        },
        State.QUEUED: {
            Event.DATA: (State.QUEUED, _keep),
            Event.TIMEOUT: (State.QUEUED, _watch_paused),
            Event.ADMIT: (State.SERVING, _serve),
            Event.REFUSE: (State.CLOSING, _refuse),
            Event.STOP: (State.CLOSING, _close_queued),
            Event.LOST: (State.CLOSED, _forget_queued),
        },
        State.SERVING: {
            Event.DATA: (State.SERVING, _pass_on),
            Event.TIMEOUT: (State.SERVING, _watch),
            Event.RESUMED: (State.SERVING, _watch),
            Event.HANG_UP: (State.ENDING, _hang_up),
            Event.STOP: (State.ENDING, _hang_up),
            Event.KILL: (State.ENDING, _kill_for),
            Event.KILL_AND_RESUME: (State.SERVING, _kill_and_resume),
            Event.REFUSE: (State.CLOSING, _refuse),
            Event.FINISHED: (State.CLOSING, _close),
            Event.FINISHED_UNFLUSHED: (State.FLUSHING, _flush),
            Event.RELAY_CLOSED: (State.SERVING, None),
            Event.LOST: (State.ABANDONED, _abandon),
        },
        State.ENDING: {
            Event.DATA: (State.ENDING, _pass_on),
            Event.TIMEOUT: (State.ENDING, _kill),
            Event.STOP: (State.ENDING, None),
            Event.FINISHED: (State.CLOSING, _close),
            Event.FINISHED_UNFLUSHED: (State.FLUSHING, _flush),
            Event.RELAY_CLOSED: (State.ENDING, None),
            Event.LOST: (State.ABANDONED, _abandon),
        },
        State.ABANDONED: {
            Event.TIMEOUT: (State.ABANDONED, _watch_abandoned),
            Event.RESUMED: (State.ABANDONED, _watch),
            Event.HANG_UP: (State.ABANDONED, _kill_for),
            Event.KILL: (State.ABANDONED, _kill_for),
            Event.KILL_AND_RESUME: (State.ABANDONED, _kill_for),
            Event.STOP: (State.ABANDONED, None),
            Event.FINISHED: (State.CLOSED, _forget),
            Event.FINISHED_UNFLUSHED: (State.CLOSED, _forget),
            Event.RELAY_CLOSED: (State.ABANDONED, None),
        },
        State.FLUSHING: {
            Event.DATA: (State.FLUSHING, _pass_on),
            Event.TIMEOUT: (State.FLUSHING, _stop_flushing),
            Event.STOP: (State.FLUSHING, None),
            Event.DROP: (State.FLUSHING, _abort),
            Event.RESUMED: (State.FLUSHING, None),
            Event.RELAY_CLOSED: (State.CLOSING, _close_flushed),
            Event.LOST: (State.CLOSED, _forget_relayed),
        },
        State.CLOSING: {
            Event.DATA: (State.CLOSING, None),
            Event.TIMEOUT: (State.CLOSING, _abort),
            Event.STOP: (State.CLOSING, None),
            Event.DROP: (State.CLOSING, _abort),
            Event.RESUMED: (State.CLOSING, None),
            Event.LOST: (State.CLOSED, _forget),
        },
        State.CLOSED: {
            Event.STOP: (State.CLOSED, None),
            Event.DROP: (State.CLOSED, None),
            Event.RESUMED: (State.CLOSED, None),
            Event.RELAY_CLOSED: (State.CLOSED, None),
        },
    }


def _tls_problem(error: Any) -> str:
    """Return OpenSSL's reasons for an error, which come as triples of library, function and reason."""
    reasons = [each[-1] for arguments in error.args for each in arguments if each]
    return ", ".join(map(str, reasons)) or type(error).__name__
