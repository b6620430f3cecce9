"""The options of a client's socket: no delay, and noticing a client that vanished without a word."""

from __future__ import annotations

import socket

#: How many probes go unanswered before a client counts as vanished.
_PROBES = 4


def set_options(connection: socket.socket | None, keepalive: float) -> None:
    """Set the options of a TCP connection; any other has none of them.

    Args:
        connection: The client's socket.
        keepalive: Seconds after which a client is given up that neither sends nor acknowledges; 0 for never.
    """
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not keepalive:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Half of the time in silence, the other half in probes; the kernel counts whole seconds.
    idle = max(1, round(keepalive / 2))
    interval = max(1, round(keepalive / 2 / _PROBES))
    for name, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # milliseconds that sent data may go unacknowledged (Linux)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * keepalive)))
