"""Handlers of the requests for snapshots, in the process that plays."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gymtwist import errors
from gymtwist.errors import EnvironmentFault, RequestError, SnapshotRefused, TooManySnapshots
from gymtwist.protocol.snapshot_messages import Release, Released, Restore, Restored, Snapshot, SnapshotTaken
from gymtwist.protocol.snapshot_tickets import ticket_of
from gymtwist.worker import frozen_copy, process_control, process_copy, snapshot_checks, snapshot_probe
from gymtwist.worker.base_handler import State
from gymtwist.worker.copy_channel import (
    BranchOff,
    Channel,
    ChannelEnded,
    GivenUp,
    GiveUp,
    GoOn,
    Keep,
    Message,
    Play,
    Refused,
)
from gymtwist.worker.process_roles import BranchedOff, Leads, roles
from gymtwist.worker.session_status import SNAPSHOTS_TAKEN, Operation, SessionStatus
from gymtwist.worker.snapshot_leader import Leader
from gymtwist.worker.started_threads import threads
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds to wait for the leader's answer: longer than it waits for others.
_ANSWER_LIMIT = 30.0
#: Descriptors that the leader needs for a while, beside those of this process and one for each snapshot.
_SPARE_DESCRIPTORS = 16
#: How much earlier than others the kernel kills a frozen copy if memory runs out.
_FROZEN_OOM_SCORE = 900
_ERRORS: dict[str, type[RequestError]] = {
    each.code: each for each in (errors.SnapshotRefused, errors.UnknownSnapshot, errors.TooManySnapshots)
}


class Copied(Protocol):
    """An adapter whose process can be copied."""

    @property
    def handler(self) -> Any:
        """The handler of requests for the environment."""

    def warn(self, texts: list[str]) -> None:
        """Send warnings along with the reply."""

    def disconnect(self) -> None:
        """Close the client's connection in this process alone."""

    def reconnected(self) -> None:
        """Use the client's connection in a copy of the process that used it before."""

    def hand_over(self) -> tuple[bytes, list[int]]:
        """Return what a copy needs to use the connection in place of this process, and descriptors for it."""

    def take_over(self, handover: bytes, descriptors: list[int]) -> None:
        """Use the client's connection in place of another process.

        Args:
            handover: What :meth:`hand_over` returned there.
            descriptors: The client's socket, and the descriptors that it returned.
        """


