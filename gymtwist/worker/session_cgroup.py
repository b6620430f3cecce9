"""The control group of one session: its worker, and all processes that it starts. Linux only; cgroups(7), version 2.

A worker makes and enters its group before it is assigned a session, because entering takes milliseconds, in which the
kernel waits for all processors. The server removes the group when the worker has ended.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gymtwist.errors import WorkerStartError
from gymtwist.worker.worker_settings import WorkerSettings

PREFIX = "session-"


class SessionGroup:
    """The control group of the session that a worker serves.

    Its name contains a socket's inode number, because the process id may be reused by another worker before the group
    is removed.

    Args:
        parent: The path of the group delegated to the server.
        worker: The process id of the worker.
        link: The number (inode) of the worker's end of its link to the server.
    """

    def __init__(self, parent: str, worker: int, link: int) -> None:
        self._path = f"{parent}/{PREFIX}{worker}-{link}"
        self.worker = worker

    def enter(self, settings: WorkerSettings) -> None:
        """Make the group, and move the worker there.

        Raises:
            OSError: The kernel refuses; if the worker has ended, the group is removed again.
        """
        os.mkdir(self._path)
        try:
            self.set_limits(settings)
            self._write("cgroup.procs", self.worker)
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(self._path)
            raise

    def set_limits(self, settings: WorkerSettings) -> None:
        """Set the limits of a session.

        Raises:
            OSError: The kernel refuses.
        """
        # Otherwise, the kernel kills only the largest process, which favors environments that start several.
        self._write("memory.oom.group", 1)
        if settings.memory_limit:
            self._write("memory.max", settings.memory_limit)
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap
                self._write("memory.swap.max", 0)
        if settings.process_limit:
            self._write("pids.max", settings.process_limit)

    def _write(self, name: str, value: int) -> None:
        # open() and pathlib would write to more memory pages, which a forked worker then copies.
        descriptor = os.open(f"{self._path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)

    def lacks_memory(self) -> tuple[bool, bool]:
        """Return whether the kernel has killed processes for lack of memory, and whether due to this group's limit."""
        try:
            lines = Path(self._path, "memory.events").read_text().splitlines()
        except OSError:
            return False, False
        events = {name: int(count) for name, count in map(str.split, lines)}
        return events.get("oom_kill", 0) > 0, events.get("oom", 0) > 0

    def remove(self) -> bool:
        """Kill the group's processes and remove it; return whether it is gone: processes take a moment to end."""
        try:
            self._write("cgroup.kill", 1)
            for path, _, _ in os.walk(self._path, topdown=False):  # an environment may have made groups below it
                os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def own(parent: str, link: int) -> SessionGroup:
    """Return the group of this process, a worker.

    Args:
        parent: The path of the group delegated to the server.
        link: The descriptor of the link to the server.
    """
    return SessionGroup(parent, os.getpid(), os.fstat(link).st_ino)


def enter(settings: WorkerSettings, link: int) -> None:
    """Move this process, a new worker, to a control group of its own, if sessions have them.

    Args:
        settings: The operator's options.
        link: The descriptor of the link to the server.

    Raises:
        WorkerStartError: The kernel refuses.
    """
    if not settings.control_groups:
        return
    try:
        own(settings.control_groups, link).enter(settings)
    except OSError as error:
        raise WorkerStartError(f"it cannot enter a control group of its own (--cgroups): {error}") from error
