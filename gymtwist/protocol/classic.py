"""The classic protocol of gym-socket-api: decodes commands and encodes replies.

Integers are little-endian; a string is a uint32 length followed by UTF-8. The format is specified in
``docs/reference/classic-protocol.md``, and comes from https://github.com/unixpickle/gym-socket-api.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from gymtwist.errors import HandshakeError, LimitExceeded, ProtocolError
from gymtwist.protocol.receive_buffer import ReceiveBuffer

#: The maximum length of an environment id in bytes. Gymnasium, Gym and ale-py register none of 60 or more, and up to
#: this length, the first bytes of a handshake differ from those of all other protocols.
MAX_ID = 255
#: The maximum length of a string or an action in a command, in bytes.
MAX_FIELD = 16 * 1024 * 1024
#: The maximum length of an error text in characters, because an environment may raise longer ones.
MAX_ERROR = 4000

RESET, STEP, GET_SPACE, SAMPLE_ACTION, MONITOR, RENDER, UPLOAD, UNIVERSE_CONFIGURE, UNIVERSE_WRAP = range(9)

_UINT32 = struct.Struct("<I")
_FIELD_HEADER = struct.Struct("<BI")
_STEP_TAIL = struct.Struct("<dBI")

#: Buffers sent by one system call, without joining them.
Parts: TypeAlias = "list[bytes | memoryview]"


class Handshake(msgspec.Struct, frozen=True, gc=False):
    """The first message of a connection, with the environment id; an empty id requests no environment."""

    environment: str
    size: int


class Reset(msgspec.Struct, frozen=True, gc=False):
    """Begin an episode."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """Take one step with an action decoded from JSON."""

    action: Any


class GetSpace(msgspec.Struct, frozen=True, gc=False):
    """Describe the observation space, or the action space."""

    observation: bool


class SampleAction(msgspec.Struct, frozen=True, gc=False):
    """Draw an action from the action space."""


class Monitor(msgspec.Struct, frozen=True, gc=False):
    """Record episode statistics, and videos if asked, into a directory."""

    resume: bool
    force: bool
    video: bool
    directory: str


class Render(msgspec.Struct, frozen=True, gc=False):
    """Show the environment on the server's screen."""


class Upload(msgspec.Struct, frozen=True, gc=False):
    """Send recorded results to OpenAI's scoreboard, which closed in 2017."""

    directory: str
    api_key: str
    algorithm_id: str


class UniverseConfigure(msgspec.Struct, frozen=True, gc=False):
    """Configure an OpenAI Universe environment; Universe was retired in 2018."""

    options: str


class UniverseWrap(msgspec.Struct, frozen=True, gc=False):
    """Wrap an OpenAI Universe environment; Universe was retired in 2018."""

    wrapper: str
    options: str


Command: TypeAlias = (
    Reset | Step | GetSpace | SampleAction | Monitor | Render | Upload | UniverseConfigure | UniverseWrap
)

# The layout and the class of each command. The step has its own code, because it is frequent.
_LAYOUTS: dict[int, tuple[str, Callable[..., Command]]] = {
    RESET: ("", Reset),
    GET_SPACE: ("b", GetSpace),
    SAMPLE_ACTION: ("", SampleAction),
    MONITOR: ("bbbs", Monitor),
    RENDER: ("", Render),
    UPLOAD: ("sss", Upload),
    UNIVERSE_CONFIGURE: ("s", UniverseConfigure),
    UNIVERSE_WRAP: ("ss", UniverseWrap),
}


def is_handshake(data: bytes | bytearray) -> bool | None:
    """Return whether the first bytes of a connection belong to this protocol; None if more are needed.

    Flags of 0 precede the little-endian length of the id, of which the low byte is not 0, or all four bytes are.
    """
    if data[:1] != b"\0":
        return False if data else None
    if len(data) < 2:
        return None
    if data[1]:
        return True
    if any(data[2:5]):
        return False
    return True if len(data) >= 5 else None


def read_handshake(data: bytes | bytearray) -> Handshake | None:
    """Read the handshake from the first bytes of a connection.

    Args:
        data: All bytes received so far.

    Returns:
        The handshake and its size in bytes; None while it is incomplete.

    Raises:
        HandshakeError: The flags are not 0, or the id is longer than :data:`MAX_ID` or not UTF-8.
    """
    if data and data[0]:
        raise HandshakeError(f"unsupported flags {data[0]}: the classic protocol opens with flags 0")
    if len(data) < 5:
        return None
    (length,) = _UINT32.unpack_from(data, 1)
    if length > MAX_ID:
        raise HandshakeError(f"the environment id has {length} bytes; at most {MAX_ID} are allowed")
    if len(data) < 5 + length:
        return None
    try:
        return Handshake(bytes(data[5 : 5 + length]).decode(), 5 + length)
    except UnicodeDecodeError:
        raise HandshakeError("the environment id is not UTF-8; send its name as UTF-8 text") from None


