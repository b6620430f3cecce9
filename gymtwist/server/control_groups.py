"""The control groups of a server: one for each session, and one for the server's own processes. See cgroups(7).

They are below the group that the server was started in, if that is *delegated* to it, as systemd does with
``Delegate=yes``. Only leaf groups may then have processes, so the server's own processes move to a leaf as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gymtwist.server.ports import CannotStart
from gymtwist.server.server_log import log
from gymtwist.worker.session_cgroup import PREFIX, SessionGroup
from gymtwist.worker.worker_settings import WorkerSettings

#: The leaf for the server's own processes; systemd may have created it (DelegateSubgroup=).
LEAF = "server"
_NEEDED, _WANTED = ("memory", "pids"), ("memory", "pids", "cpu")
#: The CPU weight of the server's own processes; each session has 100.
_WEIGHT = 1000
#: The maximum number of processes and threads of a session without --process-limit.
PROCESSES = 2048
_REMEDY = "under systemd, set Delegate=yes and ProtectControlGroups=no in the unit"
#: The group of a user's own systemd; its units belong to the user whether or not they are delegated.
_USER_MANAGER = re.compile(r"user@\d+\.service")
#: How often to look for processes in a group: those not moved yet may fork.
_MOST_LOOKS = 100
#: Seconds between attempts to remove a group whose processes are being killed, and for all attempts at the end.
_RETRY, _LAST_TRIES = 0.1, 1.0


class _NotDelegated(Exception):
    """Control groups are not available; the message says what they need, as the object of a sentence."""


class ControlGroups:
    """The control groups of a server's sessions.

    Args:
        reactor: The reactor; provides the time and calls back from threads.
        parent: The path of the group that is delegated to the server; empty if sessions have no groups.
        controllers: The controllers that are enabled for the sessions' groups.
        lacking: Why there are no groups; empty if there are.

    Attributes:
        in_thread: Calls a function in a thread: entering or removing a group waits for others that do the same.
    """

    def __init__(self, reactor: Any, parent: str = "", controllers: tuple[str, ...] = (), lacking: str = "") -> None:
        self.in_thread: Callable[..., Any] = lambda act, *arguments: act(*arguments)
        self._reactor = reactor
        self._parent, self._controllers, self._lacking = parent, controllers, lacking
        self._left: set[SessionGroup] = set()

    def __str__(self) -> str:
        """Return what sessions have, as a clause for the log."""
        if self._parent:
            return f"each in a control group ({', '.join(self._controllers)})"
        return f"no control groups ({self._lacking})"

    def applied_to(self, settings: WorkerSettings) -> WorkerSettings:
        """Return worker settings with the control groups added, if there are any."""
        if not self._parent:
            return settings
        processes = settings.process_limit or PROCESSES
        return msgspec.structs.replace(settings, control_groups=self._parent, process_limit=processes)

    def of(self, worker: int, link: int) -> SessionGroup | None:
        """Return the group of a worker; None if there are no groups.

        Args:
            worker: The worker's process id.
            link: The inode number of the worker's end of the link to the server.
        """
        return SessionGroup(self._parent, worker, link) if self._parent else None

    def move(self, group: SessionGroup, settings: WorkerSettings) -> None:
        """Move a worker that was forked by another worker to its own group."""
        self.in_thread(self._move, group, settings)

    def _move(self, group: SessionGroup, settings: WorkerSettings) -> None:
        try:
            group.enter(settings)
        except ProcessLookupError:
            pass  # it has ended
        except OSError as error:
            message = "Process {worker} cannot enter a control group: {error}"
            self._reactor.callFromThread(log.error, message, worker=group.worker, error=error)

    def ended(self, worker: int, link: int) -> None:
        """Kill what an ended worker has left in its group, and remove the group; for the arguments see :meth:`of`."""
        if (group := self.of(worker, link)) is not None:
            self._left.add(group)
            self.in_thread(self._remove, group)

    def _remove(self, group: SessionGroup) -> None:
        if group.remove():
            self._left.discard(group)
        else:
            self._reactor.callFromThread(self._reactor.callLater, _RETRY, self._try_again, group)

    def _try_again(self, group: SessionGroup) -> None:
        if group in self._left:
            self.in_thread(self._remove, group)

    def close(self) -> None:
        """Remove the remaining groups without threads, which stop with the server."""
        self.in_thread = lambda act, *arguments: None
        deadline = time.monotonic() + _LAST_TRIES
        while self._left and time.monotonic() < deadline:
            self._left = {group for group in self._left if not group.remove()}
            if self._left:
                time.sleep(0.01)

    def remove_stale(self) -> None:
        """Remove the groups left by a server that was killed, with any processes in them."""
        if not self._parent:
            return
        for path in Path(self._parent).glob(f"{PREFIX}*"):
            worker, _, link = path.name.removeprefix(PREFIX).partition("-")
            if worker.isdecimal() and link.isdecimal() and not Path("/proc", worker).exists():
                self.ended(int(worker), int(link))


def prepare(reactor: Any, choice: str) -> ControlGroups:
    """Prepare this process's control group for the groups of sessions, if it is delegated to the server.

    Args:
        reactor: The reactor.
        choice: The value of ``--cgroups``.

    Raises:
        CannotStart: Control groups are required, but not available.
    """
    if choice == "off":
        return ControlGroups(reactor, lacking="--cgroups off")
    try:
        mount, own = _find()
        parent = own.parent if own.name == LEAF else own
        _check_delegated(parent, mount, certain=choice == "on")
        controllers = _divide(parent, mount)
    except (_NotDelegated, OSError) as problem:
        if choice == "on":
            needed = f"control groups that it can read: {problem}" if isinstance(problem, OSError) else problem
            raise CannotStart(f"gymsock cannot start: --cgroups on needs {needed}") from problem
        return ControlGroups(reactor, lacking="none can be made; --cgroups on says why")
    return ControlGroups(reactor, str(parent), controllers)


def _find(process: Path = Path("/proc/self")) -> tuple[Path, Path]:
    """Return the paths of the cgroup file system and of the group that a process is in."""
    mounts = [line.split() for line in _text(process / "mountinfo").splitlines()]
    # After the dash: the type of the file system. Before it: the part that is mounted, and where.
    found = [(each[3], each[4]) for each in mounts if each[each.index("-") + 1] == "cgroup2"]
    names = [line.partition("::")[2] for line in _text(process / "cgroup").splitlines() if line.startswith("0::")]
    if not found or not names:
        raise _NotDelegated("a file system of control groups of version 2, such as /sys/fs/cgroup on Linux")
    root, mount = found[-1]
    # Both are relative to the root of this process's cgroup namespace, and may be outside it.
    is_outside = any(".." in Path(each).parts for each in (names[0], root))
    path = Path(mount, os.path.relpath(names[0], root))
    if is_outside or ".." in path.parts or not path.is_dir():
        raise _NotDelegated(f"a control group that it can see: its own, {names[0]}, is not below {mount}")
    return Path(mount), path


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return os.fsdecode(path.read_bytes())  # mount names may contain any bytes
    return ""


def _check_delegated(parent: Path, mount: Path, *, certain: bool) -> None:
    """Raise unless the server may divide a group: root can divide any group, but that would break the service manager.

    Args:
        parent: The group.
        mount: The cgroup file system.
        certain: Whether the operator has said that it may.
    """
    # In a container's own root group, there is nobody else to ask. The real root group has no type.
    is_containers = parent == mount and (parent / "cgroup.type").exists()
    if not (certain or _is_own(parent, os.geteuid()) or is_containers or _is_marked(parent)):
        raise _NotDelegated(f"a control group that is delegated to the server, which {parent} is not; {_REMEDY}")
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        path = parent / name
        if not os.access(path, os.W_OK, effective_ids=True):
            raise _NotDelegated(f"permission to write to {path}; {_REMEDY}")


def _is_own(path: Path, user: int) -> bool:
    """Return whether a group was given to a user.

    Root owns everything, so its groups do not count. Nor do the groups of a user's systemd, which manages them itself.
    """
    return user != 0 and path.stat().st_uid == user and not any(map(_USER_MANAGER.fullmatch, path.parts))


def _is_marked(path: Path) -> bool:
    """Return whether systemd (251 or later) has marked a group as delegated."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False


