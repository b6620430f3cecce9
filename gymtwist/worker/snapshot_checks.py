"""What of an environment's process a copy would not have, or would share: found without touching the environment."""

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
#: Shared memory that is the server's own, or that does no harm: locks, and what belongs to libraries.
_HARMLESS = ("/memfd:gymtwist-", "/dev/zero", "/dev/shm/sem.")
_find_shared = re.compile(r"^\S+ .w.s \S+ \S+ \d+ +(.*)$", re.MULTILINE).findall


class Structure(NamedTuple):
    """What a process has that a copy would share with it.

    Attributes:
        descriptors: What each open descriptor stands for.
        mappings: The files behind memory that is shared and may be written.
    """

    descriptors: dict[int, str]
    mappings: frozenset[str]

    @classmethod
    def of_this_process(cls) -> Structure:
        """Look at this process."""
        return cls(dict(_descriptors()), frozenset(_find_shared(Path("/proc/self/maps").read_text())))


#: What there was before any environment.
_before = Structure({}, frozenset())


def note_before() -> None:
    """Note what there is, before the process, or one that it forks, makes an environment."""
    global _before
    _before = Structure.of_this_process()


def _descriptors() -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # that of the directory itself
            continue


def processes_of_its_own(known: set[int]) -> str:
    """Return that the environment has processes, as a clause; empty if it has none but those that are known."""
    if set(process_control.children()) - known:
        return "it has processes of its own, which a copy of it would share"
    return ""


def obstacle(own: set[int]) -> str:
    """Return why a copy of this process would not be a copy of its environment, as a clause; empty if it may be.

    Args:
        own: The descriptors that are the server's own.
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
    """Return the files that this process may write to, and a copy of it as well, by their descriptors."""
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
