"""Landlock: this process gives up access to files, ports and processes. Linux only; see landlock(7).

Neither the process nor one that it starts can regain what it has given up. The C library has no functions for these
system calls; their numbers and structures are the same on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable

#: The version of the interface that has all of the following; Linux 6.12 and later have it.
NEEDED = 6

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH, _RULE_PORT = 1, 2

# From <linux/landlock.h>.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_ALL_FILES = (1 << 16) - 1
_BIND_TCP, _CONNECT_TCP = 1, 2
_ALL_SCOPES = 0b11  # UNIX sockets with abstract names, and signals

READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = _ALL_FILES & ~(_MAKE_CHAR | _MAKE_BLOCK)
#: The rights that apply to a file that is not a directory.
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_RULESET = struct.Struct("=QQQ")
_PATH = struct.Struct("=Qi")  # packed
_PORT = struct.Struct("=QQ")

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def version() -> int:
    """Return the kernel's version of the interface; 0 if it has none, or if it is disabled."""
    if _libc is None:
        return 0
    found: int = _libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(found, 0)


def restrict(reads: Iterable[str], writes: Iterable[str], ports: Iterable[int]) -> None:
    """Give up all files and ports except these, and all processes except this one and its descendants.

    The process must have only one thread, and ``PR_SET_NO_NEW_PRIVS`` set.

    Args:
        reads: Files and directories to read and execute; missing and inaccessible ones are ignored.
        writes: Files and directories to write as well, likewise.
        ports: TCP ports to connect to, on any machine.

    Raises:
        OSError: A system call failed.
    """
    ruleset = _call(_CREATE_RULESET, _RULESET.pack(_ALL_FILES, _BIND_TCP | _CONNECT_TCP, _ALL_SCOPES), _RULESET.size, 0)
    try:
        for path in reads:
            _allow(ruleset, path, READ)
        for path in writes:
            _allow(ruleset, path, WRITE)
        for port in ports:
            _call(_ADD_RULE, ruleset, _RULE_PORT, _PORT.pack(_CONNECT_TCP, port), 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _OF_A_FILE
            _call(_ADD_RULE, ruleset, _RULE_PATH, _PATH.pack(access, descriptor), 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: int | bytes) -> int:
    """Make a system call.

    Raises:
        OSError: It failed.
    """
    if _libc is None:
        raise OSError("Landlock is a part of Linux")
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        problem = ctypes.get_errno()
        raise OSError(problem, f"Landlock: {os.strerror(problem)}")
    return result
