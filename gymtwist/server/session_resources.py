"""The memory and processor time of a session's processes, and what happens when they hold too much memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from gymtwist.server import process_memory
from gymtwist.server.control_groups import ControlGroups
from gymtwist.server.process_memory import SessionMemory, Usage
from gymtwist.server.server_log import log
from gymtwist.server.session_reporter import SessionReporter
from gymtwist.worker.session_cgroup import SessionGroup
from gymtwist.worker.session_status import OUT_OF_MEMORY, PROCESSES_KILLED, SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings


class SessionResources:
    """Measures the processes of a session, and kills the environment's processes if they hold too much memory.

    Args:
        report: Publishes the session's events.
        status: The progress of the session, as written by the worker.
        settings: The settings of its worker.
        in_thread: Calls a function in a thread; returns a Deferred that fires with the result.
        workers: Returns the process ids of all sessions' workers, some of which may have branched off from this
            session.

    Attributes:
        process: The id of the process that serves the session; None if it is not known.
    """

    #: The control group of its processes; None if they have none.
    _group: SessionGroup | None = None

    def __init__(
        self,
        report: SessionReporter,
        status: SessionStatus,
        settings: WorkerSettings,
        in_thread: Callable[..., defer.Deferred[Any]],
        workers: Callable[[], set[int]],
    ) -> None:
        self.process: int | None = None
        self._report, self._status, self._settings = report, status, settings
        self._in_thread, self._workers = in_thread, workers
        #: The processor time of earlier workers, and the last measurement of the current one, in seconds.
        self._past_time = self._last_time = 0.0
        self._memory = SessionMemory()
        self._is_measured = False
        #: The step count when the environment's processes were killed; None if none were, or it has continued since.
        self._steps_at_kill: int | None = None
        self._went_on_before = False

    def used(self) -> tuple[int, float] | None:
        """Return the bytes its process holds and its processor time in seconds; None if they are not known."""
        if self.process is None:
            return None
        below = bool(self._status.snapshots_taken)
        return process_memory.used_by(self.process, with_children=below, others=self._others())

    def _others(self) -> Container[int]:
        """Return the workers of other sessions, which are below this one's if they branched off from it."""
        return self._workers() - {self.process} if self._status.snapshots_taken else ()

    def processor_time(self) -> float:
        """Return the processor time of all its processes in seconds, including earlier workers."""
        used = self.used()
        if used is not None:
            self.note_processor_time(used[1])
        return self._past_time + self._last_time

    def note_processor_time(self, seconds: float) -> None:
        """Note the processor time that its worker has reported, in seconds."""
        self._last_time = max(self._last_time, seconds)

    def begin_anew(self) -> None:
        """Note that another worker will serve the session."""
        self._past_time, self._last_time = self.processor_time(), 0.0
        self._steps_at_kill = None

    def served_by(self, process: int | None, link: int, *, branched: bool, groups: ControlGroups | None) -> None:
        """Note the process that serves the session.

        Args:
            process: Its id; None if it is not known.
            link: The inode number of its end of the link to the server.
            branched: Whether another session's process forked it, so that it is still in that session's control group.
            groups: The control groups of the server's sessions; None if there are none.
        """
        self.process = process
        if process is None or groups is None:
            return
        self._group = groups.of(process, link)
        if branched and self._group is not None:
            groups.move(self._group, self._settings)

    @property
    def memory_problem(self) -> str:
        """A message that the environment has run out of memory; empty if it has not."""
        if self._group is not None:
            was_killed, at_limit = self._group.lacks_memory()
            operation = self._status.operation.name.lower()
            if was_killed and at_limit:
                return self._settings.memory_problem(operation)
            if was_killed:
                return f"the machine, or the server's control group, ran out of memory in {operation}"
        if not self._status.out_of_memory:
            return ""
        return self._settings.memory_problem(self._status.operation.name.lower())

    def check_memory(self) -> None:
        """Kill the environment's processes if they and the worker hold more memory than a limit allows."""
        if self._goes_on_after_kill():
            # The additional steps may belong to a step of a vector environment that was under way.
            if self._went_on_before:
                self._forget_lack_of_memory()
            else:
                self._went_on_before, self._steps_at_kill = True, self._status.steps
        if self.process is None or self._is_measured or not self._settings.memory_limit or self._group is not None:
            return
        self._is_measured = True
        limit = self._settings.memory_limit
        self._memory.of_snapshots, self._memory.others = self._status.snapshot_bytes, self._others()
        measured = self._in_thread(self._memory.enforce, self.process, limit, self._note_out_of_memory)
        measured.addCallback(self._measured, self.process).addErrback(self._not_measured)

    def _note_out_of_memory(self) -> None:
        """Tell the worker why the environment is about to fail; called in a thread before the processes are killed."""
        with contextlib.suppress(ValueError):  # the session has ended
            self._status.words[OUT_OF_MEMORY] = PROCESSES_KILLED

    def _measured(self, usage: Usage, process: int) -> None:
        self._is_measured = False
        limit = self._settings.memory_limit
        if usage.held > limit and not self._report.ended:
            self._report.memory_exceeded(usage, limit)
            if self.process == process:
                # A worker that was killed does not continue.
                self._steps_at_kill = None if usage.own > limit else self._status.steps
                self._went_on_before = False
            else:
                self._status.words[OUT_OF_MEMORY] = 0.0

    def _not_measured(self, failure: Failure) -> None:
        self._is_measured = False
        log.failure("[session {number}] its memory cannot be measured", failure, number=self._report.info.number)

    def forgive(self) -> None:
        """Forget that processes were killed, if the environment has continued without them."""
        if self._goes_on_after_kill():
            self._forget_lack_of_memory()

    def _goes_on_after_kill(self) -> bool:
        """Return whether the environment has taken steps since its processes were killed."""
        return self._steps_at_kill is not None and self._status.steps > self._steps_at_kill + 1

    def _forget_lack_of_memory(self) -> None:
        """Forget that processes were killed; a lack of memory that the worker found itself stays noted."""
        self._steps_at_kill = None
        if self._status.words[OUT_OF_MEMORY] == PROCESSES_KILLED:
            self._status.words[OUT_OF_MEMORY] = 0.0
