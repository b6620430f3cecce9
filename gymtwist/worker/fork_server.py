"""The fork server: a process that imports everything once and forks workers on request.

It receives requests by AMP (:class:`~gymtwist.worker.amp_commands.Fork`), and it alone reaps the workers. When a worker
ends, it kills the processes that the worker left behind: the rest of its process group, and descendants outside the
group. The latter are reparented to the fork server, because each worker is a subreaper while it runs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from typing import Any

import msgspec
from twisted.internet import defer

from gymtwist.worker import amp_commands, process_control, snapshot_checks
from gymtwist.worker.amp_commands import ResponderLink
from gymtwist.worker.blocking_amp import AMPConnection

#: Seconds to wait for all child processes to end when the fork server ends.
_LEAVE_TIMEOUT = 2.0


class ForkRequest(msgspec.Struct, frozen=True):
    """The descriptors of a worker to fork.

    Attributes:
        amp: The descriptor of its AMP socket.
        output: The descriptor that it prints to.
    """

    amp: int
    output: int


class ForkServerProtocol(ResponderLink):
    """The fork server's end of AMP; it records requests, which :meth:`ForkServer.run` carries out.

    Attributes:
        descriptors: The received descriptors that are still open, including those of incomplete requests.
        adopted: Session processes forked by workers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: set[int] = set()
        self.fork_requests: list[tuple[ForkRequest, defer.Deferred[dict[str, Any]]]] = []
        self.to_kill: list[int] = []
        self.adopted: set[int] = set()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Keep a descriptor for the request that it belongs to."""
        self.descriptors.add(descriptor)
        super().fileDescriptorReceived(descriptor)

    @amp_commands.Fork.responder
    def fork(self, amp: int, output: int) -> defer.Deferred[dict[str, Any]]:
        """Record a request to fork a worker."""
        answer: defer.Deferred[dict[str, Any]] = defer.Deferred()
        self.fork_requests.append((ForkRequest(amp, output), answer))
        return answer

    @amp_commands.Kill.responder
    def kill(self, pid: int) -> dict[str, Any]:
        """Record a request to kill a worker."""
        self.to_kill.append(pid)
        return {}

    @amp_commands.Adopt.responder
    def adopt(self, pid: int) -> dict[str, Any]:
        """Note a process that a worker has forked for another session."""
        self.adopted.add(pid)
        return {}

    @amp_commands.Disown.responder
    def disown(self, pid: int) -> dict[str, Any]:
        """Forget a process that was adopted."""
        self.adopted.discard(pid)
        return {}


class ForkServer:
    """Forks workers on request and reaps them.

    Args:
        connection: The socket to the server; the fork server ends when it is closed.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._protocol = ForkServerProtocol()
        self._children: set[int] = set()
        self._own: frozenset[int] = frozenset()

    def run(self) -> ForkRequest | None:
        """Serve requests until the server closes the connection.

        Returns:
            None in the fork server itself, when it ends; in each new worker, its descriptors.
        """
        process_control.become_subreaper()
        # Processes started by --preload or --setup, such as a virtual display, stay until the end.
        self._own = frozenset(process_control.children())
        snapshot_checks.note_before()
        connection = AMPConnection(self._protocol, self._socket)
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_reader, False)
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(wake_reader, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == wake_reader:
                        os.read(wake_reader, 4096)
                        self._reap()
                    elif not connection.receive():
                        self._leave_nothing()
                        return None
                self._kill_requested()
                request = self._fork_all()
                if request is not None:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(wake_reader)
                    os.close(wake_writer)
                    return request

    def _fork_all(self) -> ForkRequest | None:
        """Fork the requested workers; return in each worker immediately."""
        while self._protocol.fork_requests:
            request, answer = self._protocol.fork_requests.pop(0)
            try:
                pid = os.fork()
            except OSError as error:
                self._close(request)
                answer.errback(error)
                continue
            if pid == 0:
                self._become_worker(request)
                return request
            self._close(request)
            self._children.add(pid)
            answer.callback({"pid": pid})
        return None

    def _become_worker(self, request: ForkRequest) -> None:
        self._socket.close()
        # The descriptors of workers yet to be forked.
        for descriptor in self._protocol.descriptors - {request.amp, request.output}:
            os.close(descriptor)
        self._protocol.fork_requests.clear()
        for descriptor in (1, 2):
            os.dup2(request.output, descriptor)
        os.close(request.output)

    def _close(self, request: ForkRequest) -> None:
        for descriptor in (request.amp, request.output):
            os.close(descriptor)
            self._protocol.descriptors.discard(descriptor)

    def _reap(self) -> None:
        """Reap the workers that have ended, after killing the processes that they left behind."""
        while True:
            try:
                # A process keeps its id until it is reaped, so this kills the right group.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid in self._children:
                process_control.kill_group(pid)
            _, status = os.waitpid(pid, 0)
            self._kill_orphans()
            if pid in self._children:
                self._children.discard(pid)
                with contextlib.suppress(ConnectionError):  # the server has ended; the loop notices next
                    self._protocol.callRemote(amp_commands.Exited, pid=pid, status=status)

    def _kill_requested(self) -> None:
        """Kill the workers that the server asked to kill, except those that were reaped already."""
        while self._protocol.to_kill:
            pid = self._protocol.to_kill.pop()
            if pid in self._children:
                os.kill(pid, signal.SIGKILL)  # it may not lead a group yet
                process_control.kill_group(pid)

    def _kill_orphans(self) -> None:
        """Kill reparented processes, which workers that have ended left behind."""
        for orphan in set(process_control.children()) - self._children - self._own - self._protocol.adopted:
            with contextlib.suppress(PermissionError, ProcessLookupError):  # it changed its user
                os.kill(orphan, signal.SIGKILL)

    def _leave_nothing(self) -> None:
        """End all child processes: the server has ended, or is about to.

        Workers and their processes are killed; processes started by --preload or --setup get a SIGTERM first.
        """
        for pid in self._children | self._protocol.adopted:
            process_control.kill_group(pid)
        for pid in self._own.intersection(process_control.children()):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _LEAVE_TIMEOUT
        while process_control.children() and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.01)
        for pid in process_control.children():
            os.kill(pid, signal.SIGKILL)
