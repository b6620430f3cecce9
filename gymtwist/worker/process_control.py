"""Requests to the kernel about this process and the processes below it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import NoReturn

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
#: From glibc's <malloc.h>; and a size that messages of most environments do not have, since such blocks cost more.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 512 * 1024
# Loaded once, before any worker is forked.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
#: Between the score of an ordinary process (0) and that of one which is always killed first (1000); see proc(5).
OOM_SCORE = 500


def _prctl(option: int, argument: int | bytes) -> None:
    """Ask Linux for an attribute of this process; other systems have none of them."""
    if _libc is not None:
        _libc.prctl(option, argument, 0, 0, 0)


def return_large_blocks() -> None:
    """Have the C library give blocks of memory from 512 KiB on back to the kernel when they are freed.

    Otherwise glibc raises this limit to the size of the largest block that was freed, keeps twice as much of what it
    frees later, and does so for each thread: one large picture would cost a server megabytes for months.
    """
    if _libc is not None and hasattr(_libc, "mallopt"):
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            _libc.mallopt(option, _LARGE)


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that none is lost. Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def rename(name: str) -> None:
    """Give this process a name of up to 15 characters that ``ps -o comm`` shows. Linux only."""
    _prctl(_PR_SET_NAME, name.encode())


def set_parent_death_signal(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when the thread that started it ends. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


def volunteer_for_oom(score: int = OOM_SCORE) -> None:
    """Have the kernel kill this process before the server if memory runs out. Linux only.

    Call this before :func:`isolate`, which this function undoes in part.

    Args:
        score: How much earlier than others; 1000 means always first.
    """
    # The file belongs to root while the process is not dumpable.
    _prctl(PR_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)  # open() costs each worker 500 KB
        try:
            os.write(descriptor, str(score).encode())
        finally:
            os.close(descriptor)


def isolate(*, debuggable: bool) -> None:
    """Keep this process from gaining privileges, and others of the same user out of its memory. Linux only.

    Args:
        debuggable: Whether debuggers may attach, and a crash may leave a core file.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if not debuggable:
        _prctl(PR_SET_DUMPABLE, 0)
        limit(resource.RLIMIT_CORE, 0)


def become(user: int, *, debuggable: bool) -> None:
    """Change the user and group of this process, which is root's, for good.

    Args:
        user: The id of the user, and of its group.
        debuggable: As for :func:`isolate`; changing the user decides anew whether others may read the memory.

    Raises:
        OSError: The kernel refuses it.
    """
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.umask(0o077)
    _prctl(PR_SET_DUMPABLE, int(debuggable))


def limit(kind: int, most: int) -> None:
    """Set a limit of this process and those that it starts, or keep a lower one.

    Args:
        kind: ``resource.RLIMIT_DATA`` or another one.
        most: The limit, in the unit of its kind.
    """
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def processor_time() -> float:
    """Return the seconds of processor time that this process had, and those that it started and that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def processor_ticks(pid: int) -> int:
    """Return the processor time of a process, in the kernel's ticks; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))


def read(path: str) -> bytes:
    """Read a file of ``/proc``: open() and pathlib would write to more memory, which a fork then copies.

    Raises:
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = b""
        while part := os.read(descriptor, 1 << 16):
            found += part
        return found
    finally:
        os.close(descriptor)


def children(of: int | str = "self") -> list[int]:
    """Return the ids of a process's children, by default of this one's; an empty list on other systems than Linux."""
    found: list[int] = []
    # contextlib would write to more memory, as in read().
    try:
        for task in os.listdir(f"/proc/{of}/task"):
            try:
                found += map(int, read(f"/proc/{of}/task/{task}/children").split())
            except OSError:  # the thread has ended
                continue
    except OSError:  # the process has ended
        pass
    return found


def count_threads() -> int:
    """Return the number of this process's threads, those of native code too; 0 on other systems than Linux."""
    return os.stat("/proc/self/task").st_nlink - 2 if sys.platform.startswith("linux") else 0


def kill_group(leader: int) -> None:
    """Kill every process of a group, whose leader must not be reaped yet, or which must not be empty."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def leave(status: int, *, exit_functions: bool = True) -> NoReturn:
    """End this process without waiting for threads or processes that an environment left running.

    Registered exit functions run, because they remove temporary files. Threads are not joined. Child processes are
    killed, because without a fork server no other process would do so.

    Args:
        status: The exit status.
        exit_functions: Whether to run exit functions: not in a copy of a process that goes on.
    """
    try:
        if exit_functions:
            atexit._run_exitfuncs()
    finally:
        for pid in children():
            with contextlib.suppress(OSError):  # it has ended, or changed its user
                os.kill(pid, signal.SIGKILL)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # an environment may have closed or replaced it
                status = status or 1
        os._exit(status)
