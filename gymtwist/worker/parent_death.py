"""The parent-death signal: a worker must not outlive its server, whatever its environment is doing.

While it serves, a child does not listen to the server. So it asks the kernel to kill its whole process group as soon
as anything happens on its AMP socket, of which only the server holds the other end. The server's death closes it, and
the server closes it to kill a child. The kernel obeys even if the environment hangs in native code; no thread and no
polling is needed, and no process id that might be another's by now.
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

# Linux's own, in <bits/fcntl-linux.h>; Python 3.10's fcntl has no name for it.
_F_SETSIG = 10


@contextlib.contextmanager
def tied(to: socket.socket) -> Iterator[None]:
    """Let this process group be killed if the socket's other end closes, or sends, within the context."""
    descriptor = to.fileno()
    if not sys.platform.startswith("linux"):
        threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()
        yield
        return
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if _is_readable(descriptor):  # it happened before the kernel was asked
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
    """Stand in for the kernel where it sends no signal of choice: a thread that waits for the other end to close."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    poll.poll()
    _end()


def _end() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
