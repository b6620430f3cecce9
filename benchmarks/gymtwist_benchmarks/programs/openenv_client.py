"""OpenEnv over its WebSocket, by its ``GenericEnvClient``.

For speed, it is used in an event loop, as is recommended, many steps in each run of the loop (its ``.sync()`` hands
every step to another thread); the loop is uvloop's. With ``OPENENV_AS_TEMPLATE=1`` the loop is asyncio's.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

import numpy as np
import uvloop
from openenv.core import GenericEnvClient

from gymtwist_benchmarks.programs.driver import random_actions
from gymtwist_benchmarks.workloads import Workload

_FRAME = (210, 160, 3)


def _observation(found: Any) -> Any:
    """Take out the observation: a list of numbers, or a frame, which is base64, as an array."""
    values = found.observation["observation"]
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(_FRAME) if isinstance(values, str) else values


class OpenEnvPlayer:
    """Plays through a client in an event loop of its own."""

    def __init__(self, address: str, workload: Workload) -> None:
        as_template = os.environ.get("OPENENV_AS_TEMPLATE") == "1"
        self._loop: Any = asyncio.new_event_loop() if as_template else uvloop.new_event_loop()
        self._client = GenericEnvClient(f"ws://{address}")
        self._loop.run_until_complete(self._connect())
        self._balance, self._actions = workload.balance, random_actions(workload)
        self._at = 0
        self._observation: Any = None

    async def _connect(self) -> None:
        await self._client.connect()  # what it returns is a coroutine only in some versions

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        taken: int = self._loop.run_until_complete(self._play(steps))
        return taken

    async def _play(self, steps: int) -> int:
        client, observation = self._client, self._observation
        if observation is None:
            observation = _observation(await client.reset())
        for _ in range(steps):
            if self._balance:
                action = 1 if observation[2] + observation[3] > 0 else 0
            else:
                self._at += 1
                action = self._actions[self._at % len(self._actions)]
            found = await client.step({"action": action})
            observation = _observation(await client.reset() if found.done else found)
        self._observation = observation
        return steps

    def close(self) -> None:
        """Leave."""
        self._loop.run_until_complete(self._leave())
        self._loop.close()

    async def _leave(self) -> None:
        await self._client.close()


connect = OpenEnvPlayer
