"""The leader of a session's processes: the process that the server knows, once there is a snapshot.

Below it are the *player*, which has the client's connection, and one *frozen copy* for each snapshot. The leader never
calls the environment again. It tells a frozen copy to become the next player, and ends with the session, in the same
way as the player.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import secrets
import selectors
import signal
import socket
import sys
from time import monotonic  # by name: an environment may patch the module
from typing import Any, NoReturn

from gymtwist.error_texts import how_ended, not_held, process_ended
from gymtwist.errors import GymtwistError, SnapshotRefused, UnknownSnapshot
from gymtwist.worker import process_control, process_copy
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.copy_channel import (
    BranchOff,
    Channel,
    ChannelEnded,
    Finished,
    Frozen,
    GivenUp,
    GiveUp,
    GoOn,
    Keep,
    Message,
    NothingReceived,
    Play,
    Ready,
    Refused,
    UseConnection,
    Weigh,
    Weight,
    close_all,
)
from gymtwist.worker.session_status import SNAPSHOT_BYTES, SNAPSHOTS_GONE, SessionStatus

#: Seconds that a frozen copy may take to fork, and the forked process to begin.
FORK_LIMIT = 5.0
#: Seconds between measurements of the snapshots' memory.
_WEIGH_INTERVAL = 5.0


class _Copy:
    """A frozen copy, which is a snapshot.

    Attributes:
        channel: The channel to it.
        ticket: The ticket by which other sessions branch off it.
        process: Its process id; None until it is known.
        private: Bytes of its own memory, as last measured.
    """

    def __init__(self, channel: Channel, ticket: str, process: int) -> None:
        self.channel, self.ticket = channel, ticket
        self.process: int | None = process
        self.private = 0

    def found(self) -> int:
        """Wait for its process id, and return it.

        Raises:
            ChannelEnded: It has ended.
        """
        while self.process is None:
            self.note(self.channel.receive(FORK_LIMIT)[0])
        return self.process

    def note(self, message: Message) -> None:
        """Record what the copy reports about itself."""
        if isinstance(message, Frozen):
            self.process = message.process
        elif isinstance(message, Weight):
            self.private = message.private

    def end(self) -> None:
        """End the copy, if it has not ended."""
        self.channel.close()  # this ends it
        if self.process is not None:
            process_copy.kill(self.process)


class Leader:
    """Serves the player's requests for snapshots until the session ends.

    Args:
        player: The process id of the first player.
        channel: The channel to it.
        connection: The client's socket.
        status: The session's status.
        kept: An object that must not be destroyed in this process, because it holds the environment.
        goes_back: Whether the session returns to the last snapshot if the player crashes.
    """

    def __init__(
        self,
        player: int,
        channel: Channel,
        connection: socket.socket,
        status: SessionStatus,
        kept: Any,
        *,
        goes_back: bool,
    ) -> None:
        self._player, self._channel = player, channel
        self._connection, self._status = connection, status
        self._kept, self._goes_back = kept, goes_back
        self._copies: dict[int, _Copy] = {}
        self._finished: Finished | None = None
        #: Processes of other sessions that are children of this one.
        self._branches: set[int] = set()
        self._selector = selectors.DefaultSelector()
        #: The time of the next measurement of the snapshots' memory.
        self._weigh_at = 0.0

    def run(self, link: AMPConnection, link_socket: socket.socket) -> Finished:
        """Serve until the player has finished the session. If the player crashes, this process ends in the same way.

        Args:
            link: The link to the server.
            link_socket: Its socket.

        Returns:
            The player's last message.
        """
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_reader, False)
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        register = self._selector.register
        register(link_socket, selectors.EVENT_READ, lambda: self._hear_server(link))
        register(wake_reader, selectors.EVENT_READ, lambda: os.read(wake_reader, 4096))
        register(self._channel, selectors.EVENT_READ, self._serve_player)
        with contextlib.suppress(ChannelEnded):
            self._channel.send(Ready(os.getpid()))
        while self._finished is None:
            events = self._selector.select(_WEIGH_INTERVAL if self._copies else None)
            for key, _ in events:
                if key.fd in self._selector.get_map():  # it may just have been closed
                    key.data()
            if monotonic() >= self._weigh_at:
                self._weigh()
            self._reap()
        self._connection.close()
        for number in list(self._copies):
            self._forget(number)
        return self._finished

    def leave(self) -> NoReturn:
        """End this process when the player has ended. The player has run the exit functions, so none run here."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._player, 0)
        os._exit(0)

    def _hear_server(self, link: AMPConnection) -> None:
        """Do what the server asks; kill all processes of the session if the link ends or the server wants it."""
        if not link.receive():
            os.killpg(os.getpgrp(), signal.SIGKILL)

    # The player

    def _serve_player(self) -> None:
        try:
            message, descriptors = self._channel.receive(0)
        except NothingReceived:
            return
        except ChannelEnded:
            self._selector.unregister(self._channel)  # the player is ending
            return
        try:
            answer = self._answer(message, descriptors)
        except GymtwistError as error:
            answer = Refused(error.code, str(error))
        finally:
            close_all(descriptors)
        if answer is not None:
            with contextlib.suppress(ChannelEnded):
                self._channel.send(answer)

    def _answer(self, message: Message, descriptors: list[int]) -> Message | None:
        if isinstance(message, Keep):
            self._keep(message, descriptors)
        if isinstance(message, GoOn):
            self._go_on(message, descriptors)
        if isinstance(message, UseConnection):
            process_copy.put_in_place(descriptors.pop(), self._connection.fileno())
        if isinstance(message, GiveUp):
            number = message.snapshot or min(self._copies, default=0)
            copy = self._remove(number)
            with contextlib.suppress(ChannelEnded):
                self._channel.send(GivenUp(len(self._copies)))
            copy.end()  # this takes a while, and the client need not wait for it
        if isinstance(message, Finished):
            self._finished = message
        return None

    def _find(self, number: int) -> _Copy:
        found = self._copies.get(number)
        if found is None:
            raise UnknownSnapshot(not_held(number, list(self._copies)))
        return found

    def _keep(self, message: Keep, descriptors: list[int]) -> None:
        copy = self._copies[message.snapshot] = _Copy(Channel.adopt(descriptors.pop()), message.ticket, message.process)
        self._selector.register(copy.channel, selectors.EVENT_READ, lambda: self._hear(message.snapshot))

    def _go_on(self, message: GoOn, descriptors: list[int]) -> None:
        """Have a frozen copy become the next player, and end this player when the next is ready."""
        self._find(message.snapshot)
        self._play_on(message.snapshot, message.handover, descriptors)

    def _play_on(self, number: int, handover: bytes, descriptors: list[int], problem: str = "") -> None:
        """Have a frozen copy become the next player.

        Args:
            number: The number of the snapshot.
            handover: What the last player handed over.
            descriptors: The descriptors that came with the handover.
            problem: Why the last player has ended; empty if it is waiting.

        Raises:
            SnapshotRefused: No player begins in time.
        """
        copy = self._find(number)
        right, rights = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with right, rights:
            rights.send(b"1")
            given = [right.fileno(), self._connection.fileno(), *descriptors]
            channel, process = self._forked_by(number, copy, Play(handover, problem), given, right)
        # The last player waits for an answer that never comes, and has handed everything over.
        process_copy.kill(self._player)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._player, 0)
        with contextlib.suppress(KeyError, ValueError):  # its end was noticed already
            self._selector.unregister(self._channel)
        self._channel.close()
        copy.process = None  # it plays now, and has forked the next copy
        self._player, self._channel = process, channel
        self._selector.register(channel, selectors.EVENT_READ, self._serve_player)
        self._kill_orphans()

    def _forked_by(
        self,
        number: int,
        copy: _Copy,
        order: Play | BranchOff,
        descriptors: list[int],
        right: socket.socket | None = None,
    ) -> tuple[Channel, int]:
        """Have a process continue from a frozen copy; return the channel to it and its process id.

        Raises:
            SnapshotRefused: No process begins in time.
        """
        channel, theirs = Channel.pair()
        try:
            try:
                copy.found()
                copy.channel.send(order, [theirs.fileno(), *descriptors])
            finally:
                theirs.close()
            try:
                answer, _ = channel.receive(FORK_LIMIT)
            except ChannelEnded:
                if right is None or _takes(right):
                    raise
                answer, _ = channel.receive(FORK_LIMIT)  # it has just begun
            if isinstance(answer, Ready):
                return channel, answer.process
            problem = answer.problem if isinstance(answer, Refused) else "it does not begin as it should"
        except ChannelEnded as error:
            problem = str(error)
        channel.close()
        self._kill_orphans()
        raise SnapshotRefused(
            f"no copy of snapshot {number} begins within {FORK_LIMIT:g} s ({problem}); the session goes on as it is"
        )

    # Snapshots

    def _hear(self, number: int) -> None:
        """Receive a message from a frozen copy, which has ended if its channel has."""
        copy = self._copies[number]
        try:
            message, descriptors = copy.channel.receive(0)
        except NothingReceived:
            return  # it was already received
        except ChannelEnded:
            self._forget(number)
            return
        close_all(descriptors)
        copy.note(message)
        self._show()

    def _forget(self, number: int) -> None:
        """End a frozen copy, if it has not ended."""
        self._remove(number).end()

    def _remove(self, number: int) -> _Copy:
        """Remove a snapshot from those held; the caller must end its frozen copy.

        Raises:
            UnknownSnapshot: It is not held.
        """
        copy = self._find(number)
        del self._copies[number]
        self._selector.unregister(copy.channel)
        self._status.words[SNAPSHOTS_GONE] += 1
        self._show()
        return copy

    def _weigh(self) -> None:
        """Have each frozen copy report how much memory is its own."""
        self._weigh_at = monotonic() + _WEIGH_INTERVAL
        for copy in self._copies.values():
            with contextlib.suppress(ChannelEnded):
                copy.channel.send(Weigh())

    def _show(self) -> None:
        self._status.words[SNAPSHOT_BYTES] = sum(copy.private for copy in self._copies.values())

    # Branches

    def branch(self, ticket: str, link: int, output: int) -> int:
        """Fork a process for another session off a snapshot.

        Args:
            ticket: The snapshot's ticket.
            link: The descriptor of the process's AMP socket; it is closed here.
            output: The descriptor that the process prints to; it is closed here, too.

        Returns:
            The process id.

        Raises:
            GymtwistError: No snapshot has this ticket, or no process begins.
        """
        try:
            given = ticket.encode("utf-8", "replace")
            found = [each for each in self._copies.items() if secrets.compare_digest(each[1].ticket.encode(), given)]
            if not found:
                raise UnknownSnapshot("no snapshot has this ticket: it was released, or its session has ended")
            ((number, copy),) = found
            channel, process = self._forked_by(number, copy, BranchOff(), [link, output])
            channel.close()
            self._branches = {each for each in self._branches if os.path.exists(f"/proc/{each}")} | {process}
            return process
        finally:
            close_all([link, output])

    # The ends of processes

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if not pid:
                return
            self._branches.discard(pid)
            if pid == self._player and self._finished is None:
                self._player_ended(os.waitstatus_to_exitcode(status))

    def _player_ended(self, code: int) -> None:
        """End as the player did, unless a message still unread says that it has finished."""
        while self._finished is None:
            try:
                message, descriptors = self._channel.receive(0)
            except ChannelEnded:
                break
            # The player waited for the answer to any other message, and did not act on it.
            if isinstance(message, (Keep, UseConnection, Finished)):
                self._answer(message, descriptors)
            close_all(descriptors)
        if self._finished is None and not self._has_gone_back(code):
            faulthandler.disable()
            if code < 0:
                with contextlib.suppress(OSError):  # SIGKILL
                    signal.signal(-code, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
            os._exit(code if code > 0 else 1)

    def _has_gone_back(self, code: int) -> bool:
        """Return to the last snapshot after a crash, if the client wants that and waits for a complete reply."""
        status = self._status
        if not (self._goes_back and self._copies and status.busy_since is not None and status.can_be_resumed):
            return False
        number = max(self._copies)
        problem = (
            f"{process_ended(how_ended(code), status.operation.name.lower())}: it is again as in snapshot {number}"
        )
        print(problem, file=sys.stderr, flush=True)
        try:
            self._play_on(number, b"", [], problem)
        except SnapshotRefused:
            return False
        return True

    def _kill_orphans(self) -> None:
        """Kill processes that a player started, or that were forked in vain; they are now this process's children."""
        known = {self._player, *self._branches}
        for copy in self._copies.values():
            with contextlib.suppress(ChannelEnded):
                known.add(copy.found())
                while True:  # it may have forked another in vain
                    copy.note(copy.channel.receive(0)[0])
                    known.add(copy.found())
        for orphan in set(process_control.children()) - known:
            process_copy.kill(orphan)


def _takes(right: socket.socket) -> bool:
    """Take the right to play; return whether nobody else had taken it."""
    try:
        right.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True
