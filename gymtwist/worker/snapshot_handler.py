"""Handlers of requests for snapshots, in the playing process."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
from collections.abc import Callable
from typing import Any, Protocol

from gymtwist import errors
from gymtwist.envs.kept_state import KeptState
from gymtwist.error_texts import not_held
from gymtwist.errors import EnvironmentFault, RequestError, SnapshotRefused, TooManySnapshots
from gymtwist.protocol.snapshot_messages import Release, Released, Restore, Restored, Snapshot, SnapshotTaken
from gymtwist.protocol.snapshot_tickets import ticket_of, ticket_of_state
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
    UseConnection,
)
from gymtwist.worker.process_roles import BranchedOff, Leads, roles
from gymtwist.worker.session_status import SNAPSHOT_BYTES, SNAPSHOTS_GONE, SNAPSHOTS_TAKEN, Operation, SessionStatus
from gymtwist.worker.snapshot_leader import Leader
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds to wait for the leader's answer: longer than the leader waits for other processes.
_ANSWER_LIMIT = 30.0
#: How many snapshots are taken before this process counts its descriptors again; counting writes to more memory.
_UNCHECKED = 8
#: Descriptors that the leader needs temporarily, besides those of this process and one for each snapshot.
_SPARE_DESCRIPTORS = 16
_REPLAY = "replay its actions after a reset with the same seed instead"
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

    @property
    def sockets(self) -> set[int]:
        """The descriptors of the sockets that the process has for the client."""

    def disconnect(self) -> None:
        """Close the client's connection in this process only."""

    def reconnected(self) -> None:
        """Use the client's connection again, or in a copy of the process that used it before."""

    def hand_over(self) -> tuple[bytes, list[int]]:
        """Return the state and the descriptors that a copy needs to use the connection in place of this process."""

    def take_over(self, handover: bytes, descriptors: list[int]) -> None:
        """Use the client's connection in place of another process.

        Args:
            handover: What :meth:`hand_over` returned there.
            descriptors: The client's socket, followed by the descriptors that it returned. Without these and a
                handover, the other process has crashed.
        """


