"""OpenEnv over its WebSocket, by an ``EnvClient`` as OpenEnv's documentation has it.

For speed, it is used in an event loop, as is recommended, many steps in each run of the loop (its ``.sync()`` hands
every step to another thread); the loop is uvloop's; a payload is made and read as a dict, without a pydantic model.
With ``OPENENV_AS_TEMPLATE=1`` the loop is asyncio's.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

import numpy as np
import uvloop
from openenv.core import EnvClient
from openenv.core.client_types import StepResult

from gymtwist_benchmarks.programs.driver import main, random_actions
from gymtwist_benchmarks.workloads import Workload

_FRAME = (210, 160, 3)


class PlayClient(EnvClient[int, Any, dict[str, Any]]):
    """Sends actions, receives lists of numbers, or frames as arrays."""

    def _step_payload(self, action: int) -> dict[str, Any]:
        return {"action": action}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Any]:
        found = payload["observation"]
        observation = found["values"]
        if observation is None:
            observation = np.frombuffer(base64.b64decode(found["frame"]), np.uint8).reshape(_FRAME)
        return StepResult(observation, payload["reward"], payload["done"])

    def _parse_state(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class OpenEnvPlayer:
    """Plays through a client in an event loop of its own."""

    def __init__(self, address: str, workload: Workload) -> None:
        as_template = os.environ.get("OPENENV_AS_TEMPLATE") == "1"
        self._loop: Any = asyncio.new_event_loop() if as_template else uvloop.new_event_loop()
        self._client = PlayClient(f"ws://{address}")
        self._loop.run_until_complete(self._client.connect())
        self._balance, self._actions = workload.balance, random_actions(workload)
        self._at = 0
        self._observation: Any = None

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        taken: int = self._loop.run_until_complete(self._play(steps))
        return taken

    async def _play(self, steps: int) -> int:
        client, observation = self._client, self._observation
        if observation is None:
            observation = (await client.reset()).observation
        for _ in range(steps):
            if self._balance:
                action = 1 if observation[2] + observation[3] > 0 else 0
            else:
                self._at += 1
                action = self._actions[self._at % len(self._actions)]
            found = await client.step(action)
            observation = (await client.reset()).observation if found.done else found.observation
        self._observation = observation
        return steps

    def close(self) -> None:
        """Leave."""
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


if __name__ == "__main__":
    main(OpenEnvPlayer)
