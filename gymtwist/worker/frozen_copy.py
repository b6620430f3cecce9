"""A frozen copy: a process that is a snapshot. It sleeps until it plays on from there, or forks a process that does.

A frozen copy that is to play first forks the next frozen copy and then plays itself, so that no process has to wait for
a child. For a session that branches off, it forks a process, which the kernel reaps.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import NamedTuple

from gymtwist.errors import SnapshotRefused
from gymtwist.worker import frozen_sleep, process_copy
from gymtwist.worker.copy_channel import (
    BranchOff,
    Channel,
    ChannelEnded,
    Frozen,
    Play,
    Ready,
    Refused,
    close_all,
)


class Going(NamedTuple):
    """How a process continues from a snapshot.

    Attributes:
        leader: Its own channel to the leader.
        order: The order that it received.
        descriptors: The descriptors that came with the order.
        forked: The processes that it has forked: the new frozen copy, and branches.
    """

    leader: Channel
    order: Play | BranchOff
    descriptors: list[int]
    forked: set[int]


def freeze(channel: Channel, unused: Channel, client: int, *, debuggable: bool) -> int:
    """Fork a frozen copy, which sleeps at once.

    Args:
        channel: Its channel to the leader.
        unused: The other end, which is closed in the copy.
        client: The descriptor of the client's socket, also closed in the copy, where its number is reused.
        debuggable: As for :func:`~gymtwist.worker.frozen_sleep.sleep`.

    Returns:
        Its process id; 0 in the copy, once the leader has sent it an order.

    Raises:
        OSError: No process can be started.
    """
    number, other = channel.fileno(), unused.fileno()

    def sleep() -> None:
        frozen_sleep.sleep(number, other, client, debuggable=debuggable)

    process = process_copy.fork_asleep(sleep)
    if process == 0:
        unused.detach()
    return process


def wait(channel: Channel) -> Going:
    """Wait as a frozen copy until the session releases it, which ends the process.

    Args:
        channel: The channel to the leader.

    Returns:
        Only in a process that continues from the snapshot.
    """
    number = channel.fileno()
    handler = None
    children: set[int] = set()
    try:
        while True:
            order, descriptors = channel.receive()
            if isinstance(order, (Play, BranchOff)):
                leader = Channel.adopt(descriptors.pop(0))
                if isinstance(order, BranchOff) and handler is None:
                    # The kernel reaps branches, and does not add their processor time to this process's.
                    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN) or signal.SIG_DFL
                forked = _fork(leader, order, number)
                if forked:
                    children.add(forked)
                elif forked == 0:
                    children.clear()
                if forked is not None and bool(forked) == isinstance(order, Play):
                    if forked:
                        channel.send(Frozen(forked))
                    channel.close()
                    if handler is not None:
                        signal.signal(signal.SIGCHLD, handler)
                    return Going(leader, order, descriptors, children)
                leader.close()
            close_all(descriptors)
            frozen_sleep.wait(number)
    except ChannelEnded:
        os._exit(0)


def _fork(leader: Channel, order: Play | BranchOff, channel: int) -> int | None:
    """Fork and return the result; None if no process can be started."""
    try:
        if isinstance(order, BranchOff):
            return process_copy.fork()
        return process_copy.fork_asleep(lambda: frozen_sleep.wait(channel))
    except OSError as error:
        leader.send(Refused(SnapshotRefused.code, f"no process can be started: {error}"))
        return None


def report(channel: Channel) -> None:
    """Tell the leader that this process exists, and close the channel. If the leader has ended, end this process."""
    try:
        channel.send(Ready(os.getpid()))
    except ChannelEnded:
        os._exit(0)
    channel.close()


def begin(channel: Channel, right: int) -> None:
    """Begin to play, and tell the leader. If another process has the right to play already, end this one.

    Args:
        channel: The channel to the leader.
        right: A socket from which only one process can take the right to play; it is closed.
    """
    with socket.socket(fileno=right) as connection:
        try:
            connection.recv(1, socket.MSG_DONTWAIT)
            channel.send(Ready(os.getpid()))
        except (OSError, ChannelEnded):
            os._exit(0)
