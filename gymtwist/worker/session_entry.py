"""Sessions of every protocol: a connection in, a summary out."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from gymtwist.protocol.handshake import ProtocolName
from gymtwist.worker import classic_session, framed_session
from gymtwist.worker.session_status import Vitals
from gymtwist.worker.session_summary import Summary
from gymtwist.worker.worker_settings import ChildSettings

_SESSIONS: dict[ProtocolName, Any] = {
    ProtocolName.CLASSIC: classic_session.ClassicSession,
    ProtocolName.NETSTRING: partial(framed_session.FramedSession, ProtocolName.NETSTRING),
    ProtocolName.INT32: partial(framed_session.FramedSession, ProtocolName.INT32),
}


def serve(
    protocol: str,
    connection: socket.socket,
    opening: bytes,
    surplus: bytes,
    settings: ChildSettings,
    vitals: Vitals,
    greeting: bytes = b"",
) -> Summary:
    """Serve a connection to its end.

    Args:
        protocol: The value of a :class:`~gymtwist.protocol.handshake.ProtocolName`.
        connection: The client's socket, in blocking mode; it is closed here, not shut down.
        opening: The bytes of the opening.
        surplus: What came behind it.
        settings: The operator's options.
        vitals: Where to show how the session is doing.
        greeting: Where a session is gone on with whose process has died: what the client gets first.

    Returns:
        What is told of it to the server.

    Raises:
        ValueError: There is no such protocol.
    """
    session = _SESSIONS[ProtocolName(protocol)](connection, opening, surplus, settings, vitals)
    with connection:
        reason = session.take_over(greeting) if greeting else session.run()
    # An environment's message may have characters that no UTF-8 has.
    reason = reason.encode("utf-8", "replace").decode()
    return Summary(reason, vitals.steps, vitals.episodes)
