"""One session as the server sees it: the job of a child, its vitals, and its two lines in the log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.python.failure import Failure

from gymtwist.errors import EnvironmentFault, WorkerStartError
from gymtwist.protocol.handshake import Handshake, ProtocolName, error_reply
from gymtwist.server.server_log import log, printable
from gymtwist.server.worker_process import WorkerExited, WorkerProcess
from gymtwist.worker import session_status
from gymtwist.worker.session_status import SessionStatus

if TYPE_CHECKING:
    from gymtwist.server.gym_service import GymService


#: How often, beyond the idle ones, a session is given to another child if one ends before it has begun: with the fork
#: server all that were being forked come to nothing.
_TRIES = 3
#: Seconds a child has to exit once it has answered; then it is killed.
EXIT_TIMEOUT = 10.0


class Session:
    """A client's time with a child.

    Args:
        service: The server.
        handshake: What the client asked for.
        client: Who it is, for the log.

    Attributes:
        number: The session's number, for the log.
        status: How it is doing.
        reason: Why the server ended it; None if it did not.
        overdue: What took the environment too long, if that is why its process is killed and another is to go on.
        handed_over: When it was given to a child, by ``time.monotonic``.
    """

    def __init__(self, service: GymService, handshake: Handshake, client: str) -> None:
        self.number = service.next_session_number()
        self.reason: str | None = None
        self.overdue = ""
        self.handed_over = self._begun = time.monotonic()
        self._service = service
        self._handshake = handshake
        self._client = client
        self._worker: WorkerProcess | None = None
        self._ended = False
        self._start_logged = False
        self._tries = 0
        self._vitals_descriptor = session_status.create()
        try:
            self.status = SessionStatus(self._vitals_descriptor)
        except OSError:
            os.close(self._vitals_descriptor)
            raise
        self._greeting = b""
        self._descriptor = -1
        self._shared = True
        self._trailing_data = b""
        self._on_end: Callable[[bytes], None]
        self._on_take_over: Callable[[], None]

    def start(
        self,
        descriptor: int,
        trailing_data: bytes,
        on_end: Callable[[bytes], None],
        on_resume: Callable[[], None],
        *,
        shared: bool,
    ) -> None:
        """Give the connection to a child.

        Args:
            descriptor: The client's socket, or what stands for it.
            trailing_data: What the client sent behind its opening.
            on_end: Called when the session has ended, with the last words that the client is owed.
            on_resume: Called when the session goes on with another child, its own having died.
            shared: Whether the descriptor stays open here; otherwise it is closed when the session ends.
        """
        self._descriptor, self._trailing_data, self._shared = descriptor, trailing_data, shared
        self._on_end, self._on_take_over = on_end, on_resume
        self._give()

    def _give(self) -> None:
        self._tries += 1
        self.handed_over = time.monotonic()
        # What the pool raises itself ends the session as a child's failure does.
        answer = defer.maybeDeferred(
            self._service.pool.serve,
            self._assigned,
            session=self.number,
            protocol=self._handshake.protocol.value.encode(),
            handshake=self._handshake.message,
            trailing_data=self._trailing_data,
            recovery_reply=self._greeting,
            socket=self._descriptor,
            status=self._vitals_descriptor,
        )
        answer.addCallbacks(self._answered, self._failed)
        answer.addErrback(self._broken)

    def _assigned(self, worker: WorkerProcess) -> None:
        self._worker = worker
        worker.output.source = f"session {self.number}"
        worker.pid.addCallback(self._log_start)

    def _log_start(self, pid: int | None) -> int | None:
        """Log the start; a session can be over before the fork server has told the process id of its child."""
        if not self._start_logged:
            self._start_logged = True
            log.info(
                "[session {number}] started: {environment} for {client} ({protocol}, {process})",
                number=self.number,
                environment=self._environment,
                client=self._client,
                protocol=self._handshake.protocol.value,
                process="process not known" if pid is None else f"process {pid}",
            )
        return pid

    @property
    def _environment(self) -> str:
        return printable(self._handshake.environment) or "no environment"

    def kill(self) -> None:
        """Kill the child and all in its process group."""
        if self._worker is not None:
            self._worker.kill()

    def _answered(self, answer: dict[str, Any]) -> None:
        worker = self._worker
        assert worker is not None
        worker.output.drain()
        if not worker.finished.called:
            timeout = self._service.reactor.callLater(EXIT_TIMEOUT, worker.kill)

            def exited(how: str) -> str:
                if timeout.active():
                    timeout.cancel()
                return how

            worker.finished.addCallback(exited)
        # A child that answers has told its client all there was to tell, if it could tell it anything.
        self._end(answer["reason"], b"" if self.status.answered else self._final_reply(answer["reason"]))

    @property
    def can_be_resumed(self) -> bool:
        """Whether another child can go on if this one dies now: the client then notices by an error alone."""
        if self._handshake.protocol is ProtocolName.CLASSIC or self.reason is not None:
            return False  # most replies of the classic protocol have no place for an error
        return self._is_owed_reply and self.status.can_be_resumed

    @property
    def _is_owed_reply(self) -> bool:
        """Whether a reply is what the client reads next, and not the rest of one."""
        # The opening is answered with one write, so there is either all of it or nothing. Later in the framed protocol
        # no reply is under way while the environment is busy.
        if not self.status.answered:
            return True
        return self._handshake.protocol is not ProtocolName.CLASSIC and self.status.busy_since is not None

    def _failed(self, failure: Failure) -> None:
        """The child ended without an answer, or there was none to ask."""
        worker_exited = failure.check(WorkerExited) is not None
        tries = _TRIES + self._service.options.warm
        begun = self.status.busy_since is not None or self.status.last_activity
        if worker_exited and not begun and self.reason is None and self._tries < tries:
            # Nothing has been read from the client: it does not notice.
            self._give()
        elif worker_exited and begun and self.can_be_resumed:
            self._hand_on(str(failure.value))
        else:
            how = (
                f"its process {failure.value}"
                if worker_exited
                else f"no process serves it: {failure.getErrorMessage()}"
            )
            # Of a session that was to be gone on with, the client is owed the greeting still.
            ungreeted = not begun and self._greeting
            self._end(how, self._greeting if ungreeted else self._final_reply(how, worker_exited=worker_exited))

    def _hand_on(self, how: str) -> None:
        """Give the session to another child: its own has died while the client was waiting for a reply."""
        operation = self.status.operation.name.lower()
        made = self.status.made
        log.error(
            "[session {number}] its process {how} in {operation}{because}; another goes on",
            number=self.number,
            how=how,
            operation=operation,
            because=f" ({self.overdue})" if self.overdue else "",
        )
        told = f"the environment's process {how} in {operation}: " if not self.overdue else f"{self.overdue}: "
        told += "reset to go on with a fresh environment" if made else "make it otherwise, or make another"
        error = EnvironmentFault(operation, told)
        self._greeting = error_reply(self._handshake.protocol, error, reset_needed=made)
        self.overdue = ""
        if self.status.answered:
            self._trailing_data = b""  # it was read, and what is left of it is kept with the rest
        self._worker = None
        self._tries = 0
        self.status.hand_on()
        self._give()
        self._on_take_over()

    def _final_reply(self, reason: str, *, worker_exited: bool = False) -> bytes:
        """Return what the client is owed."""
        if not self._is_owed_reply or (self.status.answered and not self.status.can_be_resumed):
            return b""
        told = f"the session ended: {self.reason or reason}"
        error = EnvironmentFault(self.status.operation.name.lower(), told) if worker_exited else WorkerStartError(told)
        return error_reply(self._handshake.protocol, error)

    def _broken(self, failure: Failure) -> None:
        """An error of the server itself must not leave the client without an end."""
        log.failure("[session {number}] an error in gymtwist itself", failure, number=self.number)
        if not self._ended:
            self._end("an error in gymtwist itself", b"")

    def _end(self, reason: str, final_reply: bytes) -> None:
        self._ended = True
        self._log_start(None)
        elapsed = time.monotonic() - self._begun
        steps = self.status.steps
        log.info(
            "[session {number}] ended: {reason}; {environment} for {client}, {steps} steps, {episodes} episodes, "
            "{rate:.0f} steps/s, {elapsed:.1f} s",
            number=self.number,
            reason=printable(self.reason or reason),
            environment=self._environment,
            client=self._client,
            steps=steps,
            episodes=self.status.episodes,
            rate=steps / elapsed if elapsed else 0.0,
            elapsed=elapsed,
        )
        self.discard()
        if not self._shared:
            os.close(self._descriptor)
        self._on_end(final_reply)

    def discard(self) -> None:
        """Let go of the vitals."""
        self.status.close()
        os.close(self._vitals_descriptor)
