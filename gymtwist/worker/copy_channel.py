"""The channel between the leader of a session's processes and one of them: messages, each with some descriptors."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

#: Bytes and descriptors of the longest message.
_MOST_BYTES, _MOST_DESCRIPTORS = 32 * 1024, 8


class _Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """The base of all messages."""


# Player to leader


class Keep(_Message, frozen=True):
    """Keep a snapshot: the leader's end of the channel with the copy that is about to be forked comes along.

    Attributes:
        snapshot: The number of the snapshot.
        ticket: What a session branches off by.
    """

    snapshot: int
    ticket: str


class GoOn(_Message, frozen=True):
    """Have a snapshot go on in place of the sender; the descriptor of shared memory may come along.

    Attributes:
        snapshot: The number of the snapshot.
        handover: What the next player needs of the connection.
    """

    snapshot: int
    handover: bytes = b""


class GiveUp(_Message, frozen=True):
    """Give a snapshot up.

    Attributes:
        snapshot: The number of the snapshot; 0 for the oldest.
    """

    snapshot: int


class Finished(_Message, frozen=True):
    """The session has ended.

    Attributes:
        reason: Why.
        processor_time: Seconds that the sender had.
    """

    reason: str
    processor_time: float


# Leader to player


class GivenUp(_Message, frozen=True):
    """The answer to :class:`GiveUp`: how many snapshots the session still holds."""

    held: int


class Refused(_Message, frozen=True):
    """The answer to a message that cannot be followed.

    Attributes:
        code: That of an error of gymtwist.
        problem: Its message.
    """

    code: str
    problem: str


# Leader to frozen copy


class Play(_Message, frozen=True):
    """Fork a player; what comes along is a socket with the right to play, the client's, and perhaps shared memory.

    Attributes:
        handover: What the last player has handed over.
        problem: What the client is to be told of the end of the last player; empty if that has handed over.
    """

    handover: bytes
    problem: str = ""


class BranchOff(_Message, frozen=True):
    """Fork a process for another session; its AMP socket and where it prints to come along."""


class Weigh(_Message, frozen=True):
    """Tell how much memory is the process's own."""


# Frozen copy, or what it forked, to leader


class Frozen(_Message, frozen=True):
    """A copy exists.

    Attributes:
        process: Its process id.
    """

    process: int


class Forked(_Message, frozen=True):
    """A process was forked, whose parent is not this one; the leader's end of the channel with it comes along."""


class Ready(_Message, frozen=True):
    """A process that was forked has begun.

    Attributes:
        process: Its process id.
    """

    process: int


class Weight(_Message, frozen=True):
    """How much memory is the sender's own, in bytes."""

    private: int


Message: TypeAlias = (
    Keep | GoOn | GiveUp | Finished | GivenUp | Refused | Play | BranchOff | Weigh | Frozen | Forked | Ready | Weight
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class ChannelEnded(Exception):
    """The other end is closed, or does not answer in time, or what it says is no message."""


class NothingReceived(ChannelEnded):
    """Nothing has come in time."""


class Channel:
    """One end of a channel.

    Args:
        connection: A UNIX socket of packets.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends of a channel.

        Raises:
            OSError: There are no descriptors left.
        """
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def adopt(cls, descriptor: int) -> Channel:
        """Make an end of a descriptor that was received."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)
        connection.setblocking(True)
        return cls(connection)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message with some descriptors.

        Raises:
            ChannelEnded: The other end is closed, or does not take what it is sent.
        """
        try:
            socket.send_fds(self._socket, [_encode(message)], descriptors, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise ChannelEnded(f"{type(message).__name__} was not sent: {error}") from error

    def receive(self, timeout: float | None = None) -> tuple[Message, list[int]]:
        """Receive a message with its descriptors.

        Args:
            timeout: Seconds to wait; None for no limit.

        Raises:
            NothingReceived: Nothing has come in time.
            ChannelEnded: See there.
        """
        self._socket.settimeout(timeout)
        descriptors: list[int] = []
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self._socket, _MOST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                return _decode(data), descriptors
        except (BlockingIOError, TimeoutError) as error:
            raise NothingReceived("it does not answer") from error
        except (OSError, ValueError) as error:
            close_all(descriptors)
            raise ChannelEnded(str(error)) from error
        finally:
            self._socket.settimeout(None)
        close_all(descriptors)
        raise ChannelEnded("the other end is closed" if not data else "the message is too long")

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
