"""Detects clients that close their connection, and clients that vanish because their machine or network went down.

While nothing is in flight, the kernel's TCP keepalive detects the latter. It sends no probes while sent data is
unacknowledged; by default, the kernel then retransmits for a quarter of an hour. ``TCP_USER_TIMEOUT`` would shorten
that, but also drops a client that is alive but not reading. So the server checks ``TCP_INFO`` instead.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TypeGuard

#: Unanswered keepalive probes after which a client counts as vanished.
_PROBES = 4
#: Unanswered zero-window probes after which it does; a live client answers each.
_WINDOW_PROBES = 3
#: Seconds; the kernel's retransmission timeout doubles with each attempt, up to 120 s.
_LONGEST_RTO = 100.0
# struct tcp_info of <linux/tcp.h>: the number of probes, the retransmission timeout (in microseconds), the number of
# unacknowledged segments, and the time since the last acknowledgement (in milliseconds).
_TCP_INFO = struct.Struct("=3xB4xI12xI28xI")

# Also from struct tcp_info: the bytes that the other end has acknowledged, and the bytes that it has sent.
_TCP_BYTES = struct.Struct("=120xQQ")


def set_options(connection: socket.socket | None, keepalive: float) -> None:
    """Set the options of a TCP connection; do nothing for other sockets.

    Args:
        connection: The client's socket.
        keepalive: Seconds after which a vanished client is detected; 0 for never.
    """
    if not _is_tcp(connection):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not keepalive:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Half the time is silence, the other half probes; the kernel counts in whole seconds.
    idle = max(1, round(keepalive / 2))
    interval = max(1, round(keepalive / 2 / _PROBES))
    for name, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def has_vanished(connection: socket.socket | None, keepalive: float) -> bool:
    """Return whether a client has left data unacknowledged for too long.

    Args:
        connection: The client's socket.
        keepalive: How long is too long, in seconds; 0 for never.
    """
    if not keepalive or not _is_tcp(connection) or not hasattr(socket, "TCP_INFO"):
        return False
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return False
    probes: int
    probes, timeout, unacknowledged, last = _TCP_INFO.unpack(info)
    if last < 1000 * keepalive / 2:
        return False
    # The timeout doubles with each attempt, so it is about the sum of all earlier timeouts.
    if unacknowledged and timeout / 1e6 >= min(keepalive / 2, _LONGEST_RTO):
        return True
    return probes >= _WINDOW_PROBES


def bytes_exchanged(connection: socket.socket | None) -> tuple[int, int]:
    """Return how many bytes a client has received and sent; 0 where the kernel does not count them."""
    if not _is_tcp(connection) or not hasattr(socket, "TCP_INFO"):
        return 0, 0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_BYTES.size)
    except OSError:  # it is closed
        return 0, 0
    return _TCP_BYTES.unpack(info) if len(info) == _TCP_BYTES.size else (0, 0)


def has_left(connection: socket.socket | None) -> bool:
    """Return whether a client has closed its connection, or only its sending side: the two cannot be told apart."""
    if connection is None or not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def _is_tcp(connection: socket.socket | None) -> TypeGuard[socket.socket]:
    return connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6)