class SnapshotHandler:
    """Serves a session's requests for snapshots.

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
        #: The copies that this process has forked but not reaped.
        self._forked: set[int] = set()
        #: The number of threads when copies were last tried, or when this process began.
        self._probed_threads = 0
        #: The minimum number of snapshots that there is room for.
        self._known_room = 0
        #: Why snapshots are saved states instead of copies, as a clause; empty if they are copies, or there are none.
        self._obstacle = ""
        self._states: dict[int, KeptState] = {}
        self.handlers: dict[type, Callable[[Any], Any]] = {
            Snapshot: self.take,
            Restore: self.restore,
            Release: self.release,
        }

    def use_connection(self, connection: socket.socket) -> None:
        """Use another connection of the client from now on, in this process and in its successors."""
        self._connection = connection
        if roles.leader is not None:
            try:
                roles.leader.send(UseConnection(), [connection.fileno()])
            except ChannelEnded:
                os._exit(1)  # the session has ended with the leader

    def take(self, request: Snapshot) -> SnapshotTaken | Restored:
        """Take a snapshot of the environment.

        Returns:
            The reply; in the process that continues from the snapshot, the reply to the restore request.

        Raises:
            RequestError: There is no environment, or its process cannot be copied, or the session holds too many.
        """
        # For each snapshot, the kernel copies the pages that this code writes to, so it uses few functions and classes.
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
        handler.make_generators()
        self._status.begin(Operation.SNAPSHOT)
        try:
            problem = self._obstacle or self._find_obstacle()
            if problem:
                reply: SnapshotTaken | Restored = self._keep_state(problem)
            else:
                if roles.leader is None:
                    self._become_player()
                reply = self._take()
        except Exception:
            self._status.end()
            raise
        self._status.end()
        return reply

    def restore(self, request: Restore) -> Restored:
        """Continue from a snapshot. This process ends, unless that fails or the snapshot is a saved state.

        Raises:
            RequestError: The snapshot cannot be restored.
        """
        self._status.begin(Operation.RESTORE)
        try:
            if self._obstacle:
                self._adapter.handler.restore_state(self._state(request.snapshot))
                return Restored(self._adapter.handler.state is State.PLAYING)
            try:
                handover, descriptors = self._adapter.hand_over()
                self._ask(GoOn(request.snapshot, handover), descriptors)
                raise AssertionError("the leader answers this only with a refusal")
            finally:
                self._adapter.reconnected()
        finally:
            self._status.end()

    def release(self, request: Release) -> Released:
        """Release a snapshot.

        Raises:
            UnknownSnapshot: The session does not hold it.
        """
        self._reap()
        held = self._give_up(request.snapshot)
        self._status.end()
        return Released(held)

    def _give_up(self, number: int) -> int:
        """Release a snapshot, or the oldest one if the number is 0; return how many are still held.

        Raises:
            UnknownSnapshot: The session does not hold it.
        """
        if self._obstacle:
            number = number or min(self._states, default=0)
            self._state(number)
            del self._states[number]
            self._status.words[SNAPSHOTS_GONE] += 1
            self._show_states()
            return len(self._states)
        answer = self._ask(GiveUp(number))
        assert isinstance(answer, GivenUp)
        return answer.held

    # Saved states, if the process cannot be copied

    def _keep_state(self, problem: str) -> SnapshotTaken:
        """Save the state of an environment that has a hook for that.

        Args:
            problem: Why its process cannot be copied, as a clause.

        Raises:
            SnapshotRefused: It has no hook, or the session holds a copy of the process, which has no saved states.
        """
        refused = "no snapshot of this environment can be taken"
        handler, words = self._adapter.handler, self._status.words
        if roles.leader is not None:
            raise SnapshotRefused(f"{refused}: {problem}; {_REPLAY}")
        try:
            state = handler.keep_state()
        except SnapshotRefused as error:
            raise SnapshotRefused(f"{refused}: {problem}, and {error}; {_REPLAY}") from error
        if not self._obstacle and handler.keep_snapshots:
            self._adapter.warn(
                [f"keep_snapshots {handler.keep_snapshots}: a crash loses the snapshots, since {problem}"]
            )
        self._obstacle = problem
        number = int(words[SNAPSHOTS_TAKEN]) + 1
        words[SNAPSHOTS_TAKEN] = number
        self._states[number] = state
        self._show_states()
        return SnapshotTaken(number, ticket_of_state(roles.session))

    def _state(self, number: int) -> KeptState:
        """Return a saved state.

        Raises:
            UnknownSnapshot: The session does not hold it.
        """
        if number not in self._states:
            raise errors.UnknownSnapshot(not_held(number, list(self._states)))
        return self._states[number]

    def _show_states(self) -> None:
        self._status.words[SNAPSHOT_BYTES] = sum(each.size for each in self._states.values())

    # Copies of the process

    def _become_player(self) -> None:
        """Fork the process that plays from now on; this one becomes its leader."""
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
        gc.freeze()  # a collection writes to every object, so that copies would share no pages
        process_copy.disconnect(roles.link)
        roles.leader = ours
        try:
            ours.receive(_ANSWER_LIMIT)  # the leader serves the link from now on
        except ChannelEnded:
            os._exit(1)
        self._adapter.reconnected()

    def _take(self) -> SnapshotTaken | Restored:
        assert roles.leader is not None
        words = self._status.words
        ours, leaders = Channel.pair()
        number, ticket = int(words[SNAPSHOTS_TAKEN]) + 1, ticket_of(roles.session)
        try:
            client = self._connection.fileno()
            process = frozen_copy.freeze(ours, leaders, client, debuggable=self._settings.debuggable)
        except OSError as error:
            ours.close()
            leaders.close()
            raise SnapshotRefused(f"no process can be started for a snapshot: {error}") from error
        if process == 0:
            return self._wait(ours)
        words[SNAPSHOTS_TAKEN] = number
        try:
            roles.leader.send(Keep(number, ticket, process), [leaders.fileno()])
        except ChannelEnded:
            os._exit(1)  # the session has ended with the leader
        leaders.close()
        ours.close()
        self._forked.add(process)
        return SnapshotTaken(number, ticket)

    def _find_obstacle(self) -> str:
        """Return why copies of this process do not work, as a clause; empty if they do, or did before.

        The environment takes steps only in copies that are then discarded.

        Raises:
            SnapshotRefused: No process can be started.
        """
        self._reap()
        if roles.leader is None:
            own = self._adapter.sockets | ({roles.link.fileno()} if roles.link is not None else set())
            problem = snapshot_checks.obstacle(own)
        else:
            problem = snapshot_checks.processes_of_its_own(self._forked)
        # A library may have started threads since then, for example one for rendering.
        if not problem and process_control.count_threads() > self._probed_threads:
            problem = self._probe()
        return problem

    def _probe(self) -> str:
        """Try two copies, at first and after threads were started; return why copies do not work, or warn the client.

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
            return (
                "a copy of it crashes or does not answer, as when threads, which a copy lacks, do its work (one that "
                "draws may work if it has drawn before the first snapshot)"
            )
        self._probed_threads = process_control.count_threads()
        warnings = [f"copies of the environment share the file {path}" for path in sorted(set(files.values()))]
        if not verdict.alike:
            warnings.append(
                "two copies of the environment did different things (because of a clock, fresh random numbers, or what "
                "they share): what follows a snapshot may differ each time"
            )
        self._adapter.warn(warnings)
        return ""

    def _check_count(self) -> None:
        words = self._status.words
        most, held = self._settings.max_snapshots, int(words[SNAPSHOTS_TAKEN] - words[SNAPSHOTS_GONE])
        keep = self._adapter.handler.keep_snapshots
        if keep and held >= min(keep, most) and most:
            self._give_up(0)
        elif held >= most:
            raise TooManySnapshots(
                f"the session holds {held} snapshots, and {most} are allowed (--max-snapshots): release one first"
            )
        elif not self._obstacle and held >= self._known_room and held >= self._look_for_room():
            raise TooManySnapshots(
                f"the session holds {held} snapshots, and its process may open no more files (--open-file-limit): "
                "release one first"
            )

    def _look_for_room(self) -> int:
        """Return how many snapshots the leader has descriptors for, one for each, besides those of this process."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = most - len(os.listdir("/proc/self/fd")) - _SPARE_DESCRIPTORS
        self._known_room = min(room, self._status.snapshots + _UNCHECKED)
        return room

    def _reap(self) -> None:
        """Reap ended copies of this process; the leader reaps the others."""
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return  # none has ended
        except ChildProcessError:
            pass  # there are none, or the environment has reaped them
        for process in list(self._forked):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(process, os.WNOHANG)[0] == 0:
                    continue
            self._forked.discard(process)

    def _wait(self, channel: Channel) -> Restored:
        """Be a snapshot; return only in processes that continue from it."""
        assert roles.leader is not None
        roles.leader.close()
        self._forked.clear()
        self._adapter.disconnect()
        roles.leader, order, descriptors, forked = frozen_copy.wait(channel)
        process_control.volunteer_for_oom()
        process_control.isolate(debuggable=self._settings.debuggable)
        if isinstance(order, BranchOff):
            self._branch_off(roles.leader, *descriptors)
        assert isinstance(order, Play)
        frozen_copy.begin(roles.leader, descriptors.pop(0))
        self._forked |= forked
        self._adapter.take_over(order.handover, descriptors)
        self._probed_threads = process_control.count_threads()
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

    def _ask(self, message: Message, descriptors: list[int] | None = None) -> Message:
        """Ask the leader.

        Raises:
            RequestError: The leader refuses.
        """
        if roles.leader is None:
            raise errors.UnknownSnapshot("this session holds no snapshot: take one first")
        try:
            roles.leader.send(message, descriptors or [])
            answer, _ = roles.leader.receive(_ANSWER_LIMIT)
        except ChannelEnded:
            os._exit(1)  # the session has ended with the leader
        if isinstance(answer, Refused):
            raise _ERRORS.get(answer.code, RequestError)(answer.problem)
        return answer
