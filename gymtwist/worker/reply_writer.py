"""Replies on their way out: parts that are sent as they lie, and small steps made in one buffer."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import msgspec

from gymtwist.protocol import dynamic_values
from gymtwist.protocol.codec import BIN32, BIN32_CODE, EMPTY_BIN
from gymtwist.protocol.messages import Stepped

_UINT32 = struct.Struct(">I")


def send_parts(connection: socket.socket, parts: Sequence[bytes | bytearray | memoryview]) -> None:
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


class StepReplyWriter:
    """Makes Int32 frames of replies to steps, in one buffer that is used again and again.

    It is for what needs no care: the observation, rewards and flags are bytes or Python's own numbers, and the info is
    flat or shallow. Both raise OverflowError or ValueError where that has a number or text that MessagePack has not.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        encoder = msgspec.msgpack.Encoder(enc_hook=dynamic_values.to_bytes)
        self._encode, self._encode_into = encoder.encode, encoder.encode_into
        # The observation is the first field behind the operation, so where it belongs is known.
        self._place = encoder.encode(Stepped(b"", 0.0, False, False)).index(EMPTY_BIN)

    def frame(self, reply: Stepped) -> bytearray:
        """Return the frame of a reply, valid until the next call."""
        buffer = self._buffer
        self._encode_into(reply, buffer, _UINT32.size)
        _UINT32.pack_into(buffer, 0, len(buffer) - _UINT32.size)
        return buffer

    def parts(self, reply: Stepped) -> list[bytes | memoryview]:
        """Return the parts of the frame of a reply whose observation is large, and is not copied."""
        observation = reply.observation
        rest = self._encode(Stepped(b"", reply.reward, reply.terminated, reply.truncated, reply.info))
        before = rest[: self._place] + BIN32.pack(BIN32_CODE, len(observation))
        after = rest[self._place + len(EMPTY_BIN) :]
        return [_UINT32.pack(len(before) + len(observation) + len(after)) + before, observation, after]
