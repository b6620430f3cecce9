"""Copies of this process: forks that are equal to it, and what each of them must not share with it."""

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

# The C library's own fork runs what libraries have registered for forks; Python's part has functions of its own.
_fork = ctypes.PyDLL(None, use_errno=True).fork
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
for _function in (_before_fork, _after_fork_in_parent, _after_fork_in_child):
    _function.restype = None


def fork() -> int:
    """Fork; as ``os.fork``, but the copy draws the same numbers from Python's global generator, which a fork reseeds.

    Raises:
        OSError: No process can be started.
    """
    state = random.getstate()
    if sys.version_info < (3, 12):
        pid = os.fork()
    else:
        with warnings.catch_warnings():
            # What its threads are for has been found out before.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    if pid == 0:
        random.setstate(state)
    return pid


def fork_asleep(sleep: Callable[[], None]) -> int:
    """Fork as :func:`fork` does, but a copy that first sleeps.

    What Python does in a process that was forked writes to some 600 KB of memory, which the copy then has for itself.
    Here it is done when the copy wakes up. Until then no other thread of Python's can run in it.

    Args:
        sleep: What the copy does first. It must call nothing that lets other threads run, such as ``socket.recv``.

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
    """Have a number stand for a descriptor, so that every object that uses the number goes on with it; close the other.

    Args:
        descriptor: What the number is to stand for.
        number: An open descriptor, which is closed.
    """
    os.dup2(descriptor, number, inheritable=False)
    os.close(descriptor)


def disconnect(connection: socket.socket) -> None:
    """Close a socket in this process alone, but keep its number for what :func:`put_in_place` puts there."""
    put_in_place(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), connection.fileno())


def lead_own_group(output: int) -> None:
    """Become the leader of a group of processes that outlives the session of the process that was copied.

    Args:
        output: Where to print to from now on; it is closed.
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
