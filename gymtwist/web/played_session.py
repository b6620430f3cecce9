"""A session that the server plays itself: an asynchronous client of the framed protocol.

It has one end of a socket pair. The other end is a connection like any other: it is admitted, handed to a worker,
watched, logged and counted, and its session survives a crash of the worker. Interfaces other than our protocols are
translated into requests here; environments are never run in any other way.
"""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
from twisted.internet import defer
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import GymtwistError, InvalidField, ProtocolError, ServerFull
from gymtwist.protocol import all_messages, make_messages, messages
from gymtwist.protocol.codec import MessageCodec, tag_of
from gymtwist.protocol.framing import FrameReader, ProtocolName
from gymtwist.server.gym_factory import TOO_MANY_CONNECTIONS, GymFactory
from gymtwist.server.identities import EVERYBODY, Identity

#: The maximum size of a reply, in bytes: a worker taken over by its environment must not fill the server's memory.
MAX_REPLY = 128 * 1024 * 1024

#: Shared, since codecs keep no state.
_CODECS = {name: MessageCodec(name) for name in (ProtocolName.NETSTRING, ProtocolName.INT32)}

#: The errors of a make request whose render mode the environment does not support.
_REFUSED_MODE = frozenset(("invalid-field", "unknown-kwarg"))

_Reply = TypeVar("_Reply", bound=messages.Message)
_Decoded = TypeVar("_Decoded")
#: Decodes the payload of a reply, which is valid only during the call.
Decode: TypeAlias = Callable[[memoryview], _Decoded]


class RequestFailed(GymtwistError):
    """The reply to a request is an error; the session continues if the fault is the request's or the environment's.

    Args:
        error: The reply.

    Attributes:
        error: The reply.
    """

    def __init__(self, error: messages.Error) -> None:
        super().__init__(error.message)
        self.error = error


class SessionEnded(GymtwistError):
    """The session has ended, so there is no reply to the request."""

    code = "session-ended"


