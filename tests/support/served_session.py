"""A session in a thread of this process, at one end of a socket pair; a client at the other."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gymtwist.worker import session_loop
from gymtwist.worker.session_status import SessionStatus, create
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import FramedClient
from tests.support.plain_environment import Plain

_numbers = itertools.count()


class Served:
    """A client, and the session that serves it."""

    def __init__(self, encoding: str, handshake: bytes, trailing_data: bytes = b"", **options: Any) -> None:
        """Start the session."""
        ours, its = socket.socketpair()
        descriptor = create()
        self.status = SessionStatus(descriptor, with_recovery=True)
        os.close(descriptor)
        self.client = FramedClient(ours, encoding)
        self._reason: list[str] = []
        settings = WorkerSettings(**{"monitor_root": "/", **options})

        def serve() -> None:
            self._reason.append(session_loop.serve(encoding, its, handshake, trailing_data, settings, self.status))

        self._thread = threading.Thread(target=serve)
        self._thread.start()

    def end(self) -> str:
        """Leave; return why the session ended."""
        self.client.close()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._reason[0]


Serve = Callable[..., FramedClient]


def named(environment: Any) -> str:
    """Return the id of an environment, which may be given as what makes it."""
    if isinstance(environment, str):
        return environment
    name = f"Framed{next(_numbers)}-v0"
    gymnasium.register(name, entry_point=environment, order_enforce=False)
    return name


def fail() -> None:
    """Raise."""
    raise ValueError("the pole is not there")


class Counting(Plain):
    """Observes which of its kind it is, fails when it is told to, and ends after some steps."""

    observation_space = spaces.Discrete(1000)
    action_space = spaces.Discrete(3)
    made = 0

    def __init__(self, failing: list[str], render_mode: str | None = None) -> None:
        """Count."""
        super().__init__(render_mode)
        self.failing = failing
        Counting.made += 1
        self.number = Counting.made
        self.closed = False

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Fail if it is to."""
        if "reset" in self.failing:
            fail()
        return self.number, {"seed": arguments.get("seed"), "options": arguments.get("options")}

    def step(self, action: Any) -> Any:
        """Fail if it is to; the action 2 ends the episode."""
        if "step" in self.failing:
            fail()
        return self.number, float("nan"), action == 2, False, {"action": int(action)}

    def render(self) -> Any:
        """Fail if it is to, or return something that is not a frame."""
        if "render" in self.failing:
            fail()
        return object() if "object" in self.failing else [np.ones((2, 3), np.float32), "text", None]
