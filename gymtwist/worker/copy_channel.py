"""The channel between the leader of a session's processes and one of them: messages, each with some descriptors."""

from __future__ import annotations

import _socket
import array
import os
import re
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
    """Keep a snapshot: the leader's end of the channel with the copy comes along.

    Attributes:
        snapshot: The number of the snapshot.
        ticket: What a session branches off by.
        process: The process id of the copy.
    """

    snapshot: int
    ticket: str
    process: int


class GoOn(_Message, frozen=True):
    """Have a snapshot go on in place of the sender; the descriptor of shared memory may come along.

    Attributes:
        snapshot: The number of the snapshot.
        handover: What the next player needs of the connection.
    """

    snapshot: int
    handover: bytes = b""


class UseConnection(_Message, frozen=True):
    """Give the client's socket that comes along to whatever goes on from now on: the last one was lost."""


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
    """Play, and leave another frozen copy behind.

    What comes along is the player's end of its channel with the leader, a socket with the right to play, the client's
    socket, and perhaps shared memory.

    Attributes:
        handover: What the last player has handed over.
        problem: What the client is to be told of the end of the last player; empty if that has handed over.
    """

    handover: bytes
    problem: str = ""


class BranchOff(_Message, frozen=True):
    """Fork a process for another session.

    Its end of a channel with the leader comes along, its AMP socket, and where it prints to.
    """


class Weigh(_Message, frozen=True):
    """Tell how much memory is the process's own."""


# Frozen copy, or what goes on from it, to leader


class Frozen(_Message, frozen=True):
    """The sender plays, and another process is the copy.

    Attributes:
        process: Its process id.
    """

    process: int


class Ready(_Message, frozen=True):
    """A process goes on from a snapshot.

    Attributes:
        process: Its process id.
    """

    process: int


class Weight(_Message, frozen=True):
    """How much memory is the sender's own, in bytes: not encoded, but what ``/proc/self/smaps_rollup`` says."""

    private: int


Message: TypeAlias = (
    Keep
    | GoOn
    | UseConnection
    | GiveUp
    | Finished
    | GivenUp
    | Refused
    | Play
    | BranchOff
    | Weigh
    | Frozen
    | Ready
    | Weight
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
#: As plain numbers: those of the module :mod:`socket` are objects of an enumeration.
_AF_UNIX, _SOCK_SEQPACKET, _MSG_NOSIGNAL = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET), int(socket.MSG_NOSIGNAL)
_SOL_SOCKET, _SCM_RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS
_MSG_CMSG_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
#: Bytes for the descriptors of a message.
_ROOM = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
#: A message that is recognized without decoding.
WEIGH = _encode(Weigh())
#: The first byte of each encoded message has this bit, and no text has it.
_ENCODED = 0x80
_find_private = re.compile(rb"^Private_(?:Clean|Dirty): *(\d+) kB", re.MULTILINE).findall


class ChannelEnded(Exception):
    """The other end is closed, or does not answer in time, or what it says is no message."""


class NothingReceived(ChannelEnded):
    """Nothing has come in time."""


class Channel:
    """One end of a channel.

    Its socket is not of the class ``socket.socket``: its functions would be written to for each snapshot, and so take
    memory of each.

    Args:
        connection: A UNIX socket of packets.
    """

    __slots__ = ("_socket",)

    def __init__(self, connection: _socket.socket) -> None:
        self._socket = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends of a channel.

        Raises:
            OSError: There are no descriptors left.
        """
        one, other = _socket.socketpair(_AF_UNIX, _SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def adopt(cls, descriptor: int) -> Channel:
        """Make an end of a descriptor that was received."""
        connection = _socket.socket(_AF_UNIX, _SOCK_SEQPACKET, 0, descriptor)
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
            given = [(_SOL_SOCKET, _SCM_RIGHTS, array.array("i", descriptors))] if descriptors else ()
            self._socket.sendmsg([_encode(message)], given, _MSG_NOSIGNAL)
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
            data, given, flags, _ = self._socket.recvmsg(_MOST_BYTES, _ROOM, _MSG_CMSG_CLOEXEC)
            for level, kind, content in given:
                if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
                    descriptors += array.array("i", content)
            if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                is_encoded = data[0] & _ENCODED
                return _decode(data) if is_encoded else Weight(1024 * sum(map(int, _find_private(data)))), descriptors
        except (BlockingIOError, TimeoutError) as error:
            raise NothingReceived("it does not answer") from error
        except (OSError, ValueError) as error:
            close_all(descriptors)
            raise ChannelEnded(str(error)) from error
        finally:
            self._socket.settimeout(None)
        close_all(descriptors)
        raise ChannelEnded("the other end is closed" if not data else "the message is too long")

    def detach(self) -> int:
        """Return the descriptor, which this object no longer closes."""
        return self._socket.detach()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
