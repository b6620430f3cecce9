"""The parent-death signal: a worker must not outlive its server, whatever its environment is doing.

While a worker serves a session, it does not read from the server. So it asks the kernel to kill its whole process group
as soon as anything happens on its AMP socket, whose other end only the server holds. That end is closed when the server
dies, and the server closes it to kill a worker. This works even if the environment hangs in native code. It needs no
thread, no polling, and no process id, which could have been reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator

# From <bits/fcntl-linux.h>; fcntl has no name for it in Python 3.10.
_F_SETSIG = 10


@contextlib.contextmanager
def tied(to: socket.socket) -> Iterator[None]:
    """Have this process group killed if the socket's other end closes or sends anything within the context."""
    descriptor = to.fileno()
    if not sys.platform.startswith("linux"):
        threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()
        yield
        return
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if _is_readable(descriptor):  # it happened before the signal was set up
        _end()
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


def _watch(descriptor: int) -> None:
    """Wait in a thread for the other end to close, on platforms without ``F_SETSIG``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    poll.poll()
    _end()


def _end() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
