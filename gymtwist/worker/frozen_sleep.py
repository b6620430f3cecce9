"""The sleep of a frozen copy, which waits for the leader, and reports its memory, with few pages of its own.

The kernel copies each page that a frozen copy writes to, and any use of a Python object writes to it. Everything here
is therefore prepared before the fork, and calls the C library. None of these calls releases Python's global lock,
because other threads cannot run yet; see :func:`~gymtwist.worker.process_copy.fork_asleep`.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket

from gymtwist.worker.copy_channel import WEIGH
from gymtwist.worker.process_control import PR_SET_DUMPABLE

#: The score that makes the kernel kill a frozen copy before other processes if memory runs out.
_OOM_SCORE = b"900"
_OOM_FILE, _MEMORY_FILE = b"/proc/self/oom_score_adj", b"/proc/self/smaps_rollup"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CLOEXEC
# Plain numbers: using enumeration members would write to them.
_PEEK, _NO_SIGNAL = int(socket.MSG_PEEK | socket.MSG_DONTWAIT), int(socket.MSG_NOSIGNAL)
_ROOM = 4096

_libc = ctypes.PyDLL(None)
_buffer = ctypes.create_string_buffer(_ROOM)


class _Polled(ctypes.Structure):
    """See poll(2)."""

    _fields_ = (("descriptor", ctypes.c_int), ("events", ctypes.c_short), ("found", ctypes.c_short))


_polled = _Polled(-1, select.POLLIN, 0)
_polled_pointer = ctypes.byref(_polled)
_poll, _receive, _send, _open, _read, _write, _close, _dup2, _memcmp, _exit = (
    getattr(_libc, name)
    for name in ("poll", "recv", "send", "open", "read", "write", "close", "dup2", "memcmp", "_exit")
)
#: Linux only; elsewhere a function that does nothing.
_prctl = getattr(_libc, "prctl", lambda *arguments: -1)


def sleep(channel: int, unused: int, client: int, *, debuggable: bool) -> None:
    """Sleep until the leader sends an order; end this process if the leader closes the channel.

    Args:
        channel: The descriptor of the channel to the leader.
        unused: A descriptor to close.
        client: The descriptor of the client's socket. It is closed and replaced with a duplicate of the channel, so
            that its number stays in use.
        debuggable: Whether other processes of the user may read the memory of this one.
    """
    _close(unused)
    _dup2(channel, client)
    # The file belongs to root while the process is not dumpable.
    _prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    descriptor = _open(_OOM_FILE, _WRITE_FLAGS)
    if descriptor >= 0:
        _write(descriptor, _OOM_SCORE, len(_OOM_SCORE))
        _close(descriptor)
    if not debuggable:
        _prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    wait(channel)


def wait(channel: int) -> None:
    """Wait for an order from the leader, and report this process's memory when asked."""
    _polled.descriptor = channel
    while True:
        if _poll(_polled_pointer, 1, -1) < 0:
            continue  # a signal
        size = _receive(channel, _buffer, _ROOM, _PEEK)
        if size <= 0:
            _exit(0)
        if size != len(WEIGH) or _memcmp(_buffer, WEIGH, size):
            return
        _receive(channel, _buffer, _ROOM, 0)
        descriptor = _open(_MEMORY_FILE, _FLAGS)
        size = 0
        if descriptor >= 0:
            size = max(0, _read(descriptor, _buffer, _ROOM))
            _close(descriptor)
        if size:
            _send(channel, _buffer, size, _NO_SIGNAL)
