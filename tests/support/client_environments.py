"""The environments for tests of the Python client: a file for `twistd gymsock --setup`, which registers them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.spaces import GraphInstance

import tests.support.sample_environments  # noqa: F401  # registers its own
from tests.support.plain_environment import PAIR, Plain, Result

_SMALL = spaces.Box(-1.0, 1.0, (2,), np.float32)

#: Spaces of every kind, some in each other.
SPACES: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "Bytes": spaces.Box(0, 255, (4, 3), np.uint8),
    "Scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "Discrete": spaces.Discrete(5, start=10),
    "Small": spaces.Discrete(5, dtype=np.int8),
    "Large": spaces.Discrete(10**9, start=-(10**6)),
    "MultiBinary": spaces.MultiBinary([2, 3]),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4], dtype=np.int32),
    "Text": spaces.Text(10),
    "Tuple": spaces.Tuple([spaces.Discrete(3), PAIR, spaces.MultiBinary(3)]),
    "Dict": spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Tuple([_SMALL, spaces.Text(5)])}),
    "Packed": spaces.Dict({"flag": spaces.MultiBinary(3), "force": _SMALL, "n": spaces.Discrete(3)}),
    "Sequence": spaces.Sequence(spaces.Discrete(4)),
    "Stacked": spaces.Sequence(_SMALL, stack=True),
    "Graph": spaces.Graph(_SMALL, spaces.Discrete(4)),
    "OneOf": spaces.OneOf([spaces.Discrete(3), _SMALL, spaces.Text(4)]),
}
#: Large ones, for which a client has places in shared memory: of numbers of several sizes, and with 16 bits in front
#: that count their bytes, or 32.
SIGHTS: dict[str, spaces.Space[Any]] = {
    "Bytes": spaces.Box(0, 255, (84, 84, 4), np.uint8),
    "Singles": spaces.Box(-1.0, 1.0, (50, 100), np.float32),
    "Doubles": spaces.Box(-1.0, 1.0, (90, 100), np.float64),
    "Dict": spaces.Dict({"frame": spaces.Box(0, 255, (100, 200), np.uint8), "n": spaces.Discrete(3)}),
}


def shown(value: Any) -> str:
    """Return a text that is equal for equal elements of a space only."""
    if isinstance(value, GraphInstance):
        return f"graph{[shown(each) for each in value]}"
    if isinstance(value, dict):
        return str({key: shown(each) for key, each in value.items()})
    if isinstance(value, tuple):
        return str([shown(each) for each in value])
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    return repr(value)


class Sampling(Plain):
    """Observes random elements of a space, reports its actions, and ends after eight steps."""

    def __init__(self, space: spaces.Space[Any], render_mode: str | None = None) -> None:
        """Take the space of both observations and actions."""
        super().__init__(render_mode)
        # Of its own, as it is drawn from.
        self.observation_space = deepcopy(space)
        self.action_space = deepcopy(space)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Seeds the space."""
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return super().reset(seed=seed, options=options)[0], {"options": options}

    def observe(self) -> Any:
        """Return the next element."""
        return self.observation_space.sample()

    def step(self, action: Any) -> Result:
        """Report the action."""
        self.steps += 1
        info = {"action": shown(action), "contained": bool(self.action_space.contains(action))}
        return self.observe(), 0.5 * self.steps, self.steps == 8, False, info


class Sight(Sampling):
    """Returns large observations; the actions are 0 and 1."""

    def __init__(self, space: spaces.Space[Any], render_mode: str | None = None) -> None:
        """Take the space of observations."""
        super().__init__(space, render_mode)
        self.action_space = spaces.Discrete(2)


class Varied(Plain):
    """Has infos of every kind that differ between environments; its seed sets the length of episodes."""

    observation_space = spaces.Dict({"n": spaces.Discrete(1000), "pair": PAIR})
    steps, most = 0, 3

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Take the number of steps, 3 to 7, from the seed."""
        if seed is not None:
            self.most = 3 + seed % 5
        self.steps = 0
        super().reset(seed=seed)
        return self.observe(), {"begun": True, "most": self.most}

    def observe(self) -> Any:
        """Return the number of steps."""
        return {"n": self.steps, "pair": np.full(2, self.steps / 10, np.float32)}

    def step(self, action: Any) -> Result:
        """Count the steps."""
        self.steps += 1
        info: dict[str, Any] = {"steps": self.steps, "half": self.steps / 2, "nested": {"odd": self.steps % 2 == 1}}
        if self.steps % 2:
            info["text"] = f"step {self.steps}"
            info["array"] = np.arange(self.steps, self.steps + 3, dtype=np.int16)
        return self.observe(), float(self.steps), self.steps == self.most, False, info


class Lazy:
    """An array that is made when it is asked for."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Make it."""
        return np.array([1, 0], np.int8)


class Odd(Plain):
    """Has infos whose types depend on its seed, an action mask of another library, and what no message can carry."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Take the type from the seed."""
        value = (2, 2.7, None)[(seed or 0) % 3]
        return super().reset(seed=seed)[0], {"value": value, "mask": Lazy(), "model": object()}

    def act(self, action: Any) -> dict[str, Any]:
        """Have another object."""
        return {"mask": Lazy(), "list": [1, object()]}


class Kwargs(Plain):
    """Has a keyword argument with the name of one of connect's own."""

    observation_space = spaces.Box(-1e9, 1e9, (1,), np.float64)

    def __init__(self, timeout: float = 0.0, render_mode: str | None = None) -> None:
        """Stores the argument."""
        super().__init__(render_mode)
        self.timeout = timeout

    def observe(self) -> Any:
        """Return the argument."""
        return np.array([self.timeout])


