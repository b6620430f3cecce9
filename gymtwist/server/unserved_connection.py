"""A connection without a session: it reads the handshake, waits in the queue, is refused, or is closed."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, TypeAlias

from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.errors import GymtwistError, HandshakeError, ServerFull, TokenRefused
from gymtwist.protocol import http_head, websocket
from gymtwist.protocol.handshake import Handshake, error_reply, queue_reply
from gymtwist.protocol.http_head import Head
from gymtwist.protocol.websocket import CloseCode, WebSocketError
from gymtwist.server import keepalive, relay
from gymtwist.server.client_address import name_of, network_of, peer_of
from gymtwist.server.connection_states import Event, State
from gymtwist.server.gym_factory import TOO_MANY_CONNECTIONS, GymFactory
from gymtwist.server.handshake_reader import HandshakeReader, Http, Left
from gymtwist.server.identities import EVERYBODY, Identity
from gymtwist.server.server_log import counted
from gymtwist.server.session_events import Incomplete, Queued, Refused

#: Bytes read at a time before a worker has the connection. Data after the handshake must fit into one AMP value (65,535
#: bytes).
_READ_SIZE = 16 * 1024
#: Seconds between checks whether a queued client that is not being read from is still there.
_QUEUE_INTERVAL = 2.0
#: Seconds that a client has to read the final reply and close, before the connection is aborted.
_LINGER = 5.0
#: How many bytes of an incomplete handshake the log shows: too few to reveal a token.
_MOST_SHOWN = 16

#: For each state and event: the next state and the action. A missing event cannot happen in that state.
Transitions: TypeAlias = Mapping[State, Mapping[Event, tuple[State, Callable[..., None] | None]]]


@implementer(IFileDescriptorReceiver)
class UnservedConnection(Protocol, TimeoutMixin):
    """The part of a connection that needs no session; ``GymProtocol`` adds the rest.

    Args:
        factory: What connections share.

    Attributes:
        client: The client's address, for the log.
        state: The state of the connection.
        reader: Reads the handshake, and holds the data after it.
        handshake: The handshake; None before it has been read.
        channel: The HTTP channel that reads the requests; None if the connection does not speak HTTP.
        identity: Who the client is, once its handshake has been read.
        interface: The interface that the client uses, if the server itself plays the session for it; otherwise empty.
        known_identity: Who the client is, if that is known before its handshake; otherwise None.
    """

    #: What each event does in each state; defined by ``GymProtocol``.
    TRANSITIONS: ClassVar[Transitions]
    transport: Any  # TCP, UNIX and TLS transports share more than Twisted's interfaces declare

    def __init__(self, factory: GymFactory) -> None:
        self.factory: GymFactory = factory
        self.client = ""
        self.state = State.HANDSHAKE
        self.reader = HandshakeReader(self._check, self.write_now)
        if factory.options.no_http:
            self.reader.http = Http.NEVER
        self.handshake: Handshake | None = None
        self.channel: Any = None
        self.identity = EVERYBODY
        self.known_identity: Identity | None = None
        self.interface = ""
        self._place = 0
        self._refusal: TokenRefused | None = None

    def handle(self, event: Event, *argument: Any) -> None:
        """Make the transition that an event causes, and perform its action."""
        transition = self.TRANSITIONS[self.state].get(event)
        if transition is None:
            raise AssertionError(f"{event.name} cannot happen to a connection in the state {self.state.name}")
        self.state, action = transition
        if action is not None:
            action(self, *argument)

    def dataReceived(self, data: bytes) -> None:
        """Handle data from the client; called by Twisted."""
        self.handle(Event.DATA, data)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Close a descriptor received over a UNIX socket; Twisted would also log a line for each."""
        os.close(descriptor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the connection; called by Twisted."""
        self.handle(Event.LOST, reason)

    def timeoutConnection(self) -> None:
        """Handle the timeout, unless a handshake has arrived in the meantime; called by ``TimeoutMixin``."""
        state = self.state
        if state is State.HANDSHAKE:
            self.read_pending()
        if self.state is state:
            self.handle(Event.TIMEOUT)

    def read_pending(self) -> None:
        """Read data that has arrived but was not read: after the machine was busy, timers run before reads.

        The reactor notices if the connection has ended.
        """
        if relay.can_be_handed_over(self.transport):
            self.transport.doRead()

    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        """Use the server's reactor for ``TimeoutMixin``, not the global one."""
        return self.factory.reactor.callLater(period, func)

    def stop(self, reason: str) -> None:
        """End the connection.

        Args:
            reason: The reason, for the log.
        """
        self.handle(Event.STOP, reason)

    def drop(self) -> None:
        """Close the connection unless it can have its session now; called by the limit."""
        if self.state is State.HANDSHAKE:
            self.read_pending()  # if many connect at once, its handshake may have arrived
        if self.state not in (State.QUEUED, State.SERVING):
            self.handle(Event.DROP)

    @property
    def environment(self) -> str:
        """The id of the environment that the client asks for; empty for none."""
        return "" if self.handshake is None else self.handshake.environment

    def queued(self) -> None:
        """Wait for a session to end; called by the admission."""
        self.handle(Event.QUEUE)

    def admitted(self) -> None:
        """Begin the session; called by the admission."""
        self.handle(Event.ADMIT)

    def refused(self, error: GymtwistError) -> None:
        """Close the connection without a session; called by the admission."""
        self.handle(Event.REFUSE, error)

    # The handshake and the queue

    def connectionMade(self) -> None:
        """Begin to read the handshake; called by Twisted."""
        # If the server plays the session, it has set the address already.
        self.client = self.client or name_of(self.transport.getPeer())
        self.transport.bufferSize = _READ_SIZE
        keepalive.set_options(self.client_socket, self.factory.options.keepalive)
        self.factory.connections.add(self)
        self.setTimeout(self.factory.options.opening_timeout)
        self.count()

    def count(self) -> None:
        """Count the connection among those without a session."""
        self.factory.limit.add(self, network_of(self.client))

    @property
    def client_socket(self) -> socket.socket | None:
        """The client's socket; None if the transport has none."""
        return getattr(self.transport, "socket", None)

    def _check(self, handshake: Handshake) -> None:
        """Find out who the client is, and whether it may have its environment."""
        known, identities = self.known_identity, self.factory.identities
        if known is None:
            self.identity = identities.find(handshake.token, peer_of(self.transport))
        else:
            self.identity = identities.renewed(known)
        if handshake.resume is not None:
            self.factory.session_of(handshake, self.identity)
            return
        self.factory.allow_list_of(self.identity).check(handshake.environment)
        if handshake.branch:
            self.factory.origin_of(handshake.branch, self.identity)

    def read(self, data: bytes) -> None:
        """Read the handshake; in the framed protocol a client may try again after a refusal."""
        self.reader.received += data
        while self.state is State.HANDSHAKE and not self.transport.disconnecting:
            found = self.reader.next()
            if found is None:
                return
            if isinstance(found, Head):
                if not self._upgrade(found):
                    return
                continue
            if isinstance(found, Left):
                self.handle(Event.DISMISS, websocket.close_frame(found.code))
                return
            if isinstance(found, Handshake):
                self.handshake = found
                self.setTimeout(None)
                if found.resume is None:
                    self.factory.admission.enter(self)
                else:
                    self.handle(Event.RECONNECT)
                return
            if isinstance(found.error, TokenRefused) and found.error.is_wrong:
                self.handle(Event.DELAY, found.error)
            elif found.is_final:
                self.handle(Event.REFUSE, found.error)
            else:
                self.factory.events.publish(Refused(self.client, found.error))
                self.write_now(found.reply)

    def _upgrade(self, head: Head) -> bool:
        """Switch to WebSocket if the client asks for it at its path; otherwise let the site answer.

        Returns:
            Whether WebSocket messages are read from now on.
        """
        if not head.asks_for_websocket or head.path != websocket.PATH:
            self.handle(Event.HTTP, head)
            return False
        refused = self.factory.site.policy.refusal(head.headers.get("host"), head.headers.get("origin"))
        refused = refused or websocket.upgrade_problem(head)
        if refused is not None:
            status, problem = refused
            headers = http_head.UPGRADE_HEADERS if status == HTTPStatus.UPGRADE_REQUIRED else {}
            self.handle(Event.DISMISS, http_head.response(status, problem, headers))
            return False
        authorization = head.headers.get("authorization")
        if authorization is not None:  # browsers send it every time; others send the token in a message
            try:
                self.known_identity = self.factory.site.identity_of(authorization, self.transport)
            except TokenRefused as error:
                self.handle(Event.DELAY, error)
                return False
        self.write_now(websocket.upgrade_response(head))
        self.reader.upgrade(head)
        return True

    def speak_http(self, head: Head) -> None:
        """Let the site answer this connection's requests; it has its own timeout."""
        self.setTimeout(None)
        del self.transport.bufferSize  # the site needs no limit of one AMP value
        self.channel = self.factory.site.channel(head, self)
        self.channel.count = self._count_request
        self.channel.read_pending = self.read_pending
        self.channel.dismiss = lambda reply: self.handle(Event.DISMISS, reply)
        self.channel.makeConnection(self.transport)
        received = bytes(self.reader.received)
        self.reader.received.clear()
        self.channel.dataReceived(received)

    def hold_session(self, holds: bool) -> None:
        """Stop counting the connection as one without a session while one is played for it; called by its channel."""
        if holds:
            self.factory.limit.remove(self)
        else:
            self.count()

    def _count_request(self, is_answered: bool) -> None:
        """Count the connection either as being answered, or as waiting for a request."""
        limits = [self.factory.limit, self.factory.request_limit]
        if self.state is State.HTTP:
            limits[not is_answered].remove(self)
            limits[is_answered].add(self, network_of(self.client))

    def read_http(self, data: bytes) -> None:
        """Pass more data to the site."""
        self.channel.dataReceived(data)

    def dismiss_http(self, reply: bytes) -> None:
        """Send a last response after those already on their way, and close the connection."""
        self.factory.request_limit.remove(self)
        self.transport.write(reply)
        self.close(b"")

    def stop_http(self, reason: str) -> None:
        """End an HTTP connection at once."""
        self.channel.stop(reason)

    def drain(self) -> None:
        """If this is an HTTP connection, close it once pending responses are sent: the server is stopping."""
        if self.state is State.HTTP:
            self.channel.finish()

    def delay(self, error: TokenRefused) -> None:
        """Delay the refusal of a client's token, longer each time, so that it cannot try many."""
        self._refusal = error
        self.setTimeout(self.factory.token_delays.next(network_of(self.client)))

    def refuse_delayed(self) -> None:
        """Refuse the token."""
        assert self._refusal is not None
        self.refuse(self._refusal)

    def wait(self) -> None:
        """Wait in the queue."""
        assert self.handshake is not None
        self.factory.limit.remove(self)
        lack = self.factory.admission.lack(self.environment)
        self.factory.events.publish(Queued(self.client, self.environment, lack))

    def moved(self, place: int) -> None:
        """Tell the client its place in the queue if it asked for that; called by the admission."""
        if self.state is not State.QUEUED or self.handshake is None or not self.handshake.report_queue:
            return
        if place == self._place:
            return
        self._place = place
        message = queue_reply(self.handshake.protocol, place)
        if relay.can_be_handed_over(self.transport):
            # At once or not at all: a worker may write next. A client that does not read loses only this message.
            with contextlib.suppress(OSError):
                message = message[self.transport.socket.send(message) :]
                self.transport.write(message)
        else:
            self.transport.write(message)

    def keep(self, data: bytes) -> None:
        """Keep data after the handshake for the worker."""
        self.reader.received += data
        if self.reader.speaks_websocket:
            websocket.answer_pings(self.reader.received, 0, len(self.reader.received), self.write_now)
        if len(self.reader.received) >= 2 * _READ_SIZE:
            # The rest stays in the kernel's buffers, and so does the end of the stream.
            self.transport.pauseProducing()
            self.setTimeout(_QUEUE_INTERVAL)

    def watch_paused(self) -> None:
        """Close the connection if its client has left the queue, which no read would show while reading is paused."""
        if keepalive.has_left(self.client_socket):
            self.abort()
        else:
            self.setTimeout(_QUEUE_INTERVAL)

    def refuse(self, error: GymtwistError, http_status: int | None = None) -> None:
        """Send an error, and close the connection."""
        self.factory.events.publish(Refused(self.client, error))
        if self.handshake is None:
            protocol = self.reader.protocol()
        else:
            protocol, error.warnings = self.handshake.protocol, self.handshake.warnings
        if self.reader.speaks_websocket:
            reply = b"" if protocol is None or isinstance(error, WebSocketError) else error_reply(protocol, error)
            self.close(reply + websocket.close_frame(websocket.close_code(error), str(error)))
        else:
            self.close(error_reply(protocol, error, http_status=http_status))

    def refuse_dropped(self) -> None:
        """Refuse the client without waiting until it has read the reason: the server needs the descriptor."""
        self.refuse(ServerFull(TOO_MANY_CONNECTIONS))
        self.factory.limit.remove(self)
        if relay.can_be_handed_over(self.transport):
            self.transport.loseConnection()
        else:
            self.abort()

    def refuse_slow(self) -> None:
        """Refuse a client whose handshake did not arrive in time."""
        timeout = self.factory.options.opening_timeout
        self.refuse(HandshakeError(f"no handshake came within {timeout:g} s; send it as soon as you connect"), 408)

    # The end

    def close_silently(self, reason: str) -> None:
        """Close the connection without an error: the server is stopping."""
        self.close(self._farewell(reason))

    def _farewell(self, reason: str) -> bytes:
        """Encode the last message to a client when the server stops."""
        return websocket.close_frame(CloseCode.GOING_AWAY, reason) if self.reader.speaks_websocket else b""

    def close_queued(self, reason: str) -> None:
        """Leave the queue, and close the connection."""
        self.factory.admission.leave_queue(self)
        self.close(self._farewell(reason))

    def close(self, final_reply: bytes) -> None:
        """Send the final reply and close, without a TCP reset, which would discard the reply."""
        self.setTimeout(_LINGER)
        self.count()
        if self.client_socket is not None:
            # The connection may have been handed to a worker that made the socket blocking.
            self.client_socket.setblocking(False)
        if final_reply:
            self.write_now(final_reply)
        self.transport.resumeProducing()
        if relay.can_be_handed_over(self.transport):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def write_now(self, data: bytes) -> None:
        """Write at once: a worker may write next, and Twisted may drop a client that has closed its sending side."""
        written = 0
        if relay.can_be_handed_over(self.transport):
            with contextlib.suppress(OSError):  # the client has left, or is not reading
                written = self.transport.socket.send(data)
        self.transport.write(data[written:])

    def abort(self, reason: str = "") -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def forget(self, reason: Failure | bytes = b"") -> None:
        """Forget the closed connection."""
        self.setTimeout(None)
        if self.channel is not None:
            channel, self.channel = self.channel, None  # break the reference cycle
            channel.connectionLost(reason if isinstance(reason, Failure) else connectionDone)
        self.factory.limit.remove(self)
        self.factory.request_limit.remove(self)
        self.reader.release()
        self.factory.connection_closed(self)

    def forget_incomplete(self, reason: Failure) -> None:
        """Forget a connection that ended before its handshake was complete."""
        received = bytes(self.reader.received.strip(b"\r\n"))
        self.forget()
        if type(reason.value).__module__.partition(".")[0] == "OpenSSL":
            problem = f"the TLS handshake failed ({_tls_problem(reason.value)})"
        elif not reason.check(ConnectionClosed):
            problem = f"an error in gymtwist itself: {type(reason.value).__name__}"
        elif received:
            problem = f"it left after {counted(len(received), 'byte')}, {received[:_MOST_SHOWN]!r}"
        else:
            return  # such as a load balancer that checks the port
        self.factory.events.publish(Incomplete(self.client, problem))

    def forget_queued(self, reason: Failure) -> None:
        """Forget a connection that has left the queue."""
        self.factory.admission.leave_queue(self)
        self.forget()


def _tls_problem(error: Any) -> str:
    """Return OpenSSL's reasons for an error, which are (library, function, reason) triples."""
    reasons = [each[-1] for arguments in error.args for each in arguments if each]
    return ", ".join(map(str, reasons)) or type(error).__name__
