"""Isolation: what a session's process gives up before it makes an environment, depending on ``--isolate``.

docs/explanation/security.md says what each level protects against.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from gymtwist.errors import WorkerStartError
from gymtwist.worker import landlock, private_mounts, process_control
from gymtwist.worker.session_users import SessionUsers
from gymtwist.worker.worker_settings import WorkerSettings

#: What programs and libraries of environments read outside the Python installation.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/proc", "/sys"),
    *("/etc/alternatives", "/etc/ca-certificates", "/etc/fonts", "/etc/glvnd", "/etc/OpenCL", "/etc/ssl/certs"),
    *("/etc/vulkan", "/etc/drirc", "/etc/group", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf"),
    *("/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release"),
    *("/etc/passwd", "/etc/resolv.conf", "/etc/timezone"),
)
#: The answer of a successful trial.
_WORKS = "works"
#: The directory that the server was started in, for this module is imported before any session; None if it is gone.
_STARTED_IN: str | None = None
with contextlib.suppress(FileNotFoundError):
    _STARTED_IN = os.getcwd()
#: Devices, and the directory of shared memory and semaphores.
_DEVICES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm"),
    *("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"),
)


def is_confined(settings: WorkerSettings) -> bool:
    """Return whether a session has its own files or its own user; sessions branched off its snapshots share them."""
    return settings.isolate.has_files or settings.isolate.has_user


def confine(settings: WorkerSettings, scratch: str, user: int) -> None:
    """Restrict this process, and those that it starts, to what the isolation level allows.

    Args:
        settings: The operator's options.
        scratch: The directory that the process works in.
        user: The user id and group id of the session's own user; 0 if it has none.

    Raises:
        WorkerStartError: The process cannot be restricted, and must not serve anybody.
    """
    level = settings.isolate
    if not is_confined(settings):
        return
    if not scratch:
        raise _failed(settings, "there is no scratch directory")
    # The following system calls change only the calling thread.
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise _failed(settings, f"what it imported has started threads ({threads - 1}), which would not be isolated")
    python = set(_python())
    try:
        if level.has_user:
            kept = [*python, *settings.session_reads, *settings.session_writes]
            private_mounts.enter(scratch, user, settings.disk_limit, kept)
            os.chdir(scratch)
            process_control.become(user, debuggable=settings.debuggable)
        for variable in ("HOME", "TMPDIR"):
            os.environ[variable] = scratch
        tempfile.tempdir = None
        if level.has_files:
            reads = [*_SYSTEM, *python, *settings.session_reads]
            writes = [*_DEVICES, scratch, *settings.session_writes]
            landlock.restrict(reads, writes, settings.session_connects)
    except OSError as error:
        raise _failed(settings, str(error)) from error


def _failed(settings: WorkerSettings, problem: str) -> WorkerStartError:
    return WorkerStartError(f"its process cannot be isolated (--isolate {settings.isolate}): {problem}")


def try_out(settings: WorkerSettings) -> None:
    """Isolate a trial process like a session's, so that a server whose sessions cannot be isolated does not start.

    Args:
        settings: The operator's options.

    Raises:
        WorkerStartError: The process cannot be isolated, or cannot read the directories that it imports from.
    """
    if not is_confined(settings):
        return
    reader, writer = os.pipe()
    with _trial_user(settings) as user, tempfile.TemporaryDirectory(prefix="gymtwist-trial-") as scratch:
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, _trial(settings, scratch, user).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answer:
            problem = answer.read().decode()
        os.waitpid(pid, 0)
    if problem != _WORKS:
        raise WorkerStartError(problem or "the process that tries to isolate itself was killed")


@contextlib.contextmanager
def _trial_user(settings: WorkerSettings) -> Iterator[int]:
    """Borrow a user for the trial: a session with the same user could kill its process."""
    if settings.trial_users is None:
        yield 0
        return
    first, last = settings.trial_users
    users = SessionUsers(range(first, last + 1))
    try:
        users.open()
        try:
            user = users.borrow()
        except WorkerStartError:
            user = first  # all are in use by sessions; that must not prevent replacing the fork server
        yield user
    finally:
        users.close()


def _trial(settings: WorkerSettings, scratch: str, user: int) -> str:
    process_control.isolate(debuggable=settings.debuggable)
    try:
        os.chdir(scratch)
        confine(settings, scratch, user)
        for path in (os.__file__, __file__):
            with open(path, "rb"):
                pass
    except WorkerStartError as error:
        return str(error)
    except OSError as error:
        return str(_failed(settings, f"it could not import anything ({error})"))
    return _WORKS


def _python() -> Iterator[str]:
    """Yield where Python imports from; of the server's starting directory, only what is imported already."""
    yield from {sys.prefix, sys.base_prefix, sys.exec_prefix}
    yield from (path for path in sys.path if path != _STARTED_IN)
    for name, module in list(sys.modules.items()):
        if "." not in name:
            places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            yield from (path for path in places if path and os.path.dirname(path) == _STARTED_IN)
