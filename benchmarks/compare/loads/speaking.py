"""Lean clients of every protocol, alike in what they do: they play CartPole or another environment of few actions.

They decode what a client must: the observation is what the next action is chosen by, and whether the episode has ended.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import classic
import msgspec

_UINT32 = struct.Struct(">I")
_LENGTH = struct.Struct("<I")
_PATIENCE = 120


class Speaker(Protocol):
    """One client, with an environment of its own."""

    def reset(self) -> list[float]:
        """Begin an episode; return the observation."""

    def step(self, action: int) -> tuple[list[float], bool]:
        """Take a step; return the observation, and whether the episode has ended."""

    def close(self) -> None:
        """Leave."""


class Classic:
    """Speaks the classic protocol: ``benchmarks/classic.py``, and the observation.

    Args:
        port: The server's port on this machine.
        environment: The id of an environment with numbers for observations.
    """

    def __init__(self, port: int, environment: str) -> None:
        self._client = classic.Client(port, environment)
        self._commands = [classic.step_command(action) for action in range(8)]
        self.close = self._client.close

    def reset(self) -> list[float]:
        """See :class:`Speaker`."""
        self._client.reset()
        return self._observation()

    def step(self, action: int) -> tuple[list[float], bool]:
        """See :class:`Speaker`."""
        ended = self._client.step(self._commands[action])
        return self._observation(), ended

    def _observation(self) -> list[float]:
        view = self._client._view
        found: list[float] = json.loads(bytes(view[5 : 5 + _LENGTH.unpack_from(view, 1)[0]]))
        return found


class Framed:
    """Speaks the framed protocol in one of its framings.

    Args:
        protocol: "int32" or "netstring".
        port: The server's port on this machine.
        environment: The id of an environment with a few float32 for observations.

    Raises:
        ConnectionError: The server refused it.
    """

    def __init__(self, protocol: str, port: int, environment: str) -> None:
        self._is_text = protocol == "netstring"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Python's own timeout would cost a poll before every read.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE, 0))
        self._decode: Callable[[bytes], Any] = msgspec.json.decode if self._is_text else msgspec.msgpack.decode
        made = self._ask(self._frame({"op": "make", "id": environment}))
        if made["op"] != "make":
            raise ConnectionError(str(made))
        self._size = made["observation_layout"]["size"] // 4
        self._reset = self._frame({"op": "reset"})
        actions = [action if self._is_text else struct.pack("<q", action) for action in range(8)]
        self._steps = [self._frame({"op": "step", "action": action}) for action in actions]

    def _frame(self, message: Mapping[str, Any]) -> bytes:
        if self._is_text:
            text = msgspec.json.encode(message)
            return b"%d:%b," % (len(text), text)
        packed = msgspec.msgpack.encode(message)
        return _UINT32.pack(len(packed)) + packed

    def _ask(self, frame: bytes) -> Any:
        self._socket.sendall(frame)
        data = b""
        while (reply := self._payload(data)) is None:
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return self._decode(reply)

    def _payload(self, data: bytes) -> bytes | None:
        """Take the payload out of a frame; None while that is incomplete."""
        if self._is_text:
            digits, colon, rest = data.partition(b":")
            return rest[:-1] if colon and len(rest) == int(digits) + 1 else None
        return data[4:] if len(data) >= 4 and len(data) == 4 + _UINT32.unpack_from(data)[0] else None

    def _observation(self, told: Any) -> list[float]:
        if self._is_text:
            observation: list[float] = told
            return observation
        return list(struct.unpack(f"<{self._size}f", told))

    def reset(self) -> list[float]:
        """See :class:`Speaker`."""
        return self._observation(self._ask(self._reset)["observation"])

    def step(self, action: int) -> tuple[list[float], bool]:
        """See :class:`Speaker`."""
        told = self._ask(self._steps[action])
        return self._observation(told["observation"]), told["terminated"] or told["truncated"]

    def close(self) -> None:
        """See :class:`Speaker`."""
        self._socket.close()


def speaker(protocol: str, port: int, environment: str) -> Speaker:
    """Connect, and make an environment.

    Args:
        protocol: "classic", "int32" or "netstring".
        port: The server's port on this machine.
        environment: The environment's id.
    """
    return Classic(port, environment) if protocol == "classic" else Framed(protocol, port, environment)


class Balancer:
    """Keeps the pole of CartPole up, so that its episodes have 500 steps.

    Args:
        client: Whoever has the pole.

    Attributes:
        ended: Whether the episode has ended with the last step.
    """

    def __init__(self, client: Speaker) -> None:
        self._client = client
        self._observation = client.reset()
        self.ended = False

    def step(self) -> None:
        """Take a step."""
        observation = self._observation
        self._observation, self.ended = self._client.step(1 if observation[2] + observation[3] > 0 else 0)

    def begin(self) -> None:
        """Begin another episode."""
        self._observation = self._client.reset()
