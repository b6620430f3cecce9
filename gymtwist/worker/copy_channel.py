"""The channel between the leader of a session's processes and another of them: messages with descriptors."""

from __future__ import annotations

import _socket
import array
import os
import re
import socket
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

#: The maximum size of a message in bytes, and the maximum number of its descriptors.
_MOST_BYTES, _MOST_DESCRIPTORS = 32 * 1024, 8


class _Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """The base of all messages."""


# Player to leader


class Keep(_Message, frozen=True):
    """Keep a snapshot; the leader's end of the channel to the copy comes with the message.

    Attributes:
        snapshot: The number of the snapshot.
        ticket: The ticket by which other sessions branch off it.
        process: The process id of the copy.
    """

    snapshot: int
    ticket: str
    process: int


class GoOn(_Message, frozen=True):
    """Continue from a snapshot in place of the sender; the descriptor of shared memory may come with the message.

    Attributes:
        snapshot: The number of the snapshot.
        handover: The state of the connection that the next player needs.
    """

    snapshot: int
    handover: bytes = b""


class UseConnection(_Message, frozen=True):
    """Give the client's socket, which comes with the message, to later processes: the previous one was lost."""


class GiveUp(_Message, frozen=True):
    """Release a snapshot.

    Attributes:
        snapshot: The number of the snapshot; 0 for the oldest.
    """

    snapshot: int


class Finished(_Message, frozen=True):
    """The session has ended.

    Attributes:
        reason: The reason.
        processor_time: The processor time of the sender, in seconds.
    """

    reason: str
    processor_time: float


# Leader to player


class GivenUp(_Message, frozen=True):
    """The answer to :class:`GiveUp`: how many snapshots the session still holds."""

    held: int


class Refused(_Message, frozen=True):
    """The answer to a message that cannot be carried out.

    Attributes:
        code: The code of the gymtwist error.
        problem: The message of the error.
    """

    code: str
    problem: str


# Leader to frozen copy


class Play(_Message, frozen=True):
    """Play, and leave another frozen copy in its place.

    The message comes with the player's end of its channel to the leader, the socket that holds the right to play, the
    client's socket, and possibly shared memory.

    Attributes:
        handover: What the last player handed over.
        problem: What to tell the client about the end of the last player; empty if that player handed over.
    """

    handover: bytes
    problem: str = ""


class BranchOff(_Message, frozen=True):
    """Fork a process for another session.

    The message comes with the new process's end of a channel to the leader, its AMP socket, and its output.
    """


class Weigh(_Message, frozen=True):
    """Report how much memory the process has of its own."""


# Frozen copy, or the process that continues from it, to leader


class Frozen(_Message, frozen=True):
    """The sender now plays, and another process is the frozen copy.

    Attributes:
        process: The process id of the copy.
    """

    process: int


class Ready(_Message, frozen=True):
    """A process continues from a snapshot.

    Attributes:
        process: Its process id.
    """

    process: int


class Weight(_Message, frozen=True):
    """How much memory the sender has of its own, in bytes: not encoded, but the text of ``/proc/self/smaps_rollup``."""

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
#: Plain numbers, because the constants of :mod:`socket` are enumeration members.
_AF_UNIX, _SOCK_SEQPACKET, _MSG_NOSIGNAL = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET), int(socket.MSG_NOSIGNAL)
_SOL_SOCKET, _SCM_RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS
_MSG_CMSG_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
#: The size of the ancillary data of a message, in bytes.
_ROOM = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
#: A message recognized without decoding.
WEIGH = _encode(Weigh())
#: The first byte of every encoded message has this bit; no text does.
_ENCODED = 0x80
_find_private = re.compile(rb"^Private_(?:Clean|Dirty): *(\d+) kB", re.MULTILINE).findall


class ChannelEnded(Exception):
    """The other end is closed, does not answer in time, or sent something that is not a message."""


class NothingReceived(ChannelEnded):
    """Nothing was received in time."""


class Channel:
    """One end of a channel.

    It does not use the class ``socket.socket``, whose function objects each snapshot would write to, and so copy.

    Args:
        connection: A UNIX socket of type ``SOCK_SEQPACKET``.
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
        """Make an end from a received descriptor."""
        connection = _socket.socket(_AF_UNIX, _SOCK_SEQPACKET, 0, descriptor)
        connection.setblocking(True)
        return cls(connection)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message with descriptors.

        Raises:
            ChannelEnded: The other end is closed, or does not receive.
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
            NothingReceived: Nothing was received in time.
            ChannelEnded: The other end is closed, or sent something that is not a message.
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
