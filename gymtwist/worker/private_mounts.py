"""A mount namespace for one session: its own, size-limited versions of the directories that all users can write to.

They are directories of one ``tmpfs``, which disappears with the session's last process. Linux only; needs
``CAP_SYS_ADMIN``.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: The directories to replace.
SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # replacing them makes them safe

# From <linux/sched.h> and <linux/mount.h>.
_CLONE_NEWNS, _CLONE_NEWIPC = 0x00020000, 0x08000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
#: Bytes of a tmpfs per file that it may have.
_BYTES_PER_FILE = 4096
#: The minimum number of files, more than the directories made here, however small the tmpfs.
_FEWEST_FILES = 1024

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def enter(scratch: str, user: int, size: int, kept: Iterable[str]) -> None:
    """Move this process, which must have only one thread, to a mount namespace of its own.

    There, the scratch directory belongs to the session's user, who can reach all needed paths: directories that only
    their owner may search, such as ``/root``, are replaced with ones that contain only the needed paths.

    Args:
        scratch: The absolute path of the session's empty working directory.
        user: The user id and group id of the session's user.
        size: Bytes that the session may write to all the replaced directories together.
        kept: Absolute paths that must stay as they are, if they exist.

    Raises:
        OSError: A system call failed.
    """
    umask = os.umask(0o022)
    try:
        _enter(scratch, user, size, kept)
    finally:
        os.umask(umask)


def _enter(scratch: str, user: int, size: int, kept: Iterable[str]) -> None:
    needed = {os.path.realpath(path) for path in kept if os.path.exists(path)}
    replaced = _outermost({*filter(os.path.isdir, SHARED), *_unsearchable({scratch, *needed})})
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWIPC)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    options = f"mode=711,size={size},nr_inodes={max(size // _BYTES_PER_FILE, _FEWEST_FILES)}"
    _mount("tmpfs", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    own = f"{scratch}/own"
    os.mkdir(own, 0o700)
    os.chown(own, user, user)
    replacements = {directory: f"{scratch}/{number}" for number, directory in enumerate(replaced)}
    for directory, replacement in replacements.items():
        os.mkdir(replacement)
        os.chmod(replacement, 0o1777 if directory in SHARED else 0o711)
        for path in needed:
            if _is_below(path, directory):
                _bind(path, replacement + path[len(directory) :])
        if _is_below(scratch, directory):
            _bind(own, replacement + scratch[len(directory) :])
    # The directory that contains the replacements is hidden last.
    for directory in sorted(replaced, key=lambda each: _is_below(scratch, each)):
        _bind(replacements[directory], directory)
    if not any(_is_below(scratch, directory) for directory in replaced):
        _bind(own, scratch)


def _unsearchable(paths: Iterable[str]) -> Iterator[str]:
    """Yield, for each path, the outermost directory above it that not everybody may search, if there is one."""
    for path in paths:
        for parent in reversed(Path(path).parents):
            if not parent.stat().st_mode & stat.S_IXOTH:
                yield str(parent)
                break


def _outermost(directories: Iterable[str]) -> list[str]:
    """Return the directories that are not below another one of them."""
    found: list[str] = []
    for directory in sorted(directories):
        if not any(_is_below(directory, each) for each in found):
            found.append(directory)
    return found


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(f"{directory}/")


def _bind(source: str, target: str) -> None:
    """Bind-mount a path to another, and make the target if it does not exist."""
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _mount(source, target, None, _MS_BIND | _MS_REC)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if each is None else os.fsencode(each) for each in (source, target, kind, options)]
    _call("mount", encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library.

    Raises:
        OSError: It failed.
    """
    if _libc is None:
        raise OSError("mount namespaces are a part of Linux")
    if getattr(_libc, name)(*arguments):
        problem = ctypes.get_errno()
        raise OSError(problem, f"{name}: {os.strerror(problem)}")
