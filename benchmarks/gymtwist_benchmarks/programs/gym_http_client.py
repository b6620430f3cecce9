"""gym-http-api, by a plain client.

It sends the requests of gym-http-api's Python client, by the same library (one session of ``requests``, which keeps its
connection), without the log line that that client formats for each request.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from gymtwist_benchmarks.programs.driver import SinglePlayer, main
from gymtwist_benchmarks.workloads import Workload


class HttpEnvironment:
    """One environment at the server."""

    def __init__(self, address: str, environment: str) -> None:
        import requests

        self._session = requests.Session()
        self._session.headers["Content-type"] = "application/json"
        url = f"http://{address}/v1/envs/"
        self._frames = environment.startswith("ALE/")
        created = self._post(url, {"env_id": environment, "seed": None})
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
    """Connect, and make the environment."""
    client = HttpEnvironment(address, workload.environment)
    return SinglePlayer(workload, client.reset, client.step, client.close)


if __name__ == "__main__":
    main(connect)
