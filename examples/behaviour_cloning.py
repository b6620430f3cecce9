"""Learn CartPole from recorded episodes alone: behaviour cloning of an expert that plays at a server.

Usage: python behaviour_cloning.py HOST:PORT [--dataset NAME] [--episodes N]

The server records the expert's episodes. They are fetched as a dataset of Minari, from which a linear policy is fitted,
and the policy plays. It needs "minari[hdf5]" here, and the extra "record" at the server.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import minari
import numpy as np
import numpy.typing as npt

import gymtwist.client as gymtwist

ENVIRONMENT = "CartPole-v1"
Floats = npt.NDArray[np.float64]


def expert(observation: Any) -> int:
    """Push to where the pole falls."""
    return int(observation[2] + 0.5 * observation[3] > 0)


def play(env: Any, policy: Callable[[Any], int], episodes: int, seed: int) -> list[float]:
    """Play episodes; return their returns."""
    returns = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total, ended = total + reward, terminated or truncated
        returns.append(total)
    return returns


def fetch(address: str, name: str, directory: str, patience: float = 120.0) -> minari.MinariDataset:
    """Fetch a dataset from the server, once all that was recorded is in it."""
    url = f"http://{address}/api/datasets/{name}"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url) as response:
                if json.load(response)["complete"]:
                    break
        except urllib.error.HTTPError as error:
            if error.code != 404:  # the server has not begun it yet
                raise
        time.sleep(0.1)
    with urllib.request.urlopen(f"{url}.tar") as response, tarfile.open(fileobj=io.BytesIO(response.read())) as archive:
        archive.extractall(directory, filter="data")
    return minari.MinariDataset(os.path.join(directory, name, "data"))


def fit(observations: Floats, actions: Floats, steps: int = 2000, rate: float = 1.0) -> tuple[Floats, float]:
    """Fit the probability of the action 1 by logistic regression; return weights and bias."""
    scale = observations.std(0)
    inputs = observations / scale
    weights, bias = np.zeros(inputs.shape[1]), 0.0
    for _ in range(steps):
        error = 1 / (1 + np.exp(-(inputs @ weights + bias))) - actions
        weights -= rate * inputs.T @ error / len(error)
        bias -= rate * float(error.mean())
    return weights / scale, bias


def main() -> None:
    """Record, learn and play."""
    parser = argparse.ArgumentParser(description="Learn CartPole from recorded episodes alone.")
    parser.add_argument("address", help="host:port of the server")
    parser.add_argument("--dataset", default="expert/cartpole-v0", help="the name of the dataset; %(default)s")
    parser.add_argument("--episodes", type=int, default=10, help="how many episodes the expert plays; %(default)s")
    given = parser.parse_args()
    with gymtwist.connect(given.address, ENVIRONMENT, record={"dataset": given.dataset, "append": True}) as env:
        returns = play(env, expert, given.episodes, seed=1)
    print(f"the expert: mean return {np.mean(returns):.1f} over {len(returns)} episodes")
    with tempfile.TemporaryDirectory() as directory:
        dataset = fetch(given.address, given.dataset, directory)
        episodes = list(dataset)
    print(f"the dataset: {len(episodes)} episodes of {dataset.total_steps} steps")
    observations = np.concatenate([episode.observations[:-1] for episode in episodes]).astype(float)
    actions = np.concatenate([episode.actions for episode in episodes]).astype(float)
    weights, bias = fit(observations, actions)
    with gymtwist.connect(given.address, ENVIRONMENT) as env:
        returns = play(env, lambda observation: int(observation @ weights + bias > 0), 20, seed=1000)
    print(f"mean return {np.mean(returns):.1f} over {len(returns)} episodes")


if __name__ == "__main__":
    main()
