"""Whether what was served is what Gymnasium returns in this process."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from gymtwist_conformance.reference_client import Stepped


def make_local(environment: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    """Return an environment of this process."""
    if environment.startswith("ALE/"):
        gymnasium.register_envs(pytest.importorskip("ale_py"))
    return gymnasium.make(environment, disable_env_checker=True, **arguments)


def same(served: Any, local: Any) -> bool:
    """Return whether an array is the same to the last bit, and of the same type."""
    local = np.asarray(local)
    alike: bool = served.dtype == local.dtype and served.shape == local.shape
    return alike and served.tobytes() == local.tobytes()


def same_info(served: Any, local: Any) -> bool:
    """Return whether an info is the same, but for Python's and NumPy's kinds of numbers."""
    if isinstance(local, dict):
        return served.keys() == local.keys() and all(same_info(served[key], local[key]) for key in local)
    if isinstance(local, np.ndarray) and local.dtype == object:
        return len(served) == len(local) and all(map(same_info, served, local))
    if local is None:
        return served is None
    return np.array_equal(np.asarray(served), np.asarray(local))


def same_step(served: Stepped, local: Any) -> bool:
    """Return whether the five results are the same."""
    observation, reward, terminated, truncated, info = local
    return (
        same(served.observation, observation)
        and np.array_equal(served.reward, np.asarray(reward, np.float64))
        and np.array_equal(served.terminated, terminated)
        and np.array_equal(served.truncated, truncated)
        and same_info(served.info, info)
    )
