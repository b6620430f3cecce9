"""Sessions of every protocol: a connection in, a summary out."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from gymtwist.protocol.handshake import ProtocolName
from gymtwist.worker import classic_session, framed_session
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.session_summary import Summary
from gymtwist.worker.worker_settings import WorkerSettings

_SESSIONS: dict[ProtocolName, Any] = {
    ProtocolName.CLASSIC: classic_session.ClassicSession,
    ProtocolName.NETSTRING: partial(framed_session.FramedSession, ProtocolName.NETSTRING),
    ProtocolName.INT32: partial(framed_session.FramedSession, ProtocolName.INT32),
}


def serve(
    protocol: str,
    connection: socket.socket,
    handshake: bytes,
    trailing_data: bytes,
    settings: WorkerSettings,
    status: SessionStatus,
    recovery_reply: bytes = b"",
) -> Summary:
    """Serve a connection to its end.

    Args:
        protocol: The value of a :class:`~gymtwist.protocol.handshake.ProtocolName`.
        connection: The client's socket, in blocking mode; it is closed here, not shut down.
        handshake: The bytes of the opening.
        trailing_data: What came behind it.
        settings: The operator's options.
        status: Where to show how the session is doing.
        recovery_reply: Where a session is gone on with whose process has died: what the client gets first.

    Returns:
        What is told of it to the server.

    Raises:
        ValueError: There is no such protocol.
    """
    session = _SESSIONS[ProtocolName(protocol)](connection, handshake, trailing_data, settings, status)
    with connection:
        reason = session.resume(recovery_reply) if recovery_reply else session.run()
    # An environment's message may have characters that no UTF-8 has.
    reason = reason.encode("utf-8", "replace").decode()
    return Summary(reason, status.steps, status.episodes)
