"""Spaces described for clients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

#: The classic protocol clips a Box's bounds to this: JSON has no infinity.
CLASSIC_BOUND = 1e30


def classic_description(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a space as the classic protocol does.

    The fields of gym-socket-api keep the types that its Go client decodes them to (``n`` an integer, ``low`` and
    ``high`` flat lists, ``shape`` a list of integers, ``subspaces`` a list); what is added has other names.

    Returns:
        What JSON can carry; ``type`` is the name of the space's class.
    """
    for kind, describe in _DESCRIPTIONS.items():
        if isinstance(space, kind):
            return describe(space)
    return {"type": type(space).__name__}


def _box(space: spaces.Box) -> dict[str, Any]:
    low, high = (
        bound.astype(np.float64).clip(-CLASSIC_BOUND, CLASSIC_BOUND).ravel().tolist()
        for bound in (space.low, space.high)
    )
    return {"type": "Box", "shape": list(space.shape), "low": low, "high": high, "dtype": str(space.dtype)}


def _multi_discrete(space: spaces.MultiDiscrete) -> dict[str, Any]:
    low = space.start.astype(np.int64)
    high = low + space.nvec.astype(np.int64) - 1
    return {
        "type": "MultiDiscrete",
        "low": low.ravel().tolist(),
        "high": high.ravel().tolist(),
        "shape": list(space.shape),
    }


_DESCRIPTIONS: dict[type[spaces.Space[Any]], Callable[[Any], dict[str, Any]]] = {
    spaces.Box: _box,
    spaces.Discrete: lambda space: {"type": "Discrete", "n": int(space.n), "start": int(space.start)},
    spaces.MultiBinary: lambda space: {
        "type": "MultiBinary",
        "n": math.prod(space.shape),
        "shape": list(space.shape),
    },
    spaces.MultiDiscrete: _multi_discrete,
    spaces.Tuple: lambda space: {
        "type": "Tuple",
        "subspaces": [classic_description(each) for each in space.spaces],
    },
    # Not "subspaces": the Go client would refuse an object where it knows a list.
    spaces.Dict: lambda space: {
        "type": "Dict",
        "spaces": {str(key): classic_description(each) for key, each in space.spaces.items()},
    },
    spaces.Text: lambda space: {
        "type": "Text",
        "min_length": int(space.min_length),
        "max_length": int(space.max_length),
        "characters": space.characters,
    },
    spaces.Sequence: lambda space: {"type": "Sequence", "feature": classic_description(space.feature_space)},
}
