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

import numpy as np

from gymtwist.worker import amp_commands, parent_death, process_control, session_loop
from gymtwist.worker.amp_commands import ResponderLink
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings

#: The size of the state of the Mersenne Twister, NumPy's global generator, in 32-bit words.
_MT_WORDS = 624


class WorkerProtocol(ResponderLink):
    """The worker's AMP protocol: ampoule's ``ampChild``.

    Args:
        settings: The operator's options.
        connection: The AMP socket.
    """

    def __init__(self, settings: WorkerSettings, connection: socket.socket) -> None:
        super().__init__()
        self._settings = settings
        self._connection = connection

    @amp_commands.Serve.responder
    def serve(  # noqa: PLR0913 # the arguments of the command
        self,
        session: int,
        protocol: bytes,
        handshake: bytes,
        trailing_data: bytes,
        recovery_reply: bytes,
        directory: str,
        overrides: bytes,
        socket: int,
        status: int,
    ) -> dict[str, Any]:
        """Serve one connection to its end, in a directory; ``session`` is its number in the server's log."""
        process_control.rename(f"gymsock {session}")
        settings = self._settings.with_overrides(overrides)
        if settings.memory_limit != self._settings.memory_limit:
            process_control.limit(resource.RLIMIT_DATA, settings.memory_limit)
        with parent_death.tied(self._connection):
            if directory:
                os.chdir(directory)
            reason = session_loop.serve(
                protocol.decode(),
                _adopt(socket),
                handshake,
                trailing_data,
                settings,
                _status(status),
                recovery_reply,
            )
        # The server may look at this process only when it has ended.
        return {"reason": reason, "processor_time": process_control.processor_time()}


def _adopt(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    # The server's reactor made it non-blocking. The mode belongs to the socket, which the server no longer uses.
    connection.setblocking(True)
    return connection


def _status(descriptor: int) -> SessionStatus:
    try:
        return SessionStatus(descriptor, with_recovery=True)
    finally:
        os.close(descriptor)


def run(connection: socket.socket, settings: WorkerSettings) -> None:
    """Run a worker: wait for a job, do it, wait for the command to end, and exit.

    Args:
        connection: The AMP socket.
        settings: The operator's options.
    """
    _settle(settings)
    amp_connection = AMPConnection(WorkerProtocol(settings, connection), connection)
    while amp_connection.receive():
        pass
    # Exit functions that an environment registered may hang, too.
    with parent_death.tied(connection):
        process_control.leave(0)


def _settle(settings: WorkerSettings) -> None:
    """Set up the state that each worker has for itself."""
    if os.getpid() != os.getpgrp():
        os.setsid()
    process_control.rename("gymsock idle")
    process_control.become_subreaper()
    process_control.volunteer_for_oom()
    for kind, most in (
        (resource.RLIMIT_DATA, settings.memory_limit),
        (resource.RLIMIT_NPROC, settings.process_limit),
        (resource.RLIMIT_FSIZE, settings.file_size_limit),
    ):
        if most:
            process_control.limit(kind, most)
    process_control.isolate(debuggable=settings.debuggable)
    faulthandler.enable(2)
    for stream in (sys.stdout, sys.stderr):
        # Line by line, so that no output is lost if the environment crashes. A setup file may have replaced these files
        # with any object.
        with contextlib.suppress(Exception):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr] # real files
    # Forked workers would all draw the same numbers from NumPy's global generator.
    random.seed(settings.seed)
    if settings.seed is None:
        # The same as seeding it with None, which costs each worker 150 KB more.
        np.random.set_state(("MT19937", np.frombuffer(os.urandom(4 * _MT_WORDS), np.uint32), _MT_WORDS, 0, 0.0))
    else:
        np.random.seed(settings.seed % 2**32)
