"""Environments for tests of snapshots."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from typing import Any

import gymnasium
import numpy as np


class Drawing(gymnasium.Env[Any, Any]):
    """Draws from the random numbers of its own, and from the global generators of Python and NumPy."""

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float64)

    def _draw(self) -> Any:
        return np.array([self.np_random.random(), random.random(), np.random.random()])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Draw."""
        return self._draw(), 0.0, False, False, {}


class Threaded(Drawing):
    """Has a thread that does its work."""

    def __init__(self) -> None:
        """Start the thread."""
        self._asked, self._done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._asked.acquire()
            self._done.release()

    def _draw(self) -> Any:
        self._asked.release()
        self._done.acquire()
        return super()._draw()


class Clock(Drawing):
    """Observes the time, and writes to a file."""

    def __init__(self) -> None:
        """Open the file."""
        self._file = tempfile.NamedTemporaryFile("w", prefix="clock-")  # noqa: SIM115

    def _draw(self) -> Any:
        self._file.write("tick")
        return np.array([time.monotonic() % 1.0, 0.0, 0.0])


class Crashing(Drawing):
    """Counts steps, and crashes by the action 1 from the sixth one on."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count."""
        self._steps = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count, or crash."""
        self._steps += 1
        if self._steps > 5 and action == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return self._draw(), 0.0, False, False, {"steps": self._steps}


class Working(Drawing):
    """Takes half a second of processor time for the action 1, which is hardly ever sampled where copies are tried."""

    action_space = gymnasium.spaces.Discrete(10_000)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Work, or do not."""
        until = time.process_time() + 0.5 * (action == 1)
        while time.process_time() < until:
            pass
        return super().step(action)


class Paying(Drawing):
    """Rewards the action 1 with an integer, and others with a float."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay."""
        return self._draw(), 1 if action else 0.5, False, False, {}


class Hooked(Threaded):
    """Has such a thread, and keeps and restores its state by itself; its episodes have 20 steps.

    Behind the action 2 it cannot be restored, behind the action 3 its state cannot be had. A reset with options fails.
    """

    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count."""
        self._steps, self._last = 0, 0
        if options:
            raise ValueError("no episode")
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        self._steps += 1
        self._last = action
        return self._draw(), float(self._steps), self._steps == 20, False, {"steps": self._steps}

    def __snapshot__(self) -> Any:
        """Return the state, which the next step changes."""
        if self._last == 3:
            raise ValueError("no state")
        return self._steps, self.np_random, self._last

    def __restore__(self, state: Any) -> None:
        """Go on from it."""
        self._steps, self.np_random, last = state
        if last == 2:
            raise ValueError("no way back")


class Unpicklable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Has what cannot be copied."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Make it."""
        super().__init__(env)
        self.lock = threading.Lock()
