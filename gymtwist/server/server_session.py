"""A session in the server: it is assigned to a worker, and to another one if that worker crashes."""

from __future__ import annotations

import collections
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
from twisted.internet import defer
from twisted.python.failure import Failure

from gymtwist.error_texts import RESET_TO_CONTINUE, process_ended
from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    RequestError,
    UnknownSession,
    UnknownSnapshot,
    WorkerStartError,
)
from gymtwist.protocol.handshake import Handshake, ProtocolName, error_reply
from gymtwist.server import keepalive
from gymtwist.server.reconnection import Reconnection
from gymtwist.server.scratch_directories import ScratchDirectories
from gymtwist.server.server_log import log
from gymtwist.server.session_events import SessionEvents, SessionInfo
from gymtwist.server.session_reporter import SessionReporter
from gymtwist.server.session_resources import SessionResources
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_process import WorkerExited, WorkerProcess
from gymtwist.worker import session_status
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings

#: How many workers, beyond the idle ones, to try for a session if each ends before it begins: when the fork server is
#: killed, all workers being forked are lost.
MAX_ATTEMPTS = 3
#: How many lines of a session's output are kept.
_KEPT_LINES = 100
NO_SUCH_TICKET = "branch: no snapshot has this ticket: it was released, or its session has ended"
#: The end reason of a session whose process got SIGTERM.
ENDED_BY_OPERATOR = "an operator ended it (SIGTERM)"


class SessionOwner(Protocol):
    """What owns a session: its connection, or what stands in for a lost connection."""

    def session_resumed(self) -> None:
        """Note that another worker serves the session."""

    def session_disconnected(self) -> SessionOwner:
        """Note that the connection is lost, and return what owns the session until its client comes back."""

    def session_taken(self) -> None:
        """Note that another connection of the client has the session now."""

    def session_ended(self, final_reply: bytes) -> None:
        """Note that the session has ended, and send the client a final reply, if it is not empty."""

    def stop(self, reason: str) -> None:
        """End the session."""


class Terms(msgspec.Struct, frozen=True):
    """The terms of one session that differ from the server's.

    Attributes:
        identity: The name of the client's identity, for error messages.
        seconds: The maximum duration, in seconds; None for no limit.
        processor_seconds: The maximum processor time of its processes, in seconds; None for no limit.
        settings: The worker settings that differ from those that the workers were started with.
    """

    identity: str = ""
    seconds: float | None = None
    processor_seconds: float | None = None
    settings: Mapping[str, Any] = {}


class _Job(msgspec.Struct):
    """The arguments of :class:`~gymtwist.worker.amp_commands.Serve`."""

    session: int
    protocol: bytes
    handshake: bytes
    trailing_data: bytes
    recovery_reply: bytes
    directory: str
    overrides: bytes
    user: int
    socket: int
    status: int
    resume: bytes | None = None
    channel: int | None = None


