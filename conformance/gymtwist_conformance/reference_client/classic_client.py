"""A blocking client of the classic protocol."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

import numpy as np

from gymtwist_conformance.reference_client.byte_stream import ByteStream, Violation, strict_json

RESET, SAMPLE, RENDER = b"\x00", b"\x03", b"\x05"
_UINT32 = struct.Struct("<I")
#: What follows the observation in the reply to a step: the reward, whether the episode is over, the length of the info.
_STEP_TAIL = struct.Struct("<dBI")


class Refused(Exception):
    """The server answered with a non-empty error string."""


class Step(NamedTuple):
    """The reply to one action."""

    observation: Any
    reward: float
    done: bool
    info: dict[str, Any]


# Requests


def string(text: str | bytes) -> bytes:
    """Encode a string: four bytes of length, and UTF-8."""
    data = text.encode() if isinstance(text, str) else text
    return _UINT32.pack(len(data)) + data


def handshake(environment: str | bytes, flags: int = 0) -> bytes:
    """Encode the first message of a connection."""
    return bytes([flags]) + string(environment)


def step(action: Any) -> bytes:
    """Encode the command that plays an action."""
    return b"\x01\x00" + string(json.dumps(action))


def space(which: int) -> bytes:
    """Encode the command that asks for the action space (0) or the observation space (1)."""
    return bytes([2, which])


def monitor(directory: str, resume: int = 0, force: int = 0, video: int = 0) -> bytes:
    """Encode the command that starts recording into a directory."""
    return bytes([4, resume, force, video]) + string(directory)


# The end of each kind of reply in the bytes received so far; None while the reply is incomplete


def string_end(data: bytes | bytearray | memoryview, start: int = 0) -> int | None:
    """Find the end of a string."""
    if len(data) < start + 4:
        return None
    end: int = start + 4 + _UINT32.unpack_from(data, start)[0]
    return end if len(data) >= end else None


def observation_end(data: bytes | bytearray | memoryview) -> int | None:
    """Find the end of the reply to a reset: a byte for the type, and a string."""
    return string_end(data, 1)


def step_done(data: bytes | bytearray | memoryview) -> bool | None:
    """Read from the reply to a step whether the episode is over, without decoding the rest; None while incomplete.

    Nothing may follow the reply. Benchmarks call this for every step.
    """
    size = len(data)
    if size < 5:
        return None
    tail: int = 5 + _UINT32.unpack_from(data, 1)[0]
    if size < tail + 13:
        return None
    _, done, info = _STEP_TAIL.unpack_from(data, tail)
    return bool(done) if size == tail + 13 + info else None


def error_text(reply: bytes) -> str:
    """Read the only string that a refused connection received.

    Raises:
        Violation: There is more or less than one string, or it is empty, which means success.
    """
    if string_end(reply) != len(reply) or len(reply) == 4:
        raise Violation(f"{reply[:200]!r} is not one error string")
    return reply[4:].decode()


class ClassicClient(ByteStream):
    """One connection to a server of the classic protocol; see :class:`ByteStream`."""

    # Replies

    def read_string(self) -> str:
        """Read a string."""
        return self.read(_UINT32.unpack(self.read(4))[0]).decode()

    def read_error(self) -> None:
        """Read an error string; raise :class:`Refused` unless it is empty."""
        text = self.read_string()
        if text:
            raise Refused(text)

    def read_observation(self) -> Any:
        """Read an observation: a uint8 array, or a value from JSON."""
        kind, size = self.read(1)[0], _UINT32.unpack(self.read(4))[0]
        data = self.read(size)
        if kind == 0:
            return strict_json(data)
        if kind != 1:
            raise Violation(f"an observation of the kind {kind}; expected 0 or 1")
        dimensions = _UINT32.unpack_from(data)[0]
        shape = struct.unpack_from(f"<{dimensions}I", data, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)

    def read_step(self) -> Step:
        """Read the reply to an action."""
        observation = self.read_observation()
        reward, done, size = _STEP_TAIL.unpack(self.read(_STEP_TAIL.size))
        if done > 1:
            raise Violation(f"the flag `done` is {done}; expected 0 or 1")
        return Step(observation, reward, bool(done), strict_json(self.read(size)))

    def read_action(self) -> Any:
        """Read a sampled action."""
        kind = self.read(1)[0]
        if kind:
            raise Violation(f"an action of the kind {kind}; expected 0")
        return strict_json(self.read_string())

    # Requests with their replies

    def open(self, environment: str) -> ClassicClient:
        """Open an environment; raise :class:`Refused` with the server's error string."""
        self.send(handshake(environment))
        self.read_error()
        return self

    def reset(self) -> Any:
        """Begin an episode; return its first observation."""
        self.send(RESET)
        return self.read_observation()

    def step(self, action: Any) -> Step:
        """Play an action."""
        self.send(step(action))
        return self.read_step()

    def space(self, which: int) -> Any:
        """Return the action space (0) or the observation space (1)."""
        self.send(space(which))
        return strict_json(self.read_string())

    def sample(self) -> Any:
        """Return an action that the server sampled."""
        self.send(SAMPLE)
        return self.read_action()

    def monitor(self, directory: str, resume: bool = False, force: bool = False, video: bool = False) -> None:
        """Start recording into a directory."""
        self.send(monitor(directory, resume, force, video))
        self.read_error()

    def render(self) -> None:
        """Ask for a window; there is no reply."""
        self.send(RENDER)

    def upload(self, directory: str, key: str = "", algorithm: str = "") -> None:
        """Ask for an upload to a scoreboard that no longer exists."""
        self.send(b"\x06" + string(directory) + string(key) + string(algorithm))
        self.read_error()

    def universe_configure(self, options: str = "{}") -> None:
        """Ask to configure Universe."""
        self.send(b"\x07" + string(options))
        self.read_error()

    def universe_wrap(self, name: str, options: str = "{}") -> None:
        """Ask for a wrapper of Universe."""
        self.send(b"\x08" + string(name) + string(options))
        self.read_error()

    def play(self, steps: int = 3) -> None:
        """Reset and take steps with the action 0, which the environment must accept."""
        self.reset()
        for _ in range(steps):
            if self.step(0).done:
                self.reset()