class PlayedSession(FileDescriptor):
    """A session with one environment, played by the server.

    Requests are sent at once, and answered in order.

    Args:
        reactor: The reactor.
        end: A non-blocking socket, whose other end a worker serves.
        protocol: The framed protocol to speak.

    Attributes:
        made: The reply to :meth:`make`.
        codec: Encodes requests and decodes replies.
        ended: A Deferred that fires with the reason when the session has ended.
    """

    made: make_messages.Made

    def __init__(self, reactor: Any, end: socket.socket, protocol: ProtocolName) -> None:
        super().__init__(reactor)
        self.codec = _CODECS[protocol]
        self.ended: defer.Deferred[str] = defer.Deferred()
        self._socket = end
        self._reader = FrameReader(self.codec.framing, limit=MAX_REPLY)
        self._expected: collections.deque[tuple[defer.Deferred[Any], Decode[Any]]] = collections.deque()
        self._reason = ""
        self.connected = 1
        self.startReading()

    @property
    def has_ended(self) -> bool:
        """Whether the session has ended."""
        return self.disconnected != 0

    # Requests

    def make(self, request: make_messages.Make) -> defer.Deferred[make_messages.Made]:
        """Make the environment, and keep its description."""

        def keep(made: make_messages.Made) -> make_messages.Made:
            self.made = made
            return made

        return self.ask(request, make_messages.Made).addCallback(keep)

    def make_visible(self, request: make_messages.Make) -> defer.Deferred[make_messages.Made]:
        """Make the environment with RGB frames if it can render them, otherwise without rendering."""

        def without(failure: Failure) -> defer.Deferred[make_messages.Made]:
            failed = failure.value
            if isinstance(failed, RequestFailed) and failed.error.code in _REFUSED_MODE:
                return self.make(request)  # an error about something else will occur again
            return defer.fail(failure)

        visible = msgspec.structs.replace(request, render_mode="rgb_array")
        return self.make(visible).addErrback(without)

    def ask(self, request: all_messages.Request, kind: type[_Reply]) -> defer.Deferred[_Reply]:
        """Send a request.

        Args:
            request: The request.
            kind: The type of the reply.

        Returns:
            A Deferred that fires with the reply; it fails with :class:`RequestFailed`, :class:`SessionEnded`, or
                another :class:`~gymtwist.errors.GymtwistError` if no message can carry the request.
        """

        def decode(payload: memoryview) -> _Reply:
            reply = self.codec.decode_reply(payload)
            if isinstance(reply, messages.Error):
                raise RequestFailed(reply)
            if not isinstance(reply, kind):
                raise ProtocolError(f'the reply to {tag_of(request)} is a "{tag_of(reply)}"')
            return reply

        try:
            frame = b"".join(self.codec.encode_request(request))
        except GymtwistError:
            return defer.fail()
        except (TypeError, ValueError, OverflowError) as error:
            return defer.fail(InvalidField(f"no message can carry what {tag_of(request)} was given: {error}"))
        return self.send(frame, decode)

    def send(self, frame: bytes, decode: Decode[_Decoded]) -> defer.Deferred[_Decoded]:
        """Send the frame of a request.

        Args:
            frame: The frame.
            decode: Decodes the reply.

        Returns:
            A Deferred that fires with the result of ``decode``; it fails with :class:`SessionEnded`, or with what
                ``decode`` raised.
        """
        if self.disconnected or self.disconnecting:
            return defer.fail(SessionEnded(self._reason or "the session has ended"))
        answer: defer.Deferred[_Decoded] = defer.Deferred()
        self._expected.append((answer, decode))
        # At once: the reactor would wait for its next iteration.
        sent = 0 if self.dataBuffer or self._tempDataBuffer else self.writeSomeData(frame)
        if isinstance(sent, int) and sent < len(frame):
            self.write(frame[sent:])
        return answer

    def close(self) -> defer.Deferred[None]:
        """Close the environment; return a Deferred that fires when the session has ended, in whatever way."""
        closed = self.ask(messages.Close(), messages.Closed)
        closed.addErrback(lambda failure: failure.trap(GymtwistError))
        return closed.addCallback(lambda _: self.abort("the environment was closed"))

    def abort(self, reason: str = "the client left") -> None:
        """End the session: the worker closes the environment when it reads end-of-file."""
        if not self.disconnected:
            self._reason = self._reason or reason
            self.connectionLost(Failure(CONNECTION_DONE))

    # The socket

    def fileno(self) -> int:
        """Return the descriptor; called by the reactor."""
        return self._socket.fileno()

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Write as much as the socket takes; called by Twisted."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return CONNECTION_LOST

    def doRead(self) -> Exception | None:
        """Receive replies; called by the reactor."""
        try:
            count = self._reader.fill(self._socket.recv_into)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not count:
            return CONNECTION_DONE
        try:
            while not self.disconnected and (payload := self._reader.next_frame()) is not None:
                self._received(payload)
        except ProtocolError as error:
            self._reason = f"its worker has sent no frame: {error}"
            return CONNECTION_LOST
        return None

    def _received(self, payload: memoryview) -> None:
        if not self._expected:  # the reason why the session ends
            reply = self.codec.decode_reply(payload)
            self._reason = reply.message if isinstance(reply, messages.Error) else ""
            return
        answer, decode = self._expected.popleft()
        try:
            reply = decode(payload)
        except RequestFailed as error:
            if error.error.fault in ("protocol", "server"):
                self._reason = error.error.message
            answer.errback(error)
        except Exception as error:  # a worker taken over by its environment may send anything
            self._reason = f"the reply of its worker is not as the protocol says: {error!s:.{MOST_SHOWN}}"
            answer.errback(SessionEnded(self._reason))
            self.abort()
        else:
            answer.callback(reply)

    def connectionLost(self, reason: Failure) -> None:
        """End the session; called by the reactor."""
        if self.disconnected:
            return
        super().connectionLost(reason)
        self._socket.close()
        reason_text = self._reason = self._reason or "the session has ended"
        expected, self._expected = self._expected, collections.deque()
        self.ended.callback(reason_text)
        for answer, _ in expected:
            answer.errback(SessionEnded(reason_text))


class _One(Factory):
    """Returns an existing connection; Twisted's own factories would set themselves as the connection's factory."""

    noisy = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def buildProtocol(self, addr: Any) -> Any:
        """Return the connection."""
        return self._connection


def open_session(
    factory: GymFactory,
    client: str,
    protocol: ProtocolName,
    identity: Identity = EVERYBODY,
    interface: str = "",
) -> PlayedSession:
    """Open a session, which begins with :meth:`PlayedSession.make`.

    Args:
        factory: The factory of connections.
        client: The address of the client it is played for, for the log and the limits.
        protocol: The framed protocol to speak.
        identity: The identity of that client.
        interface: The interface that the client uses, for the log and the metrics.

    Raises:
        ServerFull: There are too many connections without a session.
        OSError: There are no descriptors left.
    """
    connection = factory.buildProtocol(UNIXAddress(None))
    if connection is None:
        raise ServerFull(TOO_MANY_CONNECTIONS)
    connection.client, connection.known_identity, connection.interface = client, identity, interface
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        ours.setblocking(False)
        factory.reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, _One(connection))
    return PlayedSession(factory.reactor, ours, protocol)
