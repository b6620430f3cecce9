"""Copies of this process: forks that are equal to it, and the separation of what they must not share."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
import warnings
from collections.abc import Callable

from gymtwist.worker import process_control

# The C library's fork() runs only the handlers that libraries have registered; Python has functions for its own part.
_fork = ctypes.PyDLL(None, use_errno=True).fork
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
for _function in (_before_fork, _after_fork_in_parent, _after_fork_in_child):
    _function.restype = None


def fork() -> int:
    """Fork like ``os.fork``, but keep the state of Python's global random generator, which a fork reseeds.

    Raises:
        OSError: No process can be started.
    """
    state = random.getstate()
    if sys.version_info < (3, 12):
        pid = os.fork()
    else:
        with warnings.catch_warnings():
            # Earlier checks have found out what the threads are for.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    if pid == 0:
        random.setstate(state)
    return pid


def fork_asleep(sleep: Callable[[], None]) -> int:
    """Fork a copy that sleeps first.

    After a fork, Python writes to some 600 KB of memory in the new process, which the kernel then copies. Here, it does
    so only when the copy wakes up. Until then, no other Python thread can run in the copy.

    Args:
        sleep: Called first in the copy. It must not call anything that lets other threads run, such as ``socket.recv``.

    Raises:
        OSError: No process can be started.
    """
    _before_fork()
    pid = int(_fork())
    if pid:
        number = ctypes.get_errno()
        _after_fork_in_parent()
        if pid < 0:
            raise OSError(number, os.strerror(number))
        return pid
    sleep()
    state = random.getstate()
    _after_fork_in_child()
    random.setstate(state)
    return 0


def put_in_place(descriptor: int, number: int) -> None:
    """Make a descriptor number refer to another open file, which every object that uses the number then uses.

    Args:
        descriptor: The descriptor of the file to use; it is closed.
        number: The number of an open descriptor, whose file is closed.
    """
    os.dup2(descriptor, number, inheritable=False)
    os.close(descriptor)


def disconnect(connection: socket.socket) -> None:
    """Close a socket in this process only, and keep its number in use for :func:`put_in_place`."""
    put_in_place(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), connection.fileno())


def lead_own_group(output: int) -> None:
    """Become the leader of a process group that outlives the session of the copied process.

    Args:
        output: The descriptor to print to from now on; it is closed.
    """
    os.setsid()
    process_control.become_subreaper()
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def kill(pid: int) -> None:
    """Kill a process, unless it has ended."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
