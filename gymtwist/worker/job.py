"""A worker's end of AMP: it gets one job and does it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import resource
import socket
import sys
from typing import Any

import msgspec
import numpy as np
from twisted.internet import defer

from gymtwist.errors import GymtwistError, UnknownSnapshot, WorkerStartError
from gymtwist.protocol.make_messages import Resumable
from gymtwist.worker import amp_commands, isolation, parent_death, process_control, session_cgroup, session_loop
from gymtwist.worker.amp_commands import ResponderLink
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.process_roles import BranchedOff, Leads, finish, roles
from gymtwist.worker.session_channel import SessionChannel
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.snapshot_leader import Leader
from gymtwist.worker.worker_settings import WorkerSettings

#: The size of the state of the Mersenne Twister, NumPy's global generator, in 32-bit words.
_MT_WORDS = 624


class WorkerProtocol(ResponderLink):
    """The worker's AMP protocol, ampoule's ``ampChild``. It records the job that :class:`Worker` does.

    Attributes:
        job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`; None until the command arrives.
        answer: Fires with the answer to the command.
        leader: Branches off other processes, if this process leads a group.
    """

    def __init__(self) -> None:
        super().__init__()
        self.job: dict[str, Any] | None = None
        self.answer: defer.Deferred[dict[str, Any]] = defer.Deferred()
        self.leader: Leader | None = None

    @amp_commands.Serve.responder
    def serve(self, **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Record the job."""
        self.job = job
        return self.answer

    @amp_commands.Branch.responder
    def branch(self, ticket: str, amp: int, output: int) -> dict[str, Any]:
        """Branch off a process from a snapshot."""
        try:
            if self.leader is None:
                os.close(amp)
                os.close(output)
                raise UnknownSnapshot("the session of this ticket holds no snapshot")
            return {"pid": self.leader.branch(ticket, amp, output), "code": "", "problem": ""}
        except GymtwistError as error:
            return {"pid": 0, "code": error.code, "problem": str(error)}


class Worker:
    """A process that gets one job.

    Args:
        connection: The AMP socket.
        settings: The operator's options.
        adapter: The adapter of the session that this process was branched off; otherwise None.
    """

    def __init__(self, connection: socket.socket, settings: WorkerSettings, adapter: Any = None) -> None:
        self._connection, self._settings, self._adapter = connection, settings, adapter
        self._protocol = WorkerProtocol()
        self._amp = AMPConnection(self._protocol, connection)

    def run(self) -> None:
        """Wait for a job, do it, wait for the command to exit, and exit.

        Raises:
            BranchedOff: This process was branched off, and must wait for another job.
        """
        roles.link = self._connection
        while self.receive():
            pass
        # Exit functions that an environment registered may hang, too.
        with parent_death.tied(self._connection):
            if self._protocol.leader is not None:
                self._protocol.leader.leave()
            process_control.leave(0, exit_functions=self._adapter is None)

    def receive(self) -> bool:
        """Receive from the server, and do the job if it has come; return whether the link is still open."""
        goes_on = self._amp.receive()
        if self._protocol.job is not None and not self._protocol.answer.called:
            self._protocol.answer.callback(self._do(self._protocol.job))
        return goes_on

    def _do(self, job: dict[str, Any]) -> dict[str, Any]:
        """Serve one connection to its end; return the answer to the command."""
        try:
            with parent_death.tied(self._connection):
                reason = self._serve(**job)
                if roles.leader is not None:
                    finish(reason)
        except Leads as leads:
            leader: Leader = leads.leader
            self._protocol.leader = leader
            process_control.rename(f"gymsock {job['session']} lead")
            finished = leader.run(self._amp, self._connection)
            reason, processor_time = finished.reason, finished.processor_time + process_control.processor_time()
        else:
            # The server may see this process only after it has ended.
            processor_time = process_control.processor_time()
        return {"reason": reason, "processor_time": processor_time}

    def _serve(  # noqa: PLR0913 # the arguments of the command
        self,
        session: int,
        protocol: bytes,
        handshake: bytes,
        trailing_data: bytes,
        recovery_reply: bytes,
        directory: str,
        overrides: bytes,
        user: int,
        socket: int,
        status: int,
        resume: bytes | None = None,
        channel: int | None = None,
    ) -> str:
        """Serve one connection, in a directory and as a user; ``session`` is its number in the server's log."""
        process_control.rename(f"gymsock {session}")
        roles.session = session
        settings = self._settings.with_overrides(overrides)
        if settings.gpus is not None:
            # CUDA reads this at its first use, which cannot have been before the fork.
            os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpus
        if settings.memory_limit != self._settings.memory_limit:
            process_control.limit(resource.RLIMIT_DATA, settings.memory_limit)
            if self._adapter is None and settings.control_groups:
                session_cgroup.own(settings.control_groups, self._connection.fileno()).set_limits(settings)
        found = None if resume is None or channel is None else _channel(channel, resume)
        if self._adapter is not None:
            if directory and not isolation.is_confined(settings):
                os.chdir(directory)
            return session_loop.run(
                self._adapter, lambda: self._adapter.branch(socket, status, handshake, trailing_data, found)
            )
        connection = _adopt(socket)
        try:
            if directory:
                os.chdir(directory)
            isolation.confine(settings, directory, user)
        except WorkerStartError as error:
            connection.close()
            return str(error)
        parts = protocol.decode(), connection, handshake, trailing_data
        return session_loop.serve(*parts, settings, _status(status), recovery_reply, found)


def _adopt(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    # The server's reactor made it non-blocking. That mode belongs to the socket, which the server no longer uses.
    connection.setblocking(True)
    return connection


def _channel(descriptor: int, granted: bytes) -> SessionChannel:
    return SessionChannel(_adopt(descriptor), msgspec.json.decode(granted, type=Resumable))


def _status(descriptor: int) -> SessionStatus:
    try:
        return SessionStatus(descriptor, with_recovery=True)
    finally:
        os.close(descriptor)


def run(connection: socket.socket, settings: WorkerSettings) -> None:
    """Run a worker: wait for a job, do it, wait for the command to exit, and exit.

    Args:
        connection: The AMP socket.
        settings: The operator's options.
    """
    _settle(settings)
    worker = Worker(connection, settings)
    while True:
        try:
            worker.run()
        except BranchedOff as branched:
            # The descriptor has the number of the other session's socket, but belongs to this process.
            worker = Worker(connection, settings, branched.adapter)


def _settle(settings: WorkerSettings) -> None:
    """Set up the state that each worker has of its own."""
    if os.getpid() != os.getpgrp():
        os.setsid()
    process_control.rename("gymsock idle")
    process_control.become_subreaper()
    process_control.volunteer_for_oom()
    for kind, most in (
        (resource.RLIMIT_DATA, settings.memory_limit),
        # A control group limits the processes of one session; this limits those of all sessions of a user together.
        (resource.RLIMIT_NPROC, 0 if settings.control_groups else settings.process_limit),
        (resource.RLIMIT_NOFILE, settings.open_file_limit),
        (resource.RLIMIT_FSIZE, settings.file_size_limit),
    ):
        if most:
            process_control.limit(kind, most)
    process_control.isolate(debuggable=settings.debuggable)
    faulthandler.enable(2)
    for stream in (sys.stdout, sys.stderr):
        # Line by line, so that no output is lost if the environment crashes. A setup file may have replaced these
        # streams with any object.
        with contextlib.suppress(Exception):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr] # real files
    # Otherwise, all forked workers would draw the same numbers from NumPy's global generator.
    random.seed(settings.seed)
    if settings.seed is None:
        # Equivalent to seeding it with None, which would cost each worker 150 KB more.
        np.random.set_state(("MT19937", np.frombuffer(os.urandom(4 * _MT_WORDS), np.uint32), _MT_WORDS, 0, 0.0))
    else:
        np.random.seed(settings.seed % 2**32)