class Fragile(Plain):
    """Fails on some actions: 1 raises, 2 kills the process. Its observation is the number of steps."""

    action_space = spaces.Discrete(3)
    observation_space = spaces.Box(0, 100, (1,), np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count."""
        self._count = 0
        return np.array([0]), {}

    def step(self, action: Any) -> Result:
        """Count, or fail."""
        if action == 1:
            raise ValueError("the glass is broken")
        if action == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        return np.array([self._count]), 1.0, self._count == 5, False, {}


class Mortal(Fragile):
    """Ends its process on actions from 2 on: by SIGKILL, by an exit, or by a fault. Its info has the process."""

    action_space = spaces.Discrete(5)

    def __init__(self, render_mode: str | None = None) -> None:
        """Note when it was made."""
        super().__init__(render_mode)
        self._made = time.perf_counter_ns()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count, and return the seed."""
        return super().reset(seed=seed)[0], {"seed": str(seed)}

    def step(self, action: Any) -> Result:
        """Count, or fail."""
        if action == 3:
            os._exit(0)
        if action == 4:
            ctypes.string_at(0)
        return (*super().step(action)[:4], {"process": os.getpid(), "count": self._count, "made": self._made})


class Unseen(Mortal):
    """Ends its process, too, where somebody renders it or calls a method, unless it has just been reset."""

    metadata: dict[str, Any] = {**Plain.metadata, "remote_attributes": ["look"]}
    lives = 1

    def render(self) -> Any:
        """Return the frame, or fail."""
        self.look()
        return super().render()

    def look(self) -> None:
        """Fail."""
        if self._count:
            os._exit(0)


class Measuring(Fragile):
    """Has an error of its own in its info, which is no failure."""

    def step(self, action: Any) -> Result:
        """Count, or fail."""
        return (*super().step(action)[:4], {"error": "small", "count": self._count})


class Doomed(Fragile):
    """Fails in every step, and in every reset without options."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count, or fail."""
        if not options:
            raise ValueError("no second life")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Result:
        """Fail."""
        raise ValueError("no life")


class Arguments(Plain):
    """Has the arguments of its reset in the info of that, and ends after a step."""

    def __init__(self, value: int = 0, render_mode: str | None = None) -> None:
        """Take a keyword argument."""
        super().__init__(render_mode)
        self._value = value

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the arguments."""
        return super().reset()[0], {"seed": str(seed), "value": self._value, **(options or {})}

    def step(self, action: Any) -> Result:
        """End the episode."""
        return self.observe(), 1.0, True, False, {}


class Awkward(Plain):
    """Ends after a step, and fails in its second reset."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Fail the second time."""
        self.resets += 1
        if self.resets == 2:
            raise ValueError("not twice")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Result:
        """End the episode."""
        return self.observe(), 1.0, True, False, {}


class Gated(Fragile):
    """Waits in a step with action 1, until a listener at this host closes the connection that it makes."""

    def __init__(self, port: int, render_mode: str | None = None) -> None:
        """Take the port of the listener."""
        super().__init__(render_mode)
        self._port = port

    def step(self, action: Any) -> Result:
        """Count, perhaps later."""
        if action == 1:
            with socket.create_connection(("127.0.0.1", self._port)) as waiting:
                waiting.recv(1)
            action = 0
        return super().step(action)


class NoDoor(LookupError):
    """An exception of an environment's own."""


class Unnamed(Exception):
    """An exception that is nothing else."""


class Raising(Plain):
    """Raises the exception that the options of a reset name."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Raise it."""
        kinds = {each.__name__: each for each in (KeyError, OSError, NoDoor, Unnamed)}
        raise kinds[(options or {})["kind"]]("no door")


class Reachable(Plain):
    """Declares an attribute and a method, and has others."""

    metadata: dict[str, Any] = {**Plain.metadata, "remote_attributes": ["set_level", "_hidden"]}

    def __init__(self, render_mode: str | None = None) -> None:
        """Set the attributes."""
        super().__init__(render_mode)
        self.gravity, self.level, self.goal = 9.8, 1, np.array([1, 2], np.float32)
        self.ale, self._hidden = object(), 3

    def action_masks(self) -> Any:
        """Return a mask."""
        return np.array([True, False])

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        """Return a reward for each goal."""
        return -np.abs(achieved - desired).sum(axis=-1)

    def set_level(self, level: int) -> int:
        """Change the level, and return the one before."""
        if level < 0:
            raise ValueError("no such level")
        before, self.level = self.level, level
        return before


def register() -> None:
    """Register all of them with Gymnasium."""
    for name, space in SPACES.items():
        gymnasium.register(f"Sampling/{name}-v0", entry_point=partial(Sampling, space))
    for name, space in SIGHTS.items():
        gymnasium.register(f"Sight/{name}-v0", entry_point=partial(Sight, space))
    gymnasium.register("Varied-v0", entry_point=partial(Varied), max_episode_steps=100)
    gymnasium.register("Odd-v0", entry_point=partial(Odd))
    gymnasium.register("Reachable-v0", entry_point=partial(Reachable))
    gymnasium.register("Fragile-v0", entry_point=partial(Fragile))
    gymnasium.register("Mortal-v0", entry_point=partial(Mortal))
    gymnasium.register("Unseen-v0", entry_point=partial(Unseen))
    gymnasium.register("Measuring-v0", entry_point=partial(Measuring))
    gymnasium.register("Doomed-v0", entry_point=partial(Doomed))
    gymnasium.register("Arguments-v0", entry_point=partial(Arguments))
    gymnasium.register("Awkward-v0", entry_point=partial(Awkward))
    gymnasium.register("Gated-v0", entry_point=partial(Gated))
    gymnasium.register("Raising-v0", entry_point=partial(Raising))
    gymnasium.register("Kwargs-v0", entry_point=partial(Kwargs))


register()
