"""One connection, from accept to end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from gymtwist.errors import GymtwistError, HandshakeError, WorkerStartError
from gymtwist.protocol.handshake import Handshake, error_reply
from gymtwist.server import keepalive, relay
from gymtwist.server.connection_states import MOVES, State
from gymtwist.server.handshake_reader import HandshakeReader
from gymtwist.server.peer import can_be_handed_over, name_of
from gymtwist.server.server_log import log, printable
from gymtwist.server.server_session import Session
from gymtwist.server.watchdog import Action

if TYPE_CHECKING:
    from gymtwist.server.gym_service import GymService


#: Bytes read at a time before the hand-over; what comes behind an opening must fit one value of AMP (65,535).
_READ_SIZE = 16 * 1024
#: Seconds a child has to close its environment once its client is hung up on; then it is killed.
CLOSE_TIMEOUT = 30.0
#: Seconds a client has to read the last words and to close; then the connection is aborted.
_LINGER = 5.0


class GymProtocol(Protocol, TimeoutMixin):
    """Reads a connection's opening, has it admitted, hands it to a child and watches over it to the end.

    Args:
        service: The server that the connection came to.

    Attributes:
        client: Who it is, for the log.
    """

    transport: Any  # those of TCP, of UNIX sockets and of TLS have more in common than Twisted's interface says

    def __init__(self, service: GymService) -> None:
        self._service = service
        self._state = State.OPENING
        self._openings = HandshakeReader(service.allowed)
        self._handshake: Handshake | None = None
        self._session: Session | None = None
        self._relay: relay.Relay | None = None
        self._final_reply = b""
        self.client = "?"

    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        """Let ``TimeoutMixin`` use the server's reactor, not the global one."""
        return self._service.reactor.callLater(period, func)

    def _move(self, state: State) -> None:
        if state not in MOVES[self._state]:
            raise AssertionError(f"a connection cannot go from {self._state.name} to {state.name}")
        self._state = state

    # Accept: the opening

    def connectionMade(self) -> None:
        """Begin to read the opening."""
        transport = self.transport
        self.client = name_of(transport.getPeer())
        transport.bufferSize = _READ_SIZE
        keepalive.set_options(getattr(transport, "socket", None), self._service.options.keepalive)
        self._service.connections.add(self)
        self.setTimeout(self._service.options.opening_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Read the opening, keep what comes behind it, or relay."""
        if self._relay is not None:
            self._relay.write(data)
        elif self._state in (State.OPENING, State.WAITING):
            self._openings.received += data
            if self._state is State.OPENING:
                self._read_handshake()
            elif len(self._openings.received) >= 2 * _READ_SIZE:
                # What comes while there is no room stays in the client's own buffers, but for these few reads: they let
                # the end of a client be noticed that sent its first commands and left.
                self.transport.pauseProducing()

    def _read_handshake(self) -> None:
        while self._state is State.OPENING and self._handshake is None and not self.transport.disconnecting:
            found = self._openings.next()
            if found is None:
                return
            if isinstance(found, Handshake):
                self._enter(found)
            elif found.is_final:
                self.refused(found.error)
            else:
                self._log_refusal(found.error)
                self._write_now(found.reply)

    def _write_now(self, data: bytes) -> None:
        """Write at once: a child may have its turn next, and a client that sends no more may be taken for gone."""
        transport = self.transport
        written = 0
        if can_be_handed_over(transport):
            with contextlib.suppress(OSError):  # it has gone, or reads nothing
                written = transport.socket.send(data)
        transport.write(data[written:])

    def _enter(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self.setTimeout(None)
        try:
            self._service.admission.enter(self)
        except GymtwistError as refusal:
            self.refused(refusal)
        if self._state is State.OPENING:
            self._move(State.WAITING)
            asked = printable(handshake.environment)
            log.info("[session -] {client} waits for room to have {asked}", client=self.client, asked=asked)

    def refused(self, error: GymtwistError) -> None:
        """Tell the client that there is no session for it, and close."""
        self._log_refusal(error)
        protocol = self._openings.protocol() if self._handshake is None else self._handshake.protocol
        self._close(error_reply(protocol, error))

    def _log_refusal(self, error: GymtwistError) -> None:
        log.info("[session -] refused {client}: {reason}", client=self.client, reason=printable(str(error)))

    # Hand over

    def admitted(self) -> None:
        """Hand the connection to a child; there is room for it."""
        assert self._handshake is not None
        self._move(State.SERVING)
        transport = self.transport
        trailing_data = bytes(self._openings.received)
        self._openings.received.clear()
        try:
            self._session = Session(self._service, self._handshake, self.client)
            if not can_be_handed_over(transport):
                self._relay, its = relay.start(self._service.reactor, transport, self._relay_ended)
        except OSError as error:
            self._cannot_serve(error)
            return
        if self._relay is None:
            transport.pauseProducing()
            self._session.start(transport.fileno(), trailing_data, self._ended, self._resumed, shared=True)
        else:
            transport.resumeProducing()
            self._relay.write(trailing_data)
            self._session.start(its.detach(), b"", self._ended, self._resumed, shared=False)
        if self._state is State.SERVING:
            self._watch()

    def _cannot_serve(self, error: OSError) -> None:
        """Give the place back: the server has no descriptors left, or no memory."""
        if self._session is not None:
            self._session.discard()
        # Not at once: whoever is admitted next may fare no better.
        self._service.reactor.callLater(0, self._service.admission.session_ended)
        self.refused(WorkerStartError(f"the server cannot begin a session now: {error.strerror}; try again later"))

    # Watch

    def timeoutConnection(self) -> None:
        """Do what is due now; ``TimeoutMixin`` calls this."""
        if self._state is State.OPENING:
            timeout = self._service.options.opening_timeout
            self.refused(HandshakeError(f"no opening came within {timeout:g} s; send it as soon as you connect"))
        elif self._state in (State.SERVING, State.GONE):
            self._watch()
        elif self._state is State.ENDING:
            self._kill()
        elif self._state is State.FLUSHING and self._relay is not None:
            self._relay.abort()
        elif self._state is State.CLOSING:
            self.transport.abortConnection()

    def _watch(self) -> None:
        assert self._session is not None
        verdict = self._service.watch.look(self._session.status, time.monotonic(), self._session.handed_over)
        keepalive_time = self._service.options.keepalive
        if verdict.fate is Action.GOES_ON and self._state is State.SERVING and self._has_vanished(keepalive_time):
            self.end("the client vanished (what was sent to it is not acknowledged)")
        elif verdict.fate is Action.GOES_ON:
            times = [each for each in (verdict.look_again, keepalive_time / 4) if each]
            self.setTimeout(min(times, default=None))
        elif verdict.fate is Action.IDLE and self._state is State.SERVING:
            self.end(verdict.reason)
        elif self._state is State.SERVING and self._session.can_be_resumed:
            self._session.overdue = verdict.reason
            self._kill()
        else:
            self._session.reason = verdict.reason
            if self._state is State.SERVING:
                self._move(State.ENDING)
            self._kill()

    def _resumed(self) -> None:
        """Another child goes on with the session: watch it from its beginning."""
        if self._state in (State.SERVING, State.GONE):
            self._watch()

    def _has_vanished(self, keepalive_time: float) -> bool:
        return keepalive.has_vanished(getattr(self.transport, "socket", None), keepalive_time)

    def _kill(self) -> None:
        assert self._session is not None
        self._session.kill()
        # A process in the kernel's hands may take its time to die; ask again.
        self.setTimeout(CLOSE_TIMEOUT)

    def end(self, reason: str) -> None:
        """Hang up on the client, so that the child reads the end of the stream and closes the environment.

        Args:
            reason: Why, for the log.
        """
        if self._state in (State.OPENING, State.WAITING):
            self._close(b"")
        elif self._state is State.SERVING:
            assert self._session is not None
            self._session.reason = reason
            self._move(State.ENDING)
            self.setTimeout(CLOSE_TIMEOUT)
            if self._relay is not None:
                self._relay.abort()
            else:
                with contextlib.suppress(OSError):  # the client may have gone already
                    self.transport.socket.shutdown(socket.SHUT_RDWR)

    # End

    def _ended(self, final_reply: bytes) -> None:
        """The child has finished with the connection; the client may have to be told why."""
        self._service.admission.session_ended()
        if self._state is State.GONE:
            if self._relay is not None:
                self._relay.abort()
            self._finish()
        elif self._relay is not None and not self._relay.closed:
            # What the child has sent may still lie in the socket pair; behind it the relay finds the end.
            self._move(State.FLUSHING)
            self._final_reply = final_reply
            self.setTimeout(CLOSE_TIMEOUT)
        else:
            self._close(final_reply)

    def _relay_ended(self) -> None:
        if self._state is State.FLUSHING:
            self._close(self._final_reply)

    def _close(self, final_reply: bytes) -> None:
        """Send the last words and close, without a reset that would take them away from the client."""
        transport = self.transport
        if self._state is State.WAITING:
            self._service.admission.leave_queue(self)
        self._relay = None
        self._move(State.CLOSING)
        self.setTimeout(_LINGER)
        if getattr(transport, "socket", None) is not None:
            # A child may have had the connection, and made it blocking.
            transport.socket.setblocking(False)
        if final_reply:
            self._write_now(final_reply)
        transport.resumeProducing()
        if can_be_handed_over(transport):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the connection is closed, by whichever side."""
        if self._state is State.WAITING:
            self._service.admission.leave_queue(self)
        if self._state in (State.SERVING, State.ENDING) and self._relay is not None:
            self._move(State.GONE)
            # As with any connection that is lost: what the child has not read yet is not waited for.
            self._relay.abort()
            return
        flushing = self._state is State.FLUSHING
        self._finish()
        if flushing and self._relay is not None:
            self._relay.abort()

    def _finish(self) -> None:
        self._move(State.CLOSED)
        self.setTimeout(None)
        self._service.connection_closed(self)
