"""The entry of every process below the server: ``python -m gymtwist.worker ROLE SETTINGS AMP READY``.

Roles: ``forkserver`` and ``worker`` speak AMP over the descriptor AMP; ``check`` only imports what the others do. Once
everything is imported, a :class:`~gymtwist.worker.readiness.Readiness` is written to the descriptor READY, and before
that an empty line for each sign of progress. Either may be -1 if it is not needed.
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
    # An import or the setup file may hang; later the link tells of the server's end.
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
    # A process that somebody has stopped reads nothing until it continues.
    process_control.set_parent_death_signal(signal.SIGCONT)
    # They import NumPy and AMP, of which the one wants environment variables and the other is to come without TLS.
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
        # An operator's Ctrl-C is the server's business.
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
    """Make a blocking socket of a descriptor, even if an import has set a default timeout."""
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(True)
    connection.set_inheritable(False)
    return connection


if __name__ == "__main__":
    main(sys.argv[1], WorkerSettings.from_argument(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
