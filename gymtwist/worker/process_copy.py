"""Copies of this process: forks that are equal to it, and what each of them must not share with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import warnings

from gymtwist.worker import process_control

#: The exit status of a process between the one that forks and the copy.
_OK, _FAILED = 0, 1


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


def fork_detached() -> bool:
    """Fork a copy whose parent is this process's nearest subreaper, which learns of its end.

    Returns:
        True in the copy, False in this process, once the copy has its parent.

    Raises:
        OSError: No process can be started.
    """
    middle = fork()
    if middle == 0:
        try:
            if fork() == 0:
                return True
        except OSError:
            os._exit(_FAILED)
        os._exit(_OK)
    if os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]) != _OK:
        raise OSError("no process can be started")
    return False


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