def _divide(parent: Path, mount: Path) -> tuple[str, ...]:
    """Move the processes of a group to a leaf, enable controllers for the groups below it, and return those."""
    there = (parent / "cgroup.controllers").read_text().split()
    if missing := [name for name in _NEEDED if name not in there]:
        raise _NotDelegated(
            f"the controllers {' and '.join(_NEEDED)}, and {parent} lacks {' and '.join(missing)}; if groups of "
            f"version 1 have them, boot with systemd.unified_cgroup_hierarchy=1; otherwise, {_REMEDY}"
        )
    # The root group has no cgroup.kill.
    if not any(each.exists() for each in (parent / "cgroup.kill", *parent.glob("*/cgroup.kill"))):
        raise _NotDelegated("Linux 5.14 or later, which can kill all processes of a control group")
    controllers = tuple(name for name in _WANTED if name in there)
    leaf = parent / LEAF
    try:
        if parent != mount or (parent / "cgroup.type").exists():  # the real root may have both processes and groups
            leaf.mkdir(exist_ok=True)
            _move_all(parent, leaf)
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        if leaf.exists() and "cpu" in controllers:
            (leaf / "cpu.weight").write_text(str(_WEIGHT))
    except OSError as error:
        raise _NotDelegated(f"to divide {parent}, which fails: {error}; {_REMEDY}") from error
    return controllers


def _move_all(group: Path, leaf: Path) -> None:
    """Move all processes of one group to another."""
    for _ in range(_MOST_LOOKS):
        numbers = (group / "cgroup.procs").read_text().split()
        if not numbers:
            return
        if "0" in numbers:  # writing 0 would move this process instead
            raise _NotDelegated(f"a control group of its own: {group} has processes of another PID namespace, too")
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(number)
    some = ", ".join(numbers[:5])
    raise _NotDelegated(f"a control group of its own: {group} has processes that cannot be moved: {some}")
