"""How to wait at a socket: in the kernel where that is possible, which takes one system call."""

from __future__ import annotations

import socket
import struct


def block(connected: socket.socket, timeout: float | None) -> None:
    """Let a socket block in the kernel and nowhere else.

    Args:
        connected: A socket without TLS.
        timeout: Seconds that it may wait to receive; then it raises :class:`BlockingIOError`. None for any time.
    """
    connected.settimeout(None)
    if timeout is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout))


def _timeval(seconds: float) -> bytes:
    """Write a time as the kernel reads it: never none at all, which would be for ever."""
    whole, part = divmod(max(seconds, 1e-3), 1.0)
    return struct.pack("@ll", int(whole), int(part * 1e6))


def not_yet() -> tuple[type[OSError], ...]:
    """Name what a non-blocking socket raises if there is nothing to read, or no room to write."""
    try:
        from ssl import SSLWantReadError, SSLWantWriteError
    except ImportError:
        return (BlockingIOError,)
    return (BlockingIOError, SSLWantReadError, SSLWantWriteError)