class SnapshotHandler:
    """Serves the requests of one session for snapshots.

    Args:
        adapter: The session's adapter.
        connection: The client's socket.
        settings: The operator's options.
        status: The session's status.

    Attributes:
        handlers: The handler of each type of request.
    """

    def __init__(
        self, adapter: Copied, connection: socket.socket, settings: WorkerSettings, status: SessionStatus
    ) -> None:
        self._adapter, self._connection = adapter, connection
        self._settings, self._status = settings, status
        #: The copies that this process has forked and not reaped.
        self._forked: set[int] = set()
        #: How many threads there were when copies were tried, or when this process began.
        self._probed_threads = 0
        self.handlers: dict[type, Callable[[Any], Any]] = {
            Snapshot: self.take,
            Restore: self.restore,
            Release: self.release,
        }

    def take(self, request: Snapshot) -> SnapshotTaken | Restored:
        """Keep the environment as it is.

        Returns:
            The reply; in the process that goes on from the snapshot, the reply to the request for that.

        Raises:
            RequestError: There is no environment, or its process cannot be copied, or the session holds too many.
        """
        handler = self._adapter.handler
        handler.check_made("you take a snapshot")
        if handler.state is State.BROKEN:
            raise SnapshotRefused(f"{handler.state.value}: reset before you take a snapshot")
        self._check_count()
        if handler.is_recorded:
            raise SnapshotRefused(
                "the episodes are being recorded, and a copy would write to the same files: stop the monitor first, or "
                "make the environment without `record`"
            )
        with self._busy(Operation.SNAPSHOT):
            self._check_structure()
            if roles.leader is None:
                self._become_player()
            return self._take()

    def restore(self, request: Restore) -> Restored:
        """Go on from a snapshot: this process ends, unless that fails.

        Raises:
            RequestError: It fails.
        """
        with self._busy(Operation.RESTORE):
            try:
                handover, descriptors = self._adapter.hand_over()
                self._ask(GoOn(request.snapshot, handover), descriptors)
                raise AssertionError("the leader answers this only with a refusal")
            finally:
                self._adapter.reconnected()

    def release(self, request: Release) -> Released:
        """Give a snapshot up.

        Raises:
            UnknownSnapshot: The session does not hold it.
        """
        answer = self._ask(GiveUp(request.snapshot))
        assert isinstance(answer, GivenUp)
        self._status.end()
        return Released(answer.held)

    @contextlib.contextmanager
    def _busy(self, operation: Operation) -> Iterator[None]:
        """Show an operation within the context, which a process with another role leaves as it is."""
        self._status.begin(operation)
        try:
            yield
        except Exception:
            self._status.end()
            raise
        self._status.end()

    def _become_player(self) -> None:
        """Fork the process that plays from now on; this one leads it."""
        if roles.link is None:
            raise SnapshotRefused("there are no snapshots here: the process has no link with a server")
        ours, leaders = Channel.pair()
        try:
            player = process_copy.fork()
        except OSError as error:
            raise SnapshotRefused(f"no process can be started for a snapshot: {error}") from error
        if player:
            ours.close()
            goes_back = self._adapter.handler.keep_snapshots > 0
            raise Leads(Leader(player, leaders, self._connection, self._status, self._adapter, goes_back=goes_back))
        leaders.close()
        gc.freeze()  # a collection writes to all objects, so that copies would share no page with one another
        process_copy.disconnect(roles.link)
        roles.leader = ours
        try:
            ours.receive(_ANSWER_LIMIT)  # from now on the leader serves the link
        except ChannelEnded:
            os._exit(1)
        self._adapter.reconnected()

    def _take(self) -> SnapshotTaken | Restored:
        assert roles.leader is not None
        words = self._status.words
        ours, leaders = Channel.pair()
        words[SNAPSHOTS_TAKEN] += 1
        number, ticket = int(words[SNAPSHOTS_TAKEN]), ticket_of(roles.session)
        try:
            roles.leader.send(Keep(number, ticket), [leaders.fileno()])
            process = process_copy.fork()
        except ChannelEnded:
            os._exit(1)  # with the leader the session has ended
        except OSError as error:
            ours.close()  # so the leader forgets it
            raise SnapshotRefused(f"no process can be started for a snapshot: {error}") from error
        finally:
            leaders.close()
        if process == 0:
            return self._wait(ours)
        ours.close()
        self._forked.add(process)
        return SnapshotTaken(number, ticket)

    def _check_structure(self) -> None:
        """Check what a copy would not have, without a step of the environment but in copies that are thrown away."""
        self._reap()
        if roles.leader is None:
            own = {self._connection.fileno()} | ({roles.link.fileno()} if roles.link is not None else set())
            problem = snapshot_checks.obstacle(own)
        else:
            problem = snapshot_checks.processes_of_its_own(self._forked)
        # A library may have started some since then, as one does that draws.
        if not problem and len(threads()) > self._probed_threads:
            problem = self._probe()
        if problem:
            raise SnapshotRefused(
                f"no snapshot of this environment can be taken: {problem}; replay its actions after a reset with the "
                "same seed instead"
            )

    def _probe(self) -> str:
        """Try two copies, once or after other threads were started; return why there can be none, or warn the client.

        Raises:
            SnapshotRefused: No process can be started.
        """
        files = snapshot_checks.shared_files()

        def act() -> bytes:
            self._status.replace(-1)
            self._adapter.disconnect()
            for descriptor in (1, 2, *files):
                process_copy.put_in_place(os.open(os.devnull, os.O_RDWR), descriptor)
            answer: bytes = self._adapter.handler.try_out()
            return answer

        try:
            verdict = snapshot_probe.probe(act)
        except OSError as error:
            raise SnapshotRefused(f"no process can be started for a snapshot: {error}") from error
        if not verdict.answers:
            return "a copy of it gives no answer, as if other threads did its work"
        self._probed_threads = len(threads())
        warnings = [f"copies of the environment share the file {path}" for path in sorted(set(files.values()))]
        if not verdict.alike:
            warnings.append(
                "two copies of the environment did different things (because of a clock, fresh random numbers, or what "
                "they share): what follows a snapshot may differ each time"
            )
        self._adapter.warn(warnings)
        return ""

    def _check_count(self) -> None:
        most, held, keep = self._settings.max_snapshots, self._status.snapshots, self._adapter.handler.keep_snapshots
        if keep and held >= min(keep, most) and most:
            self._ask(GiveUp(0))
        elif held >= most:
            raise TooManySnapshots(
                f"the session holds {held} snapshots, and {most} are allowed (--max-snapshots): release one first"
            )
        elif held >= self._room():
            raise TooManySnapshots(
                f"the session holds {held} snapshots, and its process may open no more files (--open-file-limit): "
                "release one first"
            )

    def _room(self) -> int:
        """Return how many snapshots the leader has descriptors for: beside those of this process, one for each."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return most - len(os.listdir("/proc/self/fd")) - _SPARE_DESCRIPTORS

    def _reap(self) -> None:
        """Reap the copies of this process that have ended; the leader reaps the others."""
        for process in list(self._forked):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(process, os.WNOHANG)[0] == 0:
                    continue
            self._forked.discard(process)

    def _wait(self, channel: Channel) -> Restored:
        """Be a snapshot; return only in processes that go on from there."""
        assert roles.leader is not None
        roles.leader.close()
        self._forked.clear()
        self._adapter.disconnect()
        self._volunteer(_FROZEN_OOM_SCORE)
        roles.leader, order, descriptors = frozen_copy.wait(channel)
        self._volunteer(process_control.OOM_SCORE)
        if isinstance(order, BranchOff):
            self._branch_off(roles.leader, *descriptors)
        assert isinstance(order, Play)
        frozen_copy.begin(roles.leader, descriptors.pop(0))
        self._adapter.take_over(order.handover, descriptors)
        self._probed_threads = len(threads())
        if order.problem:
            raise EnvironmentFault("restore", order.problem)
        return Restored(self._adapter.handler.state is State.PLAYING)

    def _branch_off(self, leader: Channel, link: int, output: int) -> None:
        """Serve another session from now on.

        Raises:
            BranchedOff: Always.
        """
        assert roles.link is not None
        self._status.replace(-1)
        process_copy.lead_own_group(output)
        process_copy.put_in_place(link, roles.link.fileno())
        roles.leader = None
        frozen_copy.report(leader)
        raise BranchedOff(self._adapter)

    def _volunteer(self, score: int) -> None:
        process_control.volunteer_for_oom(score)
        process_control.isolate(debuggable=self._settings.debuggable)

    def _ask(self, message: Message, descriptors: list[int] | None = None) -> Message:
        """Ask the leader.

        Raises:
            RequestError: It refuses.
        """
        if roles.leader is None:
            raise errors.UnknownSnapshot("this session holds no snapshot: take one first")
        try:
            roles.leader.send(message, descriptors or [])
            answer, _ = roles.leader.receive(_ANSWER_LIMIT)
        except ChannelEnded:
            os._exit(1)  # with the leader the session has ended
        if isinstance(answer, Refused):
            raise _ERRORS.get(answer.code, RequestError)(answer.problem)
        return answer