class CommandReader(ReceiveBuffer):
    """Takes commands from a stream of bytes.

    Args:
        data: Bytes received after the handshake.
        borrowed: See :class:`~gymtwist.protocol.receive_buffer.ReceiveBuffer`.
    """

    def __init__(self, data: bytes = b"", borrowed: memoryview | None = None) -> None:
        super().__init__(data, borrowed=borrowed)
        self._decode: Callable[[memoryview], Any] = msgspec.json.Decoder().decode

    def next_command(self) -> Command | None:
        """Take the next command.

        Returns:
            The command; None while it is incomplete.

        Raises:
            ProtocolError: The bytes are not a command, so the following bytes cannot be decoded either.
        """
        start, buffer = self.start, self._buffer
        available = self.end - start
        if not available:
            self.start = self.end = 0
            return None
        kind = buffer[start]
        if kind != STEP:
            return self._next_other(kind)
        if available < 6:
            return None
        if buffer[start + 1]:
            raise ProtocolError(f"unknown action type {buffer[start + 1]}; only 0 (JSON) exists")
        (length,) = _UINT32.unpack_from(buffer, start + 2)
        if length > MAX_FIELD:
            raise LimitExceeded(f"the action has {length} bytes; at most {MAX_FIELD} are allowed")
        stop = start + 6 + length
        if stop > self.end:
            return None
        try:
            action = self._decode(self._view[start + 6 : stop])
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"the action is not valid JSON: {error}") from None
        self.start = stop
        return Step(action)

    def _next_other(self, kind: int) -> Command | None:
        try:
            layout, make = _LAYOUTS[kind]
        except KeyError:
            raise ProtocolError(f"unknown packet type {kind}; the types are 0 to {UNIVERSE_WRAP}") from None
        position = self.start + 1
        values: list[bool | memoryview] = []
        for field in layout:
            read = self._read_byte if field == "b" else self._read_text
            value, position = read(position, make)
            if value is None:
                return None
            values.append(value)
        # Decode texts only once the command is complete; otherwise, they would be decoded again for each chunk.
        try:
            command = make(*[str(value, "utf-8") if isinstance(value, memoryview) else value for value in values])
        except UnicodeDecodeError:
            raise ProtocolError(f"a string of {make.__name__} is not UTF-8") from None
        self.start = position
        return command

    def _read_byte(self, position: int, command: Callable[..., Command]) -> tuple[bool | None, int]:
        if position >= self.end:
            return None, position
        byte = self._buffer[position]
        if byte > 1:
            raise ProtocolError(f"byte {byte} in {command.__name__}; it takes 0 or 1")
        return bool(byte), position + 1

    def _read_text(self, position: int, command: Callable[..., Command]) -> tuple[memoryview | None, int]:
        if position + 4 > self.end:
            return None, position
        (length,) = _UINT32.unpack_from(self._buffer, position)
        if length > MAX_FIELD:
            raise LimitExceeded(f"a string of {command.__name__} has {length} bytes; at most {MAX_FIELD} are allowed")
        stop = position + 4 + length
        if stop > self.end:
            return None, position
        return self._view[position + 4 : stop], stop


def string(data: bytes) -> bytes:
    """Encode a string that is already UTF-8."""
    return _UINT32.pack(len(data)) + data


def error_string(message: str = "") -> bytes:
    """Encode an error string; an empty one reports success."""
    return string(shortened(message).encode("utf-8", "replace"))


def shortened(message: str) -> str:
    """Truncate an error text that is longer than :data:`MAX_ERROR`."""
    return message if len(message) <= MAX_ERROR else f"{message[:MAX_ERROR]}..."


def action(text: bytes) -> bytes:
    """Encode an action given as JSON."""
    return _FIELD_HEADER.pack(0, len(text)) + text


def observation_json(text: bytes) -> bytes:
    """Encode an observation given as JSON."""
    return _FIELD_HEADER.pack(0, len(text)) + text


def observation_bytes(array: npt.NDArray[np.uint8]) -> Parts:
    """Encode an observation that is an array of bytes, without copying it if it is in C order.

    Args:
        array: uint8, of any shape.
    """
    shape = array.shape
    header = struct.pack(f"<BI{1 + len(shape)}I", 1, 4 + 4 * len(shape) + array.nbytes, len(shape), *shape)
    # An empty view cannot be cast, and contains nothing to send.
    return [header, np.ascontiguousarray(array).data.cast("B")] if array.nbytes else [header]


def step_tail(reward: float, done: bool, info: bytes) -> bytes:
    """Encode the part of a step's reply after the observation: reward, done and the info as JSON."""
    return _STEP_TAIL.pack(reward, done, len(info)) + info
