"""Serve one of Gymnasium's environments by OpenEnv: ``openenv_server PORT ENVIRONMENT``.

openenv-core 0.3.0: an ``Environment`` of ours, whose application ``create_fastapi_app`` makes; each WebSocket has a
session with an environment of its own. Small observations are lists of numbers. Frames are base64 of their bytes, which
took a thirtieth of the time of the list of numbers that OpenEnv's own environment for Atari sends.

For speed, beyond OpenEnv's template (the first three more than halve the server's processor time of a step):

- ``step_async`` steps, so that no step is handed to another thread and back.
- ``uvloop`` is uvicorn's event loop.
- Messages are not compressed (``ws_per_message_deflate``).
- Processes accept from one socket, as with uvicorn's ``--workers``, which the template's text recommends for
production:
  half as many as there are cores. On two cores one process was faster than two, with 2 clients and with 8.

With ``OPENENV_AS_TEMPLATE=1`` none of this is done: the server is as ``openenv init`` writes it, but logs less and
allows more than one session.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

from gymtwist_benchmarks.benchmark_environments import make
from gymtwist_benchmarks.servers import preforking

#: Sessions of a process.
_MOST = 1024
_PROCESSES = max(1, preforking.COUNT // 2)
_AS_TEMPLATE = os.environ.get("OPENENV_AS_TEMPLATE") == "1"


class PlayAction(Action):
    """An action of a Discrete space."""

    action: int


class PlayObservation(Observation):
    """A list of numbers, or a frame's bytes as base64."""

    observation: Any = None


class Play(Environment):
    """One environment of Gymnasium's.

    Args:
        environment: Its id.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, environment: str) -> None:
        super().__init__()
        self._env = make(environment)
        self._frames = environment.startswith("ALE/")
        self._state = State(step_count=0)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> PlayObservation:
        """Begin an episode."""
        observation, _ = self._env.reset(seed=seed)
        return self._observe(observation, None, False)

    def step(self, action: PlayAction, timeout_s: float | None = None, **kwargs: Any) -> PlayObservation:
        """Take a step."""
        observation, reward, terminated, truncated, _ = self._env.step(action.action)
        return self._observe(observation, float(reward), bool(terminated or truncated))

    @property
    def state(self) -> State:
        """Required by OpenEnv; the benchmarks do not ask for it."""
        return self._state

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _observe(self, observation: Any, reward: float | None, done: bool) -> PlayObservation:
        values = base64.b64encode(observation.tobytes()).decode("ascii") if self._frames else observation.tolist()
        return PlayObservation(observation=values, reward=reward, done=done)


class PlayInLoop(Play):
    """The same, stepped in the event loop's thread."""

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Any:
        """Begin an episode."""
        return self.reset(seed)

    async def step_async(self, action: PlayAction, timeout_s: float | None = None, **kwargs: Any) -> PlayObservation:
        """Take a step."""
        return self.step(action)


class _Server(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._ready()


def serve(listening: socket.socket, environment: str, ready: Callable[[], object]) -> None:
    """Serve in this process."""
    kind = Play if _AS_TEMPLATE else PlayInLoop
    app = create_fastapi_app(lambda: kind(environment), PlayAction, PlayObservation, max_concurrent_envs=_MOST)
    # A client that leaves makes its endpoint raise, which would take the server's time for a page of log.
    config = uvicorn.Config(
        app, log_level="critical", loop="asyncio" if _AS_TEMPLATE else "uvloop", ws_per_message_deflate=_AS_TEMPLATE
    )
    _Server(config, ready).run(sockets=[listening])


def run(port: int, environment: str) -> None:
    """Serve until this process is ended."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(_MOST)
        preforking.run(port, lambda ready: serve(listening, environment, ready), 1 if _AS_TEMPLATE else _PROCESSES)


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2])
