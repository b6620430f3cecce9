"""gym-http-api, by its own Python client; ADDRESS is the server's address, an @, and the checkout with the client."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

from gymtwist_benchmarks.programs.driver import SinglePlayer
from gymtwist_benchmarks.workloads import Workload


def connect(address: str, workload: Workload) -> SinglePlayer:
    """Connect, and make the environment."""
    server, _, checkout = address.partition("@")
    sys.path.append(checkout)
    client = importlib.import_module("gym_http_client").Client(f"http://{server}")
    instance = client.env_create(workload.environment)
    convert = np.uint8 if workload.environment.startswith("ALE/") else None

    def observed(values: Any) -> Any:
        return values if convert is None else np.array(values, convert)

    def take(action: int) -> tuple[Any, bool]:
        observation, _, done, _ = client.env_step(instance, action)
        return observed(observation), done

    def close() -> None:
        client.env_close(instance)
        client.session.close()

    return SinglePlayer(workload, lambda: observed(client.env_reset(instance)), take, close)
