"""A server that keeps to a script, for what a real one does not do, or seldom."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from gymtwist_conformance.reference_client import INT32, message
from tests.support.patience import PATIENCE


class Scripted:
    """A server of one connection, which answers each request with the bytes that come next in its script.

    Where the script ends, so does the connection.
    """

    def __init__(self, *script: bytes) -> None:
        """Take the script, and listen."""
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            for answer in self._script:
                header = stream.read(4)
                if len(header) < 4:
                    return
                stream.read(int.from_bytes(header, "big"))
                connection.sendall(answer)

    def end(self) -> None:
        """Stop."""
        self._listener.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


Script = Callable[..., Scripted]


def made(**fields: Any) -> bytes:
    """Return the reply to a make for an environment of two actions and one observation of five."""
    spaces = {"action_space": {"kind": "Discrete", "n": 2}, "observation_space": {"kind": "Discrete", "n": 5}}
    leaf = {"path": [], "dtype": "int64", "shape": [], "offset": 0}
    layout = {"leaves": [leaf], "size": 8}
    described = {**spaces, "server": "scripted", "action_layout": layout, "observation_layout": layout}
    return message(INT32, "make", **{**described, **fields})


def begun(observation: int = 0, **fields: Any) -> bytes:
    """Return the reply to a reset."""
    return message(INT32, "reset", observation=observation.to_bytes(8, "little"), **fields)


def stepped(observation: int = 1, reward: float = 1.0) -> bytes:
    """Return the reply to a step."""
    fields = {"reward": reward, "terminated": False, "truncated": False}
    return message(INT32, "step", observation=observation.to_bytes(8, "little"), **fields)


def error(fault: str, code: str = "a-code", *, reset_needed: bool = False) -> bytes:
    """Return an error."""
    return message(INT32, "error", code=code, message="what to do", fault=fault, reset_needed=reset_needed)
