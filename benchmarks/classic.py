"""A lean client of the classic protocol: it reads no more of a reply than where it ends and whether it is the last."""

from __future__ import annotations

import random
import socket
import struct

OPENING_FLAGS = b"\0"
RESET = b"\0"
#: Seconds after which a reply that has not come is an error.
PATIENCE = 120
#: More than one frame of Pong (210 x 160 x 3 bytes and its headers).
_BUFFER_SIZE = 256 * 1024
_UINT32 = struct.Struct("<I")
_STEP_TAIL = struct.Struct("<dBI")


def opening(environment: str) -> bytes:
    """Encode the first message of a connection."""
    return OPENING_FLAGS + _UINT32.pack(len(environment)) + environment.encode()


def step_command(action: int) -> bytes:
    """Encode a step with an action of a Discrete space."""
    text = b"%d" % action
    return b"\1\0" + _UINT32.pack(len(text)) + text


def random_actions(count: int, steps: int) -> list[int]:
    """Draw the actions of a game, the same ones each time.

    Args:
        count: How many actions there are: 0 to count - 1.
        steps: How many to draw.
    """
    return random.Random(1).choices(range(count), k=steps)


def error_text(reply: bytes | memoryview) -> str | None:
    """Read the reply to an opening; None while it is incomplete, empty for success."""
    if len(reply) < 4:
        return None
    (length,) = _UINT32.unpack_from(reply)
    return str(reply[4:], "utf-8") if len(reply) == 4 + length else None


def is_observation(reply: bytes | memoryview) -> bool:
    """Tell whether the reply to a reset is complete."""
    return len(reply) >= 5 and len(reply) == 5 + _UINT32.unpack_from(reply, 1)[0]


def step_done(reply: bytes | memoryview) -> bool | None:
    """Read from the reply to a step whether the episode has ended; None while the reply is incomplete."""
    size = len(reply)
    if size < 5:
        return None
    tail: int = 5 + _UINT32.unpack_from(reply, 1)[0]
    if size < tail + 13:
        return None
    _, done, info = _STEP_TAIL.unpack_from(reply, tail)
    return bool(done) if size == tail + 13 + info else None


class Client:
    """One connection, which sends a command and waits for its reply.

    Args:
        port: The server's port on this machine.
        environment: The id of an environment.

    Raises:
        ConnectionError: The server refused it; the message has the reason.
    """

    def __init__(self, port: int, environment: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Python's own timeout would cost a poll before every read.
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", PATIENCE, 0))
        self._view = memoryview(bytearray(_BUFFER_SIZE))
        self.socket.sendall(opening(environment))
        filled = self._receive(0)
        while (text := error_text(self._view[:filled])) is None:
            filled = self._receive(filled)
        if text:
            raise ConnectionError(text)

    def _receive(self, filled: int) -> int:
        """Read behind what is in the buffer; return how much is in it then."""
        count = self.socket.recv_into(self._view[filled:])
        if not count:
            raise ConnectionError("the server closed the connection")
        return filled + count

    @property
    def port(self) -> int:
        """The client's own port, by which the server's log names it."""
        port: int = self.socket.getsockname()[1]
        return port

    def reset(self) -> None:
        """Begin an episode, and wait for its first observation."""
        self.socket.sendall(RESET)
        filled = self._receive(0)
        while not is_observation(self._view[:filled]):
            filled = self._receive(filled)

    def step(self, command: bytes) -> bool:
        """Take one step.

        Args:
            command: From :func:`step_command`.

        Returns:
            Whether the episode has ended.
        """
        self.socket.sendall(command)
        filled = self._receive(0)
        while (done := step_done(self._view[:filled])) is None:
            filled = self._receive(filled)
        return done

    def play(self, commands: list[bytes]) -> int:
        """Take steps, with a reset whenever an episode has ended.

        Returns:
            How many episodes have ended.
        """
        episodes = 0
        step = self.step
        for command in commands:
            if step(command):
                episodes += 1
                self.reset()
        return episodes

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
