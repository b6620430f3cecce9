"""The protocol of a client's connection, from accept to end.

A connection is a state machine: :mod:`~gymtwist.server.connection_states` has its states and events, and
``GymProtocol.TRANSITIONS`` says what each event does in each state.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import ClassVar

import msgspec
from twisted.python.failure import Failure

from gymtwist.errors import GymtwistError, SnapshotRefused, TokenRefused, UnknownSnapshot, WorkerStartError
from gymtwist.protocol import websocket
from gymtwist.protocol.handshake import Handshake
from gymtwist.protocol.websocket import CloseCode
from gymtwist.server import keepalive, relay
from gymtwist.server.connection_states import Event, State
from gymtwist.server.disconnected_session import DisconnectedSession
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.server_session import Session
from gymtwist.server.unserved_connection import Transitions, UnservedConnection
from gymtwist.server.watchdog import Action, Watchdog

#: Seconds that a worker has to close its environment after its client is disconnected, before it is killed.
CLOSE_TIMEOUT = 30.0
#: Seconds of those in which it may tell a WebSocket client the reason.
_LEAVE_TIMEOUT = 2.0


class GymProtocol(UnservedConnection):
    """One connection: reads the handshake, is admitted, is handed to a worker, and is watched until it ends.

    Args:
        factory: What connections share.
    """

    def __init__(self, factory: GymFactory) -> None:
        super().__init__(factory)
        self._session: Session | None = None
        self._relay: relay.Relay | None = None
        self._final_reply = b""

    def session_resumed(self) -> None:
        """Watch another worker from now on; called by the session."""
        self.handle(Event.RESUMED)

    def session_ended(self, final_reply: bytes) -> None:
        """Send a final reply and close the connection; called by the session."""
        if self._relay is not None:
            self._relay.worker_end.close()
        if final_reply and self.reader.speaks_websocket:
            final_reply += websocket.close_frame(CloseCode.INTERNAL_ERROR, "the session has failed")
        self.factory.admission.session_ended(self)
        unflushed = self._relay is not None and not self._relay.closed
        self.handle(Event.FINISHED_UNFLUSHED if unflushed else Event.FINISHED, final_reply)

    def session_disconnected(self) -> DisconnectedSession:
        """Close the lost connection, and return what stands in for it from now on; called by the session."""
        assert self._session is not None
        waiting = DisconnectedSession(self.factory, self._session, self.identity)
        self._part()
        return waiting

    def session_taken(self) -> None:
        """Close the connection at once: another connection of the client has the session; called by the session."""
        if self._relay is not None:
            self._relay.worker_end.close()
        self.handle(Event.TAKEN)

    def _part(self) -> None:
        """Close the connection, which no longer has a session."""
        if self._relay is not None:
            self._relay.worker_end.close()
        unflushed = self._relay is not None and not self._relay.closed
        self.handle(Event.FINISHED_UNFLUSHED if unflushed else Event.FINISHED, b"")

    def _relay_closed(self) -> None:
        self.handle(Event.RELAY_CLOSED)

    def _end_websocket(self) -> None:
        """Close a relayed WebSocket once the worker has sent its close frame.

        The worker may still take a while to close its environment.
        """
        if self.reader.speaks_websocket:
            self.transport.loseConnection()

    # The session

    def _serve(self) -> None:
        """Hand the connection to a worker, through a relay if the socket itself cannot be handed over."""
        assert self.handshake is not None
        self.factory.limit.remove(self)
        trailing_data = bytes(self.reader.received)
        self.reader.received.clear()
        try:
            self.identity = self.factory.identities.renewed(self.identity)  # the client may have waited for hours
            branch = self.handshake.branch
            origin = self.factory.origin_of(branch, self.identity) if branch else None
        except (TokenRefused, SnapshotRefused, UnknownSnapshot) as error:
            self._cannot_serve(error)
            return
        try:
            session = self._session = self.new_session(self.handshake)
            if not relay.can_be_handed_over(self.transport):
                self._relay = relay.start(self.factory.reactor, self.transport, self._relay_closed)
        except OSError as error:
            problem = f"the server cannot begin a session now: {error.strerror}; try again later"
            self._cannot_serve(WorkerStartError(problem))
            return
        if origin is not None:
            session.branches_off(origin, branch)
        if self._relay is None:
            self.transport.pauseProducing()
            session.start(self, self.transport.fileno(), trailing_data)
        else:
            self.transport.resumeProducing()
            self._relay.write(trailing_data)
            session.start(self, self._relay.worker_end.fileno(), b"")
        if self.state is State.SERVING:
            self._watch()

    def new_session(self, handshake: Handshake) -> Session:
        """Return a new session for this connection.

        Raises:
            OSError: There are no descriptors left, or there is no memory.
        """
        return self.factory.new_session(handshake, self.client, self.identity, self.interface)

    def _reconnect(self) -> None:
        """Resume the session that the handshake names."""
        assert self.handshake is not None
        assert self.handshake.resume is not None
        self.factory.limit.remove(self)
        trailing_data, received = bytes(self.reader.received), self.handshake.resume.received
        self.reader.received.clear()
        session = self.factory.session_of(self.handshake, self.identity)
        try:
            if relay.can_be_handed_over(self.transport):
                self.transport.pauseProducing()
                session.reconnect(self, self.client, self.transport.fileno(), received, trailing_data)
            else:
                self._relay = relay.start(self.factory.reactor, self.transport, self._relay_closed)
                session.reconnect(self, self.client, self._relay.worker_end.fileno(), received, trailing_data)
        except OSError as error:
            if self._relay is not None:
                self._relay.worker_end.close()
            problem = f"the server cannot take the connection now: {error.strerror}; try again later"
            self.handle(Event.REFUSE, WorkerStartError(problem))
            return
        self._session = session
        self._watch()

    def _cannot_serve(self, error: GymtwistError) -> None:
        """Refuse a client that cannot be served after it was admitted.

        The server has no descriptors or no memory left, or may no longer serve this client.
        """
        if self._session is not None:
            self._session.discard()
        # Not at once: the next queued connection might fare no better.
        self.factory.reactor.callLater(0, self.factory.admission.session_ended, self)
        self.handle(Event.REFUSE, error)

    def _pass_on(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.write(data)

    def _watch(self) -> None:
        """Check the session, and set the timer for the next check."""
        assert self._session is not None
        if self.factory.watchdog.measure:
            self._session.check_memory()
        over_quota = self._session.over_quota()
        if over_quota:
            self.handle(Event.HANG_UP, over_quota)
            return
        if self._session.left_at is None and keepalive.has_left(self.client_socket):
            self._session.left_at = time.monotonic()
        if not self._session.is_watched_here:
            decision = self.factory.watchdog.look_at_connection(self.client_socket, self._session.time_left)
            if decision.action is Action.CONTINUE:
                self.setTimeout(decision.look_again)
            else:
                self.handle(Event.HANG_UP, decision.reason)
            return
        decision = self._watchdog().look(
            self._session.status,
            time.monotonic(),
            self._session.assigned_at,
            self.client_socket,
            responsive=self._session.worker_is_responsive,
            ready_timeout=self._session.ready_timeout,
            left_at=self._session.left_at,
            time_left=self._session.time_left,
        )
        if decision.action is Action.CONTINUE:
            self.setTimeout(decision.look_again)
        elif decision.action is Action.REPLACE:
            self._session.kill()
            self.setTimeout(ANSWER_TIMEOUT)
        elif decision.action is Action.HANG_UP:
            self.handle(Event.HANG_UP, decision.reason)
        elif self._session.can_be_resumed:
            self.handle(Event.KILL_AND_RESUME, self._session.explained(decision.reason))
        else:
            self.handle(Event.KILL, self._session.explained(decision.reason))

    def _watchdog(self) -> Watchdog:
        """Return the limits of the session; a resumable one ends only some time after its connection."""
        assert self._session is not None
        watchdog, reconnection = self.factory.watchdog, self._session.reconnection
        if reconnection is None or not self._session.status.outlives_connection:
            return watchdog
        if keepalive.has_vanished(self.client_socket, watchdog.keepalive):
            self._cut()
        return msgspec.structs.replace(watchdog, leave=reconnection.seconds, ends_vanished=False)

    def _watch_abandoned(self) -> None:
        """Check the session; kill the worker if the session was ending before its client left, as its time is up."""
        assert self._session is not None
        if self._session.reason is None:
            self._watch()
        else:
            self._kill()

    def _hang_up(self, reason: str) -> None:
        """Let the worker read end-of-file, so that it closes the environment."""
        assert self._session is not None
        self._session.give_up(reason)
        if self.reader.speaks_websocket:
            self.handle(Event.TAKE_LEAVE)
        else:
            self._disconnect()

    def _take_leave(self) -> None:
        """Let the worker read end-of-file, but still write, so that it can say why it closes a WebSocket."""
        self.setTimeout(_LEAVE_TIMEOUT)
        if self._relay is not None:
            self._relay.end()
        else:
            with contextlib.suppress(OSError):
                self.transport.socket.shutdown(socket.SHUT_RD)

    def _disconnect(self) -> None:
        """Let the worker read end-of-file and write no more."""
        self.setTimeout(CLOSE_TIMEOUT)
        self._cut()

    def _cut(self) -> None:
        if self._relay is not None:
            self._relay.abort()
        else:
            with contextlib.suppress(OSError):  # the client may have left already
                self.transport.socket.shutdown(socket.SHUT_RDWR)

    def _kill_for(self, reason: str) -> None:
        assert self._session is not None
        self._session.give_up(reason)
        self._kill()

    def _kill_and_resume(self, reason: str) -> None:
        assert self._session is not None
        self._session.timeout_reason = reason
        self._kill()

    def _kill(self) -> None:
        assert self._session is not None
        self._session.kill()
        # A process in a system call may take a while to die; try again.
        self.setTimeout(CLOSE_TIMEOUT)

    # The end

    def _lose(self) -> None:
        """Close the connection at once: another connection has the session."""
        self._cut()
        self.setTimeout(None)
        self.abort()

    def _forget_taken(self) -> None:
        self._cut()
        self.forget()

    def _abandon(self, reason: Failure) -> None:
        """Let the worker of a relayed connection read end-of-file at once, as a worker without a relay does."""
        if self._relay is not None:
            self._relay.abort()
        if self._session is not None and self._session.left_at is None:
            self._session.left_at = time.monotonic()
            if self._session.reason is None:
                self._watch()

    def _flush(self, final_reply: bytes) -> None:
        """Wait until the client has received what the worker sent; then send the final reply."""
        self._final_reply = final_reply
        self.setTimeout(CLOSE_TIMEOUT)
        self.count()

    def _stop_flushing(self) -> None:
        """Give up on a client that does not read its data."""
        assert self._relay is not None
        self._relay.abort()

    def close(self, final_reply: bytes) -> None:
        """Send the final reply and close; the relay is no longer needed."""
        self._relay = None
        super().close(final_reply)

    def _close_flushed(self) -> None:
        self.close(self._final_reply)

    def _forget_relayed(self, reason: Failure) -> None:
        self.forget()
        self._stop_flushing()

    TRANSITIONS: ClassVar[Transitions] = {
        State.HANDSHAKE: {
            Event.DATA: (State.HANDSHAKE, UnservedConnection.read),
            Event.HTTP: (State.HTTP, UnservedConnection.speak_http),
            Event.DELAY: (State.DELAYED, UnservedConnection.delay),
            Event.DISMISS: (State.CLOSING, UnservedConnection.close),
            Event.QUEUE: (State.QUEUED, UnservedConnection.wait),
            Event.ADMIT: (State.SERVING, _serve),
            Event.RECONNECT: (State.SERVING, _reconnect),
            Event.REFUSE: (State.CLOSING, UnservedConnection.refuse),
            Event.TIMEOUT: (State.CLOSING, UnservedConnection.refuse_slow),
            Event.STOP: (State.CLOSING, UnservedConnection.close_silently),
            Event.DROP: (State.CLOSING, UnservedConnection.refuse_dropped),
            Event.LOST: (State.CLOSED, UnservedConnection.forget_incomplete),
        },
        State.HTTP: {
            Event.DATA: (State.HTTP, UnservedConnection.read_http),
            Event.TIMEOUT: (State.HTTP, UnservedConnection.abort),
            Event.DISMISS: (State.CLOSING, UnservedConnection.dismiss_http),
            Event.STOP: (State.HTTP, UnservedConnection.stop_http),
            Event.DROP: (State.HTTP, UnservedConnection.abort),
            Event.LOST: (State.CLOSED, UnservedConnection.forget),
        },
        State.DELAYED: {
            Event.DATA: (State.DELAYED, None),
            Event.TIMEOUT: (State.CLOSING, UnservedConnection.refuse_delayed),
            Event.STOP: (State.CLOSING, UnservedConnection.close_silently),
            Event.DROP: (State.CLOSING, UnservedConnection.refuse_dropped),
            Event.LOST: (State.CLOSED, UnservedConnection.forget),
        },
        State.QUEUED: {
            Event.DATA: (State.QUEUED, UnservedConnection.keep),
            Event.TIMEOUT: (State.QUEUED, UnservedConnection.watch_paused),
            Event.ADMIT: (State.SERVING, _serve),
            Event.REFUSE: (State.CLOSING, UnservedConnection.refuse),
            Event.STOP: (State.CLOSING, UnservedConnection.close_queued),
            Event.LOST: (State.CLOSED, UnservedConnection.forget_queued),
        },
        State.SERVING: {
            Event.DATA: (State.SERVING, _pass_on),
            Event.TIMEOUT: (State.SERVING, _watch),
            Event.RESUMED: (State.SERVING, _watch),
            Event.HANG_UP: (State.ENDING, _hang_up),
            Event.STOP: (State.ENDING, _hang_up),
            Event.KILL: (State.ENDING, _kill_for),
            Event.KILL_AND_RESUME: (State.SERVING, _kill_and_resume),
            Event.REFUSE: (State.CLOSING, UnservedConnection.refuse),
            Event.FINISHED: (State.CLOSING, close),
            Event.FINISHED_UNFLUSHED: (State.FLUSHING, _flush),
            Event.RELAY_CLOSED: (State.SERVING, _end_websocket),
            Event.TAKEN: (State.CLOSING, _lose),
            Event.LOST: (State.ABANDONED, _abandon),
        },
        State.LEAVING: {
            Event.DATA: (State.LEAVING, None),
            Event.TIMEOUT: (State.ENDING, _disconnect),
            Event.STOP: (State.LEAVING, None),
            Event.FINISHED: (State.CLOSING, close),
            Event.FINISHED_UNFLUSHED: (State.FLUSHING, _flush),
            Event.RELAY_CLOSED: (State.LEAVING, _end_websocket),
            Event.LOST: (State.ABANDONED, _abandon),
        },
        State.ENDING: {
            Event.TAKE_LEAVE: (State.LEAVING, _take_leave),
            Event.DATA: (State.ENDING, _pass_on),
            Event.TIMEOUT: (State.ENDING, _kill),
            Event.STOP: (State.ENDING, None),
            Event.FINISHED: (State.CLOSING, close),
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
            Event.FINISHED: (State.CLOSED, UnservedConnection.forget),
            Event.FINISHED_UNFLUSHED: (State.CLOSED, UnservedConnection.forget),
            Event.RELAY_CLOSED: (State.ABANDONED, None),
            Event.TAKEN: (State.CLOSED, _forget_taken),
        },
        State.FLUSHING: {
            Event.DATA: (State.FLUSHING, _pass_on),
            Event.TIMEOUT: (State.FLUSHING, _stop_flushing),
            Event.STOP: (State.FLUSHING, None),
            Event.DROP: (State.FLUSHING, UnservedConnection.abort),
            Event.RESUMED: (State.FLUSHING, None),
            Event.RELAY_CLOSED: (State.CLOSING, _close_flushed),
            Event.LOST: (State.CLOSED, _forget_relayed),
        },
        State.CLOSING: {
            Event.DATA: (State.CLOSING, None),
            Event.TIMEOUT: (State.CLOSING, UnservedConnection.abort),
            Event.STOP: (State.CLOSING, None),
            Event.DROP: (State.CLOSING, UnservedConnection.abort),
            Event.RESUMED: (State.CLOSING, None),
            Event.RELAY_CLOSED: (State.CLOSING, None),
            Event.LOST: (State.CLOSED, UnservedConnection.forget),
        },
        State.CLOSED: {
            Event.STOP: (State.CLOSED, None),
            Event.DROP: (State.CLOSED, None),
            Event.RESUMED: (State.CLOSED, None),
            Event.RELAY_CLOSED: (State.CLOSED, None),
        },
    }
