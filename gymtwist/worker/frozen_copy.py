"""A frozen copy: a process that is a snapshot. It waits, and forks what goes on from there."""

from __future__ import annotations

import os
import socket

from gymtwist.worker import process_control, process_copy
from gymtwist.worker.copy_channel import (
    BranchOff,
    Channel,
    ChannelEnded,
    Forked,
    Frozen,
    Message,
    Play,
    Ready,
    Weigh,
    Weight,
    close_all,
)


def wait(channel: Channel) -> tuple[Channel, Message, list[int]]:
    """Wait in a frozen copy, until it ends or the session gives it up.

    Args:
        channel: The channel with the leader.

    Returns:
        Only in processes that it forks: the channel with the leader, what to do, and the descriptors for that.
    """
    try:
        channel.send(Frozen(os.getpid()))
        while True:
            order, descriptors = channel.receive()
            if isinstance(order, Weigh):
                channel.send(Weight(private_memory()))
            elif isinstance(order, (Play, BranchOff)):
                forked = _fork(channel)
                if forked is not None:
                    return forked, order, descriptors
            close_all(descriptors)
    except ChannelEnded:
        os._exit(0)


def _fork(channel: Channel) -> Channel | None:
    """Fork; return the channel of the copy with the leader in the copy, and None in this process."""
    ours, leaders = Channel.pair()
    try:
        if process_copy.fork_detached():
            channel.close()
            leaders.close()
            return ours
        channel.send(Forked(), [leaders.fileno()])
    except OSError:
        channel.send(Forked())  # without a channel: there is none
    ours.close()
    leaders.close()
    return None


def report(channel: Channel) -> None:
    """Tell the leader that this process exists, and let go of it; this process ends if the leader has."""
    try:
        channel.send(Ready(os.getpid()))
    except ChannelEnded:
        os._exit(0)
    channel.close()


def begin(channel: Channel, right: int) -> None:
    """Begin to play, and tell the leader; this process ends if it is too late.

    Args:
        channel: The channel with the leader.
        right: A socket from which only one process can take the right to play; it is closed.
    """
    with socket.socket(fileno=right) as connection:
        try:
            connection.recv(1, socket.MSG_DONTWAIT)
            channel.send(Ready(os.getpid()))
        except (OSError, ChannelEnded):
            os._exit(0)


def private_memory() -> int:
    """Return the bytes of memory that this process shares with no other one; 0 where the kernel does not tell."""
    try:
        text = process_control.read("/proc/self/smaps_rollup")
    except OSError:
        return 0
    total = 0
    for field in (b"Private_Clean:", b"Private_Dirty:"):
        at = text.find(field)
        if at >= 0:
            total += int(text[at + len(field) : text.index(b"kB", at)])
    return 1024 * total
