"""Recorded sessions: what is asked in one, and what a server answers."""

from __future__ import annotations

import socket
from typing import Any

import gymnasium
import numpy as np

from gymtwist.protocol.framing import FrameReader, Framing, frame

from .notation import Entry, read, write
from .requests import NETSTRING, decoded, encoded

#: What is asked, one after another: the actions are packed for an Int32 session.
SCRIPT: list[dict[str, Any]] = [
    {"op": "make", "id": "CartPole-v1"},
    {"op": "step", "action": 1},
    {"op": "reset", "seed": 1},
    {"op": "step", "action": 1},
    {"op": "step", "action": 0},
    {"op": "step", "action": 2},
    {"op": "step_many", "actions": [0, 1, 1]},
    {"op": "step_many", "action": 1, "count": 100, "observations": "all"},
    {"op": "step", "action": 0},
    {"op": "sample", "seed": 3},
    {"op": "render"},
    {"op": "reset", "seed": 1},
    {"op": "close"},
]


def file_name(framing: str) -> str:
    """Name the file of a session."""
    return f"session-{framing}.json"


def script(framing: str) -> list[dict[str, Any]]:
    """Write what is asked as the framing has it."""
    return [{key: _value(framing, key, each) for key, each in request.items()} for request in SCRIPT]


def _value(framing: str, key: str, value: Any) -> Any:
    if framing == NETSTRING or key not in ("action", "actions"):
        return value
    return [_packed(each) for each in value] if key == "actions" else _packed(value)


def _packed(action: int) -> bytes:
    return action.to_bytes(8, "little")


class Exchange:
    """A connection to a server, over which requests are sent as they are.

    Args:
        address: Host and port.
        framing: How frames are told apart.
    """

    def __init__(self, address: tuple[str, int], framing: str) -> None:
        self._socket = socket.create_connection(address, timeout=30)
        self._framing = Framing(framing)
        self._reader = FrameReader(self._framing)

    def ask(self, request: bytes) -> bytes:
        """Send a request, and return the reply's frame."""
        self._socket.sendall(request)
        while (payload := self._reader.next_frame()) is None:
            count = self._socket.recv_into(self._reader.space())
            if not count:
                raise EOFError("the server closed the connection")
            self._reader.received(count)
        return b"".join(bytes(part) for part in frame(self._framing, bytes(payload)))

    def at_end(self) -> bool:
        """Wait for the next byte, and tell whether there is none."""
        return not self._socket.recv(1)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def record(address: tuple[str, int], framing: str) -> Entry:
    """Record a session."""
    exchange = Exchange(address, framing)
    entries = []
    for request in script(framing):
        asked = encoded(framing, request)
        answered = exchange.ask(bytes.fromhex(asked)).hex()
        entries.append(
            {
                "request": {"meaning": write(request), "bytes": asked},
                "reply": {"meaning": write(decoded(framing, answered)), "bytes": answered},
            }
        )
    exchange.close()
    return {"framing": framing, "gymnasium": gymnasium.__version__, "numpy": np.__version__, "exchanges": entries}


def meaning(entry: Entry) -> dict[str, Any]:
    """Read the meaning of a recorded message."""
    told: dict[str, Any] = read(entry["meaning"])
    return told
