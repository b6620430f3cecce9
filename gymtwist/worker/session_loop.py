"""The loop of a session: receive a request, call its handler, send the reply. An adapter supplies the protocol."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gymtwist.errors import EnvironmentFault, GymtwistError, NoEnvironment, ProtocolError, RequestError
from gymtwist.protocol.framing import ProtocolName
from gymtwist.worker.classic_adapter import ClassicAdapter
from gymtwist.worker.framed_adapter import FramedAdapter
from gymtwist.worker.guarded_call import print_traceback
from gymtwist.worker.session_channel import SessionChannel
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.transports import Transport
from gymtwist.worker.worker_settings import WorkerSettings

CLIENT_LEFT = "the client left"
#: The maximum length of a reason in characters; tracebacks are in the log anyway.
_REASON_LENGTH = 1000
_INTERNAL_ERROR = "an error in gymtwist itself, of which the server's log has more; the connection is closed"


class Adapter(Protocol):
    """A protocol, as seen by the loop."""

    @property
    def transport(self) -> Transport:
        """The transport of requests and replies; a handler may replace it."""

    @property
    def decode(self) -> Callable[[Any], Any] | None:
        """Decodes what the transport receives; None if the transport returns requests. A handler may replace it."""

    @property
    def handlers(self) -> Mapping[type, Callable[[Any], Any]]:
        """The handler of each type of request: it returns the reply, or None if it sent the reply itself."""

    @property
    def send(self) -> Callable[[Any], None]:
        """Sends a reply."""

    def open(self, handshake: bytes, trailing_data: bytes) -> None:
        """Make the environment that the handshake names, and answer the handshake."""

    def resume(self, recovery_reply: bytes, trailing_data: bytes) -> None:
        """Resume the session of a process that has died, and answer its last request."""

    def refuse(self, error: RequestError | EnvironmentFault) -> None:
        """Answer a request with an error; raise the error if the protocol cannot."""

    def final_reply(self, error: GymtwistError) -> None:
        """Send the client the error that ends the session, if the protocol can."""

    def close(self) -> None:
        """Close the environment, and release the session's resources."""


def serve(
    protocol: str,
    connection: socket.socket,
    handshake: bytes,
    trailing_data: bytes,
    settings: WorkerSettings,
    status: SessionStatus,
    recovery_reply: bytes = b"",
    channel: SessionChannel | None = None,
) -> str:
    """Serve a connection until it ends.

    Args:
        protocol: The value of a :class:`~gymtwist.protocol.framing.ProtocolName`.
        connection: The client's socket, in blocking mode; it is closed here, not shut down.
        handshake: The bytes of the handshake.
        trailing_data: The bytes received after the handshake.
        settings: The operator's options.
        status: The session's status.
        recovery_reply: The first reply of a session that is resumed after its process has died; otherwise empty.
        channel: Hands over a new connection when this one is lost; None if the session then ends.

    Returns:
        Why the session ended, as a clause for the log.

    Raises:
        ValueError: There is no such protocol.
    """
    name = ProtocolName(protocol)
    adapter: Adapter = (
        ClassicAdapter(connection, settings, status)
        if name is ProtocolName.CLASSIC
        else FramedAdapter(name, connection, settings, status, channel)
    )

    def begin() -> None:
        if recovery_reply:
            adapter.resume(recovery_reply, trailing_data)
        else:
            # From now on the server watches this process.
            status.begin(Operation.MAKE)
            adapter.open(handshake, trailing_data)

    reason = run(adapter, begin)
    connection.close()
    return reason


def run(adapter: Adapter, begin: Callable[[], None]) -> str:
    """Serve a connection until it ends; an exception that is not an ``Exception`` passes through without cleanup.

    Args:
        adapter: The adapter of its protocol.
        begin: Answers the handshake.

    Returns:
        Why the session ended, as a clause for the log.
    """
    try:
        begin()
        reason = _loop(adapter)
    except OSError as error:
        reason = _reason_of(error)
    except Exception as error:
        with contextlib.suppress(OSError):
            adapter.final_reply(error if isinstance(error, GymtwistError) else GymtwistError(_INTERNAL_ERROR))
        reason = _reason_of(error)
    adapter.close()
    # An environment's message may contain surrogates, which UTF-8 cannot encode.
    return reason.encode("utf-8", "replace").decode()


def _loop(adapter: Adapter) -> str:
    handlers, send = adapter.handlers, adapter.send
    while True:
        message = adapter.transport.receive()
        if message is None:
            return CLIENT_LEFT
        try:
            request = message if adapter.decode is None else adapter.decode(message)
            reply = handlers[type(request)](request)
            if reply is not None:
                send(reply)
        except (RequestError, EnvironmentFault) as error:
            adapter.refuse(error)


def _reason_of(error: Exception) -> str:
    """Return why an error ended a session, as a clause; log internal errors."""
    if isinstance(error, ConnectionError):
        return CLIENT_LEFT
    if isinstance(error, OSError):  # such as a failed TCP keepalive; an environment's own errors become faults
        return f"the client vanished ({error.strerror})"
    if isinstance(error, (ProtocolError, NoEnvironment)):
        return f"the client broke the protocol: {error}"[:_REASON_LENGTH]
    if isinstance(error, GymtwistError):
        return str(error)[:_REASON_LENGTH]
    print_traceback(error)
    return f"an error in gymtwist itself: {type(error).__name__}: {error}"[:_REASON_LENGTH]
