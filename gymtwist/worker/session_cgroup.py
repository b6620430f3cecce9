"""The control group of one session: its worker, and all processes that it starts. Linux only; cgroups(7), version 2.

A worker makes its group, and enters it, before it is assigned a session: entering makes the kernel wait for all
processors, for milliseconds. The server removes the group when the worker has ended.
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

    Its name has the number of a socket, as its process id may be that of another worker before the group is removed.

    Args:
        parent: The path of the group that is delegated to the server.
        worker: The process id of the worker.
        link: The number (inode) of the worker's end of its link to the server.
    """

    def __init__(self, parent: str, worker: int, link: int) -> None:
        self._path = f"{parent}/{PREFIX}{worker}-{link}"
        self.worker = worker

    def enter(self, settings: WorkerSettings) -> None:
        """Make the group, and move the worker there.

        Raises:
            OSError: The kernel refuses it; for a worker that has ended, the group is removed again.
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
            OSError: The kernel refuses it.
        """
        # Without it the kernel kills the largest process, and an environment that starts others gains from that.
        self._write("memory.oom.group", 1)
        if settings.memory_limit:
            self._write("memory.max", settings.memory_limit)
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap
                self._write("memory.swap.max", 0)
        if settings.process_limit:
            self._write("pids.max", settings.process_limit)

    def _write(self, name: str, value: int) -> None:
        # open() and pathlib would write to more memory, which a forked worker then copies.
        descriptor = os.open(f"{self._path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)

    def lacks_memory(self) -> tuple[bool, bool]:
        """Return whether the kernel has killed processes for memory, and whether the limit of this group was why."""
        try:
            lines = Path(self._path, "memory.events").read_text().splitlines()
        except OSError:
            return False, False
        events = {name: int(count) for name, count in map(str.split, lines)}
        return events.get("oom_kill", 0) > 0, events.get("oom", 0) > 0

    def remove(self) -> bool:
        """Kill what is left in the group, and remove it; return whether it is gone: killed processes take a moment."""
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
        parent: The path of the group that is delegated to the server.
        link: The descriptor of the link to the server.
    """
    return SessionGroup(parent, os.getpid(), os.fstat(link).st_ino)


def enter(settings: WorkerSettings, link: int) -> None:
    """Move this process, a new worker, to a control group of its own, if there are to be any.

    Args:
        settings: The operator's options.
        link: The descriptor of the link to the server.

    Raises:
        WorkerStartError: The kernel refuses it.
    """
    if not settings.control_groups:
        return
    try:
        own(settings.control_groups, link).enter(settings)
    except OSError as error:
        raise WorkerStartError(f"it cannot enter a control group of its own (--cgroups): {error}") from error
