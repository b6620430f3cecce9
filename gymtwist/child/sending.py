"""Replies on their way out: parts that are sent as they lie, and small steps made in one buffer."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import msgspec

from gymtwist.wire.messages import Stepped

_UINT32 = struct.Struct(">I")


def send_parts(connection: socket.socket, parts: Sequence[bytes | memoryview]) -> None:
    """Write parts in one system call, without joining them; a signal, or a peer that is slow, may make it take more.

    Args:
        connection: A socket in blocking mode.
        parts: Bytes; views must be of bytes, too.
    """
    sent = connection.sendmsg(parts)
    for part in parts:
        if sent >= len(part):
            sent -= len(part)
        else:
            connection.sendall(memoryview(part)[sent:])
            sent = 0


class StepReplies:
    """Makes Int32 frames of replies to steps, in one buffer that is used again and again.

    It is for what is small and needs no care: the observation, rewards and flags are bytes or Python's own numbers,
    and the info is empty.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._encode_into = msgspec.msgpack.Encoder().encode_into

    def frame(self, reply: Stepped) -> bytearray:
        """Return the frame of a reply, valid until the next call."""
        buffer = self._buffer
        self._encode_into(reply, buffer, _UINT32.size)
        _UINT32.pack_into(buffer, 0, len(buffer) - _UINT32.size)
        return buffer
