"""Lean clients of the protocols, for few actions: the server is measured, not the client.

They are built on the reference client, and decode only what a player must know: the observation, and whether the
episode has ended. The reference client checks every reply, which takes it longer than a step.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from typing import Any, Protocol

import msgspec

from gymtwist_conformance.reference_client import INT32, NETSTRING, ClassicClient, FramedClient, classic_client
from gymtwist_conformance.reference_client.frames import message

#: Seconds after which a missing reply is an error.
_PATIENCE = 120
#: More than a frame of Pong (210 x 160 x 3 bytes) and its headers.
_BUFFER_SIZE = 256 * 1024
_UINT32, _INT32 = struct.Struct("<I"), struct.Struct(">I")


class LeanClient(Protocol):
    """One client with an environment of its own."""

    def reset(self) -> Any:
        """Begin an episode; return the observation."""

    def step(self, action: int) -> tuple[Any, bool]:
        """Take a step; return the observation, and whether the episode has ended."""

    def close(self) -> None:
        """Close the connection."""


def random_actions(count: int, steps: int) -> list[int]:
    """Draw actions from 0 to `count` - 1, the same ones each time."""
    return random.Random(1).choices(range(count), k=steps)


def _without_polls(connection: socket.socket) -> socket.socket:
    """Let the kernel limit the time of reading: Python's own timeout costs a poll before every read."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE, 0))
    return connection


class LeanClassicClient:
    """A client of the classic protocol, whose replies fit into a buffer.

    Attributes:
        port: The client's own port, by which the server's log names it.
    """

    def __init__(self, port: int, environment: str, buffer_size: int = _BUFFER_SIZE) -> None:
        client = ClassicClient.connect(port, patience=_PATIENCE).open(environment)
        self.port, self.close = client.port, client.close
        self._socket = _without_polls(client.socket)
        self._view = memoryview(bytearray(buffer_size))
        self._steps = [classic_client.step(action) for action in range(18)]

    def _receive(self, filled: int) -> int:
        """Receive behind what is in the buffer; return how much it contains then."""
        count = self._socket.recv_into(self._view[filled:])
        if not count:
            raise ConnectionError("the server closed the connection")
        return filled + count

    def begin(self) -> None:
        """Begin an episode."""
        self._socket.sendall(classic_client.RESET)
        filled = self._receive(0)
        while classic_client.observation_end(self._view[:filled]) is None:
            filled = self._receive(filled)

    def advance(self, action: int) -> bool:
        """Take a step; return whether the episode has ended."""
        self._socket.sendall(self._steps[action])
        return self.receive_step()

    def send_step(self, action: int) -> None:
        """Send a step without waiting for its reply."""
        self._socket.sendall(self._steps[action])

    def receive_step(self) -> bool:
        """Wait for the reply to a step; return whether the episode has ended."""
        filled = self._receive(0)
        while (done := classic_client.step_done(self._view[:filled])) is None:
            filled = self._receive(filled)
        return done

    def play(self, actions: list[int]) -> int:
        """Take steps, with a reset whenever an episode has ended; return how many have."""
        episodes = 0
        advance = self.advance
        for action in actions:
            if advance(action):
                episodes += 1
                self.begin()
        return episodes

    def reset(self) -> Any:
        """See :class:`LeanClient`."""
        self.begin()
        return self._observation()

    def step(self, action: int) -> tuple[Any, bool]:
        """See :class:`LeanClient`."""
        ended = self.advance(action)
        return self._observation(), ended

    def _observation(self) -> Any:
        """Take the observation out of the buffer: the value of the JSON, or the bytes of a frame."""
        view = self._view
        data = view[5 : 5 + _UINT32.unpack_from(view, 1)[0]]
        return bytes(data) if view[0] else json.loads(bytes(data))


class LeanFramedClient:
    """A client of the framed protocol in one of its encodings, for observations that are an array of float32."""

    def __init__(self, encoding: str, port: int, environment: str) -> None:
        client = FramedClient.connect(port, encoding=encoding, patience=_PATIENCE)
        made = client.ask("make", id=environment)
        self.close = client.close
        self._socket = _without_polls(client.socket)
        self._is_text = encoding == NETSTRING
        self._decode = msgspec.json.decode if self._is_text else msgspec.msgpack.decode
        self._unpack = struct.Struct(f"<{made['observation_layout']['size'] // 4}f").unpack
        self._reset = message(encoding, "reset")
        actions = [action if self._is_text else struct.pack("<q", action) for action in range(18)]
        self._steps = [message(encoding, "step", action=action) for action in actions]

    def _ask(self, frame: bytes) -> Any:
        self._socket.sendall(frame)
        data = b""
        while (payload := self._payload(data)) is None:
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return self._decode(payload)

    def _payload(self, data: bytes) -> bytes | None:
        """Take the payload out of a frame, unchecked, in half the time that the reference client takes."""
        if self._is_text:
            digits, colon, rest = data.partition(b":")
            return rest[:-1] if colon and len(rest) == int(digits) + 1 else None
        return data[4:] if len(data) >= 4 and len(data) == 4 + _INT32.unpack_from(data)[0] else None

    def reset(self) -> Any:
        """See :class:`LeanClient`."""
        observation = self._ask(self._reset)["observation"]
        return observation if self._is_text else self._unpack(observation)

    def step(self, action: int) -> tuple[Any, bool]:
        """See :class:`LeanClient`."""
        reply = self._ask(self._steps[action])
        observation = reply["observation"]
        return observation if self._is_text else self._unpack(observation), reply["terminated"] or reply["truncated"]


#: The names of the protocols.
PROTOCOLS = (INT32, NETSTRING, "classic")


def lean_client(protocol: str, port: int, environment: str) -> LeanClient:
    """Connect to a server on this machine by one of PROTOCOLS, and make an environment."""
    if protocol == "classic":
        return LeanClassicClient(port, environment)
    return LeanFramedClient(protocol, port, environment)