class Session:
    """One session of a client.

    Args:
        info: The description of the session, for events.
        handshake: The client's first message.
        pool: The workers.
        events: Where to publish events.
        scratch: Makes the session's working directory; None to use the workers' own.
        in_thread: Calls a function in a thread; returns a Deferred that fires with the result.
        running: The running sessions by number; contains this one from :meth:`start` until it ends.
        terms: The terms of this session.

    Attributes:
        info: The description of the session, for events.
        output: The last lines that its processes have printed.
        status: The progress of the session, as written by the worker.
        reason: Why the server ended the session; None if it did not.
        timeout_reason: The timeout for which the worker is killed and the session resumed; empty if there is none.
        begun_at: When the session began, by ``time.monotonic``.
        assigned_at: When it was assigned to a worker, likewise.
        left_at: When the client was found to have left, likewise; None if it was not.
        reconnection: Lets it outlive its connection; None if it ends with its connection.
        disconnected_at: When it lost its connection, likewise; None while it has one.

    Raises:
        OSError: There are no descriptors left, or there is no memory.
    """

    def __init__(
        self,
        info: SessionInfo,
        handshake: Handshake,
        pool: WorkerPool,
        events: SessionEvents,
        scratch: ScratchDirectories | None,
        in_thread: Callable[..., defer.Deferred[Any]],
        running: dict[int, Session],
        terms: Terms,
    ) -> None:
        self.info = info
        self.output: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._running = running
        self.reason: str | None = None
        self.timeout_reason = ""
        self.assigned_at = time.monotonic()
        self.left_at: float | None = None
        self.reconnection: Reconnection | None = None
        self.disconnected_at: float | None = None
        self._terms = terms
        self.begun_at = self.assigned_at
        descriptor = session_status.create()
        try:
            self.status = SessionStatus(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        directory = "" if scratch is None else scratch.make(info.number)
        self._scratch = scratch
        protocol = handshake.protocol.value.encode()
        self._warnings = handshake.warnings
        own: dict[str, Any] = dict(terms.settings)
        started: WorkerSettings = pool.starter.settings
        limits = [each for each in (started.memory_limit, own.get("memory_limit", 0)) if each]
        settings = msgspec.structs.replace(started, memory_limit=min(limits, default=0))
        if "memory_limit" in own:
            own["memory_limit"] = settings.memory_limit
        overrides = msgspec.json.encode(own) if own else b""
        self._job = _Job(info.number, protocol, handshake.message, b"", b"", directory, overrides, 0, -1, descriptor)
        #: A socket whose other end is closed, for a worker that begins without a connection.
        self._no_connection: socket.socket | None = None
        #: The bytes sent and received over connections that are lost.
        self._past_exchanged = (0, 0)
        self._pool = pool
        self._report = SessionReporter(info, events)
        self._resources = SessionResources(self._report, self.status, settings, in_thread, self._workers)
        self._owner: SessionOwner
        self._worker: WorkerProcess | None = None
        self._attempts = 0
        #: Makes another session's worker fork the first worker; None to take one from the pool.
        self._origin: Callable[..., defer.Deferred[dict[str, Any]]] | None = None
        self._is_branched = False

    def start(self, owner: SessionOwner, descriptor: int, trailing_data: bytes) -> None:
        """Assign the session to a worker.

        Args:
            owner: Called when the session is resumed or has ended.
            descriptor: The client's socket, or the worker's end of a relay; it must stay open until the session ends.
            trailing_data: The bytes that the client sent after its handshake.
        """
        self._owner = owner
        self._job.socket, self._job.trailing_data = descriptor, trailing_data
        self._running[self.info.number] = self
        self._assign()

    def continue_from(self, recovery_reply: bytes, make: bytes) -> None:
        """Continue a session whose worker on another server has ended; call this before :meth:`start`.

        Args:
            recovery_reply: What the client gets first.
            make: The payload of the make message; empty if there is no environment.
        """
        self._job.recovery_reply = recovery_reply
        status = SessionStatus(self._job.status, with_recovery=True)
        status.recovery[: len(make)] = make
        status.words[session_status.MADE] = float(len(make))
        status.close()

    @property
    def directory(self) -> str:
        """The scratch directory."""
        return self._job.directory

    def branches_off(self, origin: Session, ticket: str) -> None:
        """Begin with a snapshot of another session instead of a new environment.

        Args:
            origin: The other session.
            ticket: The ticket of the snapshot.
        """
        self._origin = partial(origin.branch, ticket)
        if self._scratch is not None:
            self._scratch.share_users(self._job.directory, origin.directory)

    def branch(
        self, ticket: str, assigned: Callable[[WorkerProcess], None], **job: Any
    ) -> defer.Deferred[dict[str, Any]]:
        """Make the worker fork a worker for another session, from a snapshot.

        Args:
            ticket: The ticket of the snapshot.
            assigned: Called with the new worker; see :meth:`~gymtwist.server.worker_pool.WorkerPool.serve`.
            job: The arguments of ``Serve``; see :meth:`~gymtwist.server.worker_pool.WorkerPool.serve`.

        Raises:
            UnknownSnapshot: The session has no snapshots.
        """
        if self._worker is None or not self.status.snapshots or not self.is_watched_here or self._report.ended:
            raise UnknownSnapshot(NO_SUCH_TICKET)
        return self._pool.branch(self._worker, ticket, assigned, **job)

    def _assign(self) -> None:
        self._attempts += 1
        self._resources.process = None
        self.assigned_at = time.monotonic()
        self._is_branched = self._origin is not None
        serve, self._origin = self._origin or self._pool.serve, None
        # An error raised by the pool ends the session like a failure of the worker.
        answer = defer.maybeDeferred(self._serve, serve)
        answer.addCallbacks(self._answered, self._failed)
        answer.addErrback(self._broken)

    def _serve(self, serve: Callable[..., defer.Deferred[dict[str, Any]]]) -> defer.Deferred[dict[str, Any]]:
        if self._scratch is not None:
            self._job.user = self._scratch.user(self._job.directory)
        if self.reconnection is not None:
            self._job.channel = self.reconnection.open(self._lost_connection, self.kill)
        return serve(self._assigned, **msgspec.structs.asdict(self._job))

    def _assigned(self, worker: WorkerProcess) -> None:
        self._worker = worker
        worker.output.source = f"session {self._job.session}"
        worker.output.kept = self.output
        worker.session = self
        worker.pid.addCallback(self._known, worker.end)

    def _known(self, process: int | None, link: int) -> None:
        groups = self._pool.starter.groups
        self._resources.served_by(process, link, branched=self._is_branched, groups=groups)
        self._report.assigned(process, self.place)

    @property
    def process(self) -> int | None:
        """The id of the process that serves the session; None if it is not known."""
        return self._resources.process

    @property
    def place(self) -> str:
        """The node that its worker is on; empty for this machine."""
        return "" if self._worker is None else self._worker.place

    def used(self) -> tuple[int, float]:
        """Return the memory that its process holds, in bytes, and its processor time so far, in seconds."""
        return self._resources.used() or ((0, 0.0) if self._worker is None else self._worker.used)

    def _workers(self) -> set[int]:
        """Return the ids of the processes that serve running sessions."""
        return {each.process for each in self._running.values() if each.process is not None}

    def lost_place(self, how: str) -> None:
        """Note that its node is lost and that it continues on another; called by its worker.

        Args:
            how: How the node was lost, as a clause.
        """
        self._report.crashed(how, self.status, "")
        self._report.resuming()

    def found_place(self) -> None:
        """Note that it continues on another node; called by its worker."""
        self._report.assigned(None, self.place)

    @property
    def started_at(self) -> float:
        """When the session began, by ``time.monotonic``."""
        return self._report.started_at

    @property
    def client_socket(self) -> socket.socket | None:
        """The client's socket; None if it has none in this process."""
        return getattr(self._owner, "client_socket", None)

    @property
    def bytes_exchanged(self) -> tuple[int, int]:
        """How many bytes the client has received and sent over TCP, as far as the kernel counts them."""
        sent, received = keepalive.bytes_exchanged(self.client_socket)
        return self._past_exchanged[0] + sent, self._past_exchanged[1] + received

    def map_frame(self) -> mmap.mmap:
        """Map the memory into which the worker writes frames.

        Raises:
            OSError: There is no memory left.
        """
        offset, size = session_status.FRAME_OFFSET, session_status.FRAME_SIZE
        return mmap.mmap(self._job.status, size, offset=offset)

    @property
    def is_watched_here(self) -> bool:
        """Whether this server watches the worker; nodes watch their own workers."""
        return self._pool.is_watching

    @property
    def worker_is_responsive(self) -> bool:
        """Whether the worker is known to answer, so that it should begin at once."""
        return self._worker is not None and self._worker.link.responsive

    @property
    def ready_timeout(self) -> float:
        """How long a worker may take to import everything, in seconds."""
        return self._pool.starter.ready_timeout  # type: ignore[no-any-return] # ampoule has no types

    @property
    def time_left(self) -> float | None:
        """How much longer the session may last, in seconds; None for no limit."""
        most = self._terms.seconds
        return None if most is None else most - (time.monotonic() - self.begun_at)

    def over_quota(self) -> str:
        """Return which limit of its client's identity the session has reached, as a reason to end it; empty if none."""
        left, most = self.time_left, self._terms.processor_seconds
        if left is not None and left <= 0:
            return f'it has lasted {self._terms.seconds:g} s, as long as "{self._terms.identity}" may (session-seconds)'
        if most is not None and self._resources.processor_time() >= most:
            return (
                f'it has had {most:g} s of processor time, as much as "{self._terms.identity}" may (processor-seconds)'
            )
        return ""

    def explained(self, timeout: str) -> str:
        """Return why an overdue worker is killed, with a likely cause if there is one."""
        threads = self._pool.starter.readiness.threads
        if not threads or self.status.steps:
            return timeout
        return f"{timeout} (perhaps because {threads} started threads before the fork; see --spawn)"

    def check_memory(self) -> None:
        """Kill the environment's processes if they and the worker hold more memory than a limit allows."""
        self._resources.check_memory()

    def end(self, reason: str) -> None:
        """End the session as soon as the environment returns.

        Args:
            reason: Why, for the log.
        """
        self._owner.stop(reason)

    def give_up(self, reason: str) -> None:
        """Note why the session is ending; it no longer waits for another connection.

        Args:
            reason: Why, for the log.
        """
        self.reason = reason
        if self.reconnection is not None:
            self.reconnection.close()

    # Its connections, if it outlives them

    def outlive_connection(self, reconnection: Reconnection) -> None:
        """Let the session outlive its connection; call this before :meth:`start`."""
        self.reconnection, self._job.resume = reconnection, reconnection.granted

    def may_reconnect(self, secret: str, identity: str, protocol: ProtocolName) -> bool:
        """Return whether a client may resume the session over another connection."""
        reconnection = self.reconnection
        if reconnection is None or not self.status.outlives_connection or self.reason is not None:
            return False
        return reconnection.has(secret) and self.info.identity == identity and self.info.protocol is protocol

    def reconnect(
        self, owner: SessionOwner, client: str, descriptor: int, received: int | None, trailing_data: bytes
    ) -> None:
        """Move the session to another connection; if it still has one, that one loses it.

        Args:
            owner: The new connection.
            client: The client's address.
            descriptor: The client's socket, or the worker's end of a relay; it must stay open until the session ends.
            received: How many replies the client has received; None if it does not know.
            trailing_data: The bytes that the client sent after its handshake.

        Raises:
            OSError: There are no descriptors left.
        """
        assert self.reconnection is not None
        self.reconnection.hand_over(descriptor, received, trailing_data)
        now = time.monotonic()
        seconds = 0.0 if self.disconnected_at is None else now - self.disconnected_at
        if self.disconnected_at is None:
            self._past_exchanged = self.bytes_exchanged
        self.disconnected_at = self.left_at = None
        previous, self._owner = self._owner, owner
        self.info = self._report.info = msgspec.structs.replace(self.info, client=client)
        self._report.reconnected(seconds)
        previous.session_taken()

    def _lost_connection(self) -> None:
        """Wait for the client: the worker has lost its connection."""
        if self.reason is None and not self._report.ended:
            self._disconnect()

    def _disconnect(self) -> None:
        if self.disconnected_at is None:
            assert self.reconnection is not None
            self.disconnected_at = time.monotonic()
            self._past_exchanged = self.bytes_exchanged
            self._report.disconnected(self.reconnection.seconds)
            self._owner = self._owner.session_disconnected()

    def kill(self) -> None:
        """Kill the worker and every process in its group."""
        if self._worker is not None:
            self._worker.kill()

    # The end of a worker

    def _answered(self, answer: dict[str, Any]) -> None:
        """End the session: the worker has finished it, and replied to its client if it could."""
        reason = answer["reason"]
        self._resources.note_processor_time(answer["processor_time"] or 0.0)
        self._resources.forgive()
        if problem := self._resources.memory_problem:
            reason = f"{reason} ({problem})"
        self._end(reason, b"" if self.status.answered else self._final_reply(reason))

    def _failed(self, failure: Failure) -> None:
        """Resume, retry or end the session: the worker has ended without an answer, or there was none."""
        exited = failure.value
        if isinstance(exited, RequestError):
            self._end(f"refused: {exited}", self._error_reply(exited))
        elif not isinstance(exited, WorkerExited):
            reason = f"no process could serve it: {failure.getErrorMessage()}"
            self._end(reason, self._final_reply(reason))
        elif exited.signal == signal.SIGTERM and not self.timeout_reason:
            # This is how an operator ends a single session, so no other worker resumes it.
            self._end(ENDED_BY_OPERATOR, self._final_reply(ENDED_BY_OPERATOR))
        elif self.status.busy_since is None and not self.status.last_activity:
            self._failed_to_begin(str(exited))
        else:
            self._crashed(str(exited))

    def _failed_to_begin(self, how: str) -> None:
        """Try another worker: this one has read nothing from the client, so the client does not notice."""
        if self.reason is None and self._attempts < MAX_ATTEMPTS + self._pool.warm:
            self._assign()
        else:
            reason = f"its process {how}"
            self._end(reason, self._job.recovery_reply or self._final_reply(reason, crashed=True))

    def _crashed(self, how: str) -> None:
        self._resources.forgive()
        self.timeout_reason = self.timeout_reason or self._resources.memory_problem
        if self.reason is None:
            self._report.crashed(how, self.status, self.timeout_reason)
        if self.can_be_resumed:
            self._resume(how)
        else:
            reason = f"its process {how} ({self.timeout_reason})" if self.timeout_reason else f"its process {how}"
            self._end(reason, self._final_reply(reason, crashed=True))

    @property
    def can_be_resumed(self) -> bool:
        """Whether another worker can continue if this one ends now; the client then gets an error reply."""
        if self._protocol is ProtocolName.CLASSIC or self.reason is not None:
            return False  # most replies of the classic protocol cannot carry an error
        return self._is_owed_reply and self.status.can_be_resumed

    @property
    def _is_owed_reply(self) -> bool:
        """Whether the client is waiting for a whole reply, rather than the rest of one."""
        # The handshake is answered with one write, so the client has either the whole reply or none of it. Later, in
        # the framed protocol, no reply is being sent while the environment is busy.
        if not self.status.answered:
            return True
        return self._protocol is not ProtocolName.CLASSIC and self.status.busy_since is not None

    @property
    def _protocol(self) -> ProtocolName:
        return self._report.info.protocol

    def _resume(self, how: str) -> None:
        """Assign the session to another worker, which first sends the client an error."""
        self._resources.begin_anew()
        operation = self.status.operation.name.lower()
        made = self.status.made
        problem = self.timeout_reason or process_ended(how, operation)
        remedy = RESET_TO_CONTINUE if made else "make it with other arguments, or make another environment"
        error = EnvironmentFault(operation, f"{problem}: {remedy}")
        self._job.recovery_reply = self._error_reply(error, reset_needed=made)
        self.timeout_reason = ""
        if self.status.answered:
            self._job.trailing_data = b""  # the worker has read it; what still matters is in the recovery state
        self._worker = None
        self._attempts = 0
        if self.reconnection is not None and self.status.outlives_connection:
            self._begin_without_connection()
        self.status.prepare_resume()
        self._report.resuming()
        self._assign()
        self._owner.session_resumed()

    def _begin_without_connection(self) -> None:
        """Let the next worker begin by waiting for a connection: part of a message may be lost with the last one."""
        assert self.reconnection is not None
        if not self.reconnection.is_pending:
            self._disconnect()
        if self._no_connection is None:
            self._no_connection, other = socket.socketpair()
            other.close()
        self._job.socket = self._no_connection.fileno()

    # The end of the session

    def _final_reply(self, reason: str, *, crashed: bool = False) -> bytes:
        """Encode an error for the client, if it is waiting for a reply; otherwise return no bytes."""
        if not self._is_owed_reply or (self.status.answered and not self.status.can_be_resumed):
            return b""
        text = f"the session ended: {self.reason or reason}"
        error = EnvironmentFault(self.status.operation.name.lower(), text) if crashed else WorkerStartError(text)
        return self._error_reply(error)

    def _error_reply(self, error: GymtwistError, *, reset_needed: bool = False) -> bytes:
        """Encode an error; if it answers the handshake, add the warnings about that."""
        if not self.status.answered:
            error.warnings = self._warnings
        return error_reply(self._protocol, error, reset_needed=reset_needed)

    def _broken(self, failure: Failure) -> None:
        """Close the client's connection after an internal error of the server."""
        log.failure("[session {number}] an error in gymtwist itself", failure, number=self._job.session)
        if not self._report.ended:
            self._end("an error in gymtwist itself", b"")

    def _end(self, reason: str, final_reply: bytes) -> None:
        self._report.end(self.reason or reason, self.status, self._resources.processor_time(), self.bytes_exchanged)
        del self._running[self.info.number]
        if self.reconnection is not None and self.reconnection.is_pending and not final_reply:
            final_reply = self._error_reply(UnknownSession(f"the session has ended meanwhile: {self.reason or reason}"))
        self.discard()
        self._owner.session_ended(final_reply)

    def discard(self) -> None:
        """Release the status and, once the worker has ended, remove the directory."""
        self.status.close()
        os.close(self._job.status)
        if self.reconnection is not None:
            self.reconnection.end()
        if self._no_connection is not None:
            self._no_connection.close()
        if self._worker is None:
            self._remove_directory("")
        else:
            self._worker.finished.addCallback(self._remove_directory)

    def _remove_directory(self, how: str) -> str:
        if self._scratch is not None:
            self._scratch.remove(self._job.directory)
        return how
