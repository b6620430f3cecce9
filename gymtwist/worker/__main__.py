"""The entry of every process below the server: ``python -m gymtwist.worker ROLE SETTINGS AMP READY``.

Roles: ``forkserver`` and ``worker`` speak AMP over the descriptor AMP; ``check`` only makes the same imports. Once
everything is imported, the process writes a :class:`~gymtwist.worker.readiness.Readiness` to the descriptor READY;
before that, it writes an empty line for each sign of progress. Either descriptor may be -1 if it is not needed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from gymtwist.worker import huge_pages, preload, process_control, session_cgroup, started_threads
from gymtwist.worker.readiness import Readiness
from gymtwist.worker.worker_settings import WorkerSettings


def main(role: str, settings: WorkerSettings, amp_descriptor: int, ready_descriptor: int) -> None:
    """Run a fork server, a worker or a check until it ends."""
    _begin(role, settings, amp_descriptor)
    # An import or the setup file may hang. Later, the AMP link reports the server's end.
    process_control.set_parent_death_signal(signal.SIGKILL)

    def progress() -> None:
        if ready_descriptor >= 0:
            os.write(ready_descriptor, b"\n")

    forks = role == "forkserver"
    if forks:
        huge_pages.reserve()
    registered = preload.preload(settings, warm_up=forks, progress=progress)
    if forks:
        huge_pages.collapse()
    # A stopped process reads nothing until it continues.
    process_control.set_parent_death_signal(signal.SIGCONT)
    # Imported only now: NumPy reads environment variables that must be set first, and AMP must come without TLS.
    from gymtwist.worker import fork_server, fork_trial, isolation, job, snapshot_checks

    if role != "worker":
        isolation.try_out(settings)
    if forks:
        process_control.rename("gymsock fork")
        process_control.isolate(debuggable=settings.debuggable)
        progress()
        fork_trial.prepare(registered, settings)
    if ready_descriptor >= 0:
        os.write(ready_descriptor, _readiness(settings, forks=forks).to_line())
        os.close(ready_descriptor)
    if role == "check":
        return
    connection = _adopt(amp_descriptor)
    if forks:
        birth = fork_server.ForkServer(connection).run()
        if birth is None:
            process_control.leave(0)
        connection = _adopt(birth.amp)
        session_cgroup.enter(settings, birth.amp)
    else:
        snapshot_checks.note_before()
    job.run(connection, settings)


def _begin(role: str, settings: WorkerSettings, amp_descriptor: int) -> None:
    """Do what must come before every import."""
    if role != "check":
        # The server handles an operator's Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload.prepare_environment_variables()
    if role == "worker":
        session_cgroup.enter(settings, amp_descriptor)


def _readiness(settings: WorkerSettings, *, forks: bool) -> Readiness:
    """Summarize the environments that clients may ask for."""
    from gymtwist.envs.installed import find_installed
    from gymtwist.worker.access_policy import AllowList

    return Readiness.summarize(
        *find_installed(AllowList(settings.allow).allows), started_threads.describe() if forks else ""
    )


def _adopt(descriptor: int) -> socket.socket:
    """Make a blocking socket from a descriptor, even if an import has set a default timeout."""
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(True)
    connection.set_inheritable(False)
    return connection


if __name__ == "__main__":
    main(sys.argv[1], WorkerSettings.from_argument(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
