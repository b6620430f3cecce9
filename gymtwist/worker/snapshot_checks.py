"""Finds what a copy of an environment's process would lack or share, without touching the environment."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gymtwist.worker import process_control

#: Devices of graphics cards, whose contexts do not survive a fork.
_GRAPHICS = ("/dev/nvidia", "/dev/dri/", "/dev/kfd")
#: Shared memory that belongs to the server, or that is harmless: locks, and the memory of libraries.
_HARMLESS = ("/memfd:gymtwist-", "/dev/zero", "/dev/shm/sem.")
_find_shared = re.compile(r"^\S+ .w.s \S+ \S+ \d+ +(.*)$", re.MULTILINE).findall


class Structure(NamedTuple):
    """What a process would share with a copy of it.

    Attributes:
        descriptors: The target of each open descriptor's link in ``/proc``.
        mappings: The files behind shared writable memory.
    """

    descriptors: dict[int, str]
    mappings: frozenset[str]

    @classmethod
    def of_this_process(cls) -> Structure:
        """Inspect this process."""
        return cls(dict(_descriptors()), frozenset(_find_shared(Path("/proc/self/maps").read_text())))


#: The structure before any environment was made.
_before = Structure({}, frozenset())


def note_before() -> None:
    """Note the structure of this process, before it or a process that it forks makes an environment."""
    global _before
    _before = Structure.of_this_process()


def _descriptors() -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor of the directory itself
            continue


def processes_of_its_own(known: set[int]) -> str:
    """Return a clause that says that the environment has processes; empty if it has only known ones."""
    if set(process_control.children()) - known:
        return "it has processes of its own, which a copy of it would share"
    return ""


def obstacle(own: set[int]) -> str:
    """Return why a copy of this process would not copy its environment, as a clause; empty if it might.

    Args:
        own: The descriptors that are the worker's own.
    """
    if problem := processes_of_its_own(set()):
        return problem
    found = Structure.of_this_process()
    known = {*_before.descriptors.values(), *(found.descriptors.get(each, "") for each in (*own, 1, 2))}
    for link in found.descriptors.values():
        if link.startswith(_GRAPHICS):
            return f"it uses a graphics card ({link}), whose state is not copied"
        if link in known:
            continue
        if link.startswith("socket:"):
            return "it has a connection of its own, which a copy of it would share"
        if link.startswith("pipe:"):
            return "it has a pipe, which a copy of it would share"
    for path in found.mappings - _before.mappings:
        if not path.startswith(_HARMLESS):
            return f"it has memory that a copy of it would share ({path.removesuffix(' (deleted)')})"
    return ""


def shared_files() -> dict[int, str]:
    """Return the files that both this process and a copy of it may write to, by descriptor."""
    found: dict[int, str] = {}
    for descriptor, link in _descriptors():
        if link in _before.descriptors.values() or not link.startswith("/") or link.startswith("/memfd:"):
            continue
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            continue
        if is_file and _is_writable(descriptor):
            found[descriptor] = link
    return found


def _is_writable(descriptor: int) -> bool:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
