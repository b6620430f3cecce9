"""Clients that vanish without a word: their machine or the network went down, and no end of the stream ever comes.

While nothing is under way the kernel's TCP keepalive notices. It is silent while sent data waits to be acknowledged;
the kernel then tries for a quarter of an hour by default. ``TCP_USER_TIMEOUT`` would cut that short, but it also
takes a client that is alive and just does not read for a vanished one. So the server looks at ``TCP_INFO`` instead.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeGuard

#: How many probes of the kernel's keepalive go unanswered before a client counts as vanished.
_PROBES = 4
#: Unanswered probes of a full receiver; one that is alive answers each.
_WINDOW_PROBES = 3
#: Seconds; the kernel's retransmission timeout doubles with each try, but not beyond 120 s.
_LONGEST_RTO = 100.0
# struct tcp_info of <linux/tcp.h>: the number of probes, the retransmission timeout (microseconds), how many segments
# are not acknowledged, and how long ago the last acknowledgement came (milliseconds).
_TCP_INFO = struct.Struct("=3xB4xI12xI28xI")


def set_options(connection: socket.socket | None, keepalive: float) -> None:
    """Set the options of a TCP connection; any other has none of them.

    Args:
        connection: The client's socket.
        keepalive: Seconds after which a vanished client is to be noticed; 0 for never.
    """
    if not _is_tcp(connection):
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


def has_vanished(connection: socket.socket | None, keepalive: float) -> bool:
    """Tell whether a client has not acknowledged for too long what was sent to it.

    Args:
        connection: The client's socket.
        keepalive: Seconds after which that is too long; 0 for never.
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
    # The timeout doubles with each try, so that it is about as long as all tries before it took together.
    if unacknowledged and timeout / 1e6 >= min(keepalive / 2, _LONGEST_RTO):
        return True
    return probes >= _WINDOW_PROBES


def _is_tcp(connection: socket.socket | None) -> TypeGuard[socket.socket]:
    return connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6)
