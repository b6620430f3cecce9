"""Encoding and sending the replies of the framed protocol, with a fast path for steps."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import msgspec

from gymtwist.protocol import dynamic_values
from gymtwist.protocol.all_messages import Reply
from gymtwist.protocol.codec import BIN32, BIN32_CODE, EMPTY_BIN, GATHERED, MessageCodec, tag_of
from gymtwist.protocol.dynamic_values import is_flat, shallow_copy
from gymtwist.protocol.framing import Framing, Parts
from gymtwist.protocol.lenient_requests import MOST_NOTES
from gymtwist.protocol.messages import Stepped
from gymtwist.worker.guarded_call import fault_of_value
from gymtwist.worker.transports import Transport

_UINT32 = struct.Struct(">I")
#: The maximum number of different warnings in a session, because a client may invent fields without end.
_MAX_WARNINGS = MOST_NOTES


class ReplyWriter:
    """Encodes replies and sends them through a transport.

    The fast path writes Int32 frames of steps into one reused buffer. It accepts only values that need no sanitizing:
    observations that are bytes, rewards and flags of Python's own types, and infos that are flat or shallow.

    Args:
        codec: The session's codec.

    Attributes:
        transport: The transport, to be set before anything is sent.
    """

    transport: Transport

    def __init__(self, codec: MessageCodec) -> None:
        self._codec = codec
        self._buffer = bytearray()
        encoder = msgspec.msgpack.Encoder(enc_hook=dynamic_values.to_bytes)
        self._encode_step, self._encode_into = encoder.encode, encoder.encode_into
        #: The types of observations that take the fast path.
        self._fast: tuple[type, ...] = (bytes, memoryview) if codec.framing is Framing.INT32 else ()
        self._usually_fast = self._fast
        self._encode = codec.encode_reply
        self._warnings: list[str] = []
        #: The type of rewards, and whether the client must be told.
        self._reward_type: str | None = None
        self._tells_type = False
        self._warned: set[str] = set()
        # The observation is the first field after the operation, so its position is known.
        self._place = encoder.encode(Stepped(b"", 0.0, False, False)).index(EMPTY_BIN)

    def forget_client(self) -> None:
        """Forget what the client was told, because a new client has come."""
        self._warned.clear()
        if self._reward_type is not None:
            self.tell_reward_type(self._reward_type)

    def warn(self, warnings: Iterable[str]) -> None:
        """Send the client warnings with the next reply, each only once in a session."""
        new = [each for each in dict.fromkeys(warnings) if each not in self._warned]
        new = new[: _MAX_WARNINGS - len(self._warned)]
        self._warned.update(new)
        self._warnings += new
        if new:
            self._add_to_next()

    def tell_reward_type(self, name: str) -> None:
        """Send the client the type of rewards with the next reply to a step."""
        self._reward_type, self._tells_type = name, True
        self._add_to_next()

    def _add_to_next(self) -> None:
        # This way, a step without additions costs nothing.
        self._fast, self._encode = (), self._encode_with_additions

    def _encode_with_additions(self, reply: Reply) -> Parts:
        additions: dict[str, Any] = {"warnings": tuple(self._warnings)} if self._warnings else {}
        if isinstance(reply, Stepped) and self._tells_type:
            additions["reward_type"] = self._reward_type
        parts = self._codec.encode_reply(msgspec.structs.replace(reply, **additions) if additions else reply)
        self._warnings = []
        if isinstance(reply, Stepped):
            self._tells_type = False
        if not self._tells_type:
            self._fast, self._encode = self._usually_fast, self._codec.encode_reply
        return parts

    def send(self, reply: Reply) -> None:
        """Send a reply at once: replies are sent in the order of their requests.

        Raises:
            EnvironmentFault: The reply holds an environment's value that cannot be encoded.
            OSError: The connection has broken.
        """
        if type(reply) is Stepped and type(reply.observation) in self._fast and type(reply.info) is dict:
            frame = parts = None
            try:
                plain = reply if not reply.info or is_flat(reply.info) else _snapshot(reply)
                if plain is not None and len(plain.observation) < GATHERED:
                    frame = self._buffer
                    self._encode_into(plain, frame, _UINT32.size)
                    _UINT32.pack_into(frame, 0, len(frame) - _UINT32.size)
                elif plain is not None:
                    parts = self._gather(plain)
            except Exception:
                # An info holds arbitrary objects, which may raise anything; the codec handles each case.
                frame = parts = None
            if frame is not None:
                self.transport.send(frame)
                return
            if parts is not None:
                self.transport.send_parts(parts)
                return
        self.transport.send_parts(self.encode(reply))

    def _gather(self, reply: Stepped) -> Parts:
        """Encode a step around its large observation, which is not copied."""
        observation = reply.observation
        rest = self._encode_step(Stepped(b"", reply.reward, reply.terminated, reply.truncated, reply.info))
        before = rest[: self._place] + BIN32.pack(BIN32_CODE, len(observation))
        after = rest[self._place + len(EMPTY_BIN) :]
        return [_UINT32.pack(len(before) + len(observation) + len(after)) + before, observation, after]

    def encode(self, reply: Reply) -> Parts:
        """Encode a reply as the parts of its frame.

        Raises:
            EnvironmentFault: The reply holds an environment's value that cannot be encoded.
        """
        try:
            return self._encode(reply)
        except Exception as error:
            # No space constrains every value, and the objects of an environment may raise anything.
            raise fault_of_value(tag_of(reply), error) from error


def _snapshot(reply: Stepped) -> Stepped | None:
    """Copy the info; None if it is not shallow."""
    info = shallow_copy(reply.info)
    if info is None:
        return None
    return Stepped(reply.observation, reply.reward, reply.terminated, reply.truncated, info)
