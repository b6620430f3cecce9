"""A small complete client of the classic protocol, which can also say things that no client should."""

from __future__ import annotations

import json
import socket
import struct
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tests.support.patience import PATIENCE

RESET = b"\x00"
SAMPLE = b"\x03"
RENDER = b"\x05"


class Refused(Exception):
    """The server answered with an error string that is not empty."""


class Step(NamedTuple):
    """What the server replies to one action."""

    observation: Any
    reward: float
    done: bool
    info: dict[str, Any]


def string(text: str | bytes) -> bytes:
    """Returns a protocol string: its length in four bytes before it."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data


def handshake(environment: str | bytes, flags: int = 0) -> bytes:
    """Returns the first message of a connection."""
    return bytes([flags]) + string(environment)


def step(action: Any) -> bytes:
    """Returns the command that plays an action."""
    return b"\x01\x00" + string(json.dumps(action))


def space(which: int) -> bytes:
    """Returns the command that asks for the action space (0) or the observation space (1)."""
    return bytes([2, which])


def monitor(directory: str, resume: int = 0, force: int = 0, video: int = 0) -> bytes:
    """Returns the command that starts recording into a directory."""
    return bytes([4, resume, force, video]) + string(directory)


def strict_json(text: str) -> Any:
    """Decodes JSON the way Go does: NaN and Infinity are no tokens of it."""

    def refuse(token: str) -> NoReturn:
        raise AssertionError(f"{token} is not JSON: {text[:200]}")

    return json.loads(text, parse_constant=refuse)


class ClassicClient:
    """One connection to the server."""

    def __init__(self, connection: socket.socket) -> None:
        """Takes over a connected socket (TCP, UNIX or TLS)."""
        #: Where the server's log had got to before: another client may have had the same port earlier.
        self.since = 0
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.file = connection.makefile("rb")

    @classmethod
    def connect(cls, port: int, host: str = "127.0.0.1") -> ClassicClient:
        """Connects over TCP, and says nothing yet."""
        connection = socket.create_connection((host, port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection)

    @property
    def port(self) -> int:
        """The client's own port, by which the server's log names it."""
        return int(self.socket.getsockname()[1])

    def __enter__(self) -> ClassicClient:
        """Returns the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection, with a FIN unless something was left unread."""
        self.file.close()
        self.socket.close()

    def reset_connection(self) -> None:
        """Closes the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def drip(self, data: bytes) -> None:
        """Sends bytes one by one, each in a segment of its own."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])

    # Replies

    def read(self, count: int) -> bytes:
        """Returns exactly so many bytes."""
        data = self.file.read(count)
        if len(data) != count:
            raise EOFError(f"the server closed the connection after {len(data)} of {count} bytes")
        return data

    def read_string(self) -> str:
        """Returns the next string."""
        return self.read(struct.unpack("<I", self.read(4))[0]).decode()

    def read_error(self) -> None:
        """Reads an error string; raises `Refused` unless it is empty."""
        message = self.read_string()
        if message:
            raise Refused(message)

    def read_observation(self) -> Any:
        """Returns the next observation: a uint8 array, or what the JSON says."""
        kind = self.read(1)[0]
        size = struct.unpack("<I", self.read(4))[0]
        data = self.read(size)
        if kind == 0:
            return strict_json(data.decode())
        assert kind == 1, f"unknown type of observation: {kind}"
        dimensions = struct.unpack_from("<I", data)[0]
        shape = struct.unpack_from(f"<{dimensions}I", data, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)

    def read_step(self) -> Step:
        """Returns the next reply to an action."""
        observation = self.read_observation()
        reward = struct.unpack("<d", self.read(8))[0]
        done = self.read(1)
        assert done in (b"\x00", b"\x01"), f"not a bool: {done!r}"
        return Step(observation, reward, done == b"\x01", strict_json(self.read_string()))

    def read_action(self) -> Any:
        """Returns the next sampled action."""
        assert self.read(1) == b"\x00"
        return strict_json(self.read_string())

    def read_to_end(self) -> bytes:
        """Returns what comes until the server's FIN; a RST raises ConnectionResetError."""
        return self.file.read()

    def wait_closed(self) -> None:
        """Reads until the connection ends, by a FIN or a RST."""
        try:
            while self.file.read(1 << 16):
                pass
        except ConnectionResetError:
            pass

    # Commands

    def open(self, environment: str) -> ClassicClient:
        """Opens an environment; raises `Refused` with the server's error string."""
        self.send(handshake(environment))
        self.read_error()
        return self

    def reset(self) -> Any:
        """Starts an episode and returns its first observation."""
        self.send(RESET)
        return self.read_observation()

    def step(self, action: Any) -> Step:
        """Plays an action."""
        self.send(step(action))
        return self.read_step()

    def space(self, which: int) -> Any:
        """Returns the action space (0) or the observation space (1)."""
        self.send(space(which))
        return strict_json(self.read_string())

    def sample(self) -> Any:
        """Returns an action that the server chose."""
        self.send(SAMPLE)
        return self.read_action()

    def monitor(self, directory: str, resume: bool = False, force: bool = False, video: bool = False) -> None:
        """Records into a directory from now on."""
        self.send(monitor(directory, resume, force, video))
        self.read_error()

    def render(self) -> None:
        """Asks for a window; nothing comes back."""
        self.send(RENDER)

    def upload(self, directory: str, key: str = "", algorithm: str = "") -> None:
        """Asks for an upload to a scoreboard that is no more."""
        self.send(b"\x06" + string(directory) + string(key) + string(algorithm))
        self.read_error()

    def universe_configure(self, options: str = "{}") -> None:
        """Asks to configure Universe."""
        self.send(b"\x07" + string(options))
        self.read_error()

    def universe_wrap(self, name: str, options: str = "{}") -> None:
        """Asks for a wrapper of Universe."""
        self.send(b"\x08" + string(name) + string(options))
        self.read_error()

    def play(self, steps: int = 3) -> None:
        """Plays some steps of an environment that takes the action 0, the reset before them included."""
        self.reset()
        for _ in range(steps):
            if self.step(0).done:
                self.reset()


def error_before_end(data: bytes) -> str:
    """Returns the one error string that a refused connection received, and checks that it is all."""
    size = struct.unpack_from("<I", data)[0]
    assert len(data) == 4 + size, f"not one string: {data!r}"
    assert size > 0, "an empty error string means success"
    return data[4:].decode()
