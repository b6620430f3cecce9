"""What tests of the Python client share: whether a remote environment is what a local one would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from gymtwist.client import RemoteEnv, RemoteVectorEnv
from tests.support import client_environments

Remote = Callable[..., RemoteEnv]
RemoteVec = Callable[..., RemoteVectorEnv]

#: The environments that the servers of these tests have.
SETUP = Path(client_environments.__file__)


def local(environment: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    """Return a local environment."""
    return gymnasium.make(environment, disable_env_checker=True, **arguments)


def differs(remote: Any, local: Any, path: str = "") -> str:
    """Return the path and values of the first difference between two results, or an empty string."""
    if isinstance(local, dict):
        if not isinstance(remote, dict) or list(remote) != list(local):
            return f"{path}: {remote!r} is not {local!r}"
        return next(filter(None, (differs(remote[key], local[key], f"{path}.{key}") for key in local)), "")
    if isinstance(local, (tuple, list)):
        if type(remote) is not type(local) or len(remote) != len(local):
            return f"{path}: {remote!r} is not {local!r}"
        pairs = enumerate(zip(remote, local, strict=True))
        return next(filter(None, (differs(*pair, f"{path}[{index}]") for index, pair in pairs)), "")
    if isinstance(local, np.ndarray):
        if not isinstance(remote, np.ndarray) or remote.dtype != local.dtype or remote.shape != local.shape:
            return f"{path}: {remote!r} is not {local!r}"
        if local.dtype == object:
            return differs(list(remote), list(local), path)
        if not remote.flags.writeable or not remote.flags.aligned:
            return f"{path}: {remote.flags}"
        return "" if remote.tobytes() == local.tobytes() else f"{path}: {remote!r} is not {local!r}"
    return "" if remote == local else f"{path}: {remote!r} is not {local!r}"


def assert_same(remote: Any, local: Any) -> None:
    """Fail if two results differ."""
    found = differs(remote, local)
    assert found == "", found
