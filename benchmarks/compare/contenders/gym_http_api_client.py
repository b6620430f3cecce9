"""gym-http-api: ``gym_http_api_client.py ADDRESS WORKLOAD SECONDS CLIENTS``.

A plain client that sends what the Python client of gym-http-api sends, by the same library (one session of
``requests``, which keeps its connection), without the log line that that client formats for each request.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from compare.driving import SinglePlayer, main
from compare.workloads import Workload


class Client:
    """One environment at the server.

    Args:
        address: ``host:port``.
        environment: The environment's id.
        seed: What its first reset is seeded with, if not 0.
    """

    def __init__(self, address: str, environment: str, seed: int | None = None) -> None:
        import requests

        self._session = requests.Session()
        self._session.headers["Content-type"] = "application/json"
        url = f"http://{address}/v1/envs/"
        self._frames = environment.startswith("ALE/")
        created = self._post(url, {"env_id": environment, "seed": seed})
        url = f"{url}{created['instance_id']}/"
        self._reset, self._step, self._close = f"{url}reset/", f"{url}step/", f"{url}close/"

    def reset(self) -> Any:
        """Begin an episode; return its first observation."""
        return self._observation(self._post(self._reset, None))

    def step(self, action: int) -> tuple[Any, bool]:
        """Take a step; return the observation, and whether the episode has ended."""
        found = self._post(self._step, {"action": action, "render": False})
        return self._observation(found), found["done"]

    def close(self) -> None:
        """Close the environment, and the connection."""
        self._session.post(self._close, data="null").raise_for_status()
        self._session.close()

    def _post(self, url: str, data: Any) -> Any:
        response = self._session.post(url, data=json.dumps(data))
        response.raise_for_status()
        return response.json()

    def _observation(self, found: Any) -> Any:
        """Take out the observation: a list of numbers, or a frame as an array."""
        observation = found["observation"]
        return np.array(observation, np.uint8) if self._frames else observation


def connect(address: str, workload: Workload) -> SinglePlayer:
    """Be one client."""
    client = Client(address, workload.environment)
    return SinglePlayer(workload, client.reset, client.step, client.close)


if __name__ == "__main__":
    main(connect)
