"""A session's vector environment while it runs: many environments behind the same vitals and faults as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from time import monotonic  # by name: an environment may replace what the module has
from typing import Any

import numpy as np
import numpy.typing as npt

from gymtwist.envs import vector_environments
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.envs.vector_environments import Vectorization
from gymtwist.errors import EnvironmentFault, InvalidField, ResetNeeded
from gymtwist.worker.guarded_call import fault, guarded_call
from gymtwist.worker.session_status import (
    BUSY_SINCE,
    EPISODES,
    LAST_ACTIVITY,
    LAST_RETURN,
    OPERATION,
    STEPS,
    Operation,
    SessionStatus,
)
from gymtwist.worker.worker_settings import WorkerSettings

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Where Gymnasium's vector environments look for a mask.
_MASK = "reset_mask"
_LAST_INT64 = 2**63 - 1


class VectorEnvironmentRunner:
    """The vector environment of one session.

    Args:
        environment_id: What the client asked for.
        settings: The operator's options.
        status: Where to show how it is doing; every environment's steps and episodes count.
        environment_options: What the client chose besides.
        vectorization: How many environments, and how.

    Raises:
        GymtwistError: It cannot be had, or a constructor failed.
    """

    def __init__(
        self,
        environment_id: str,
        settings: WorkerSettings,
        status: SessionStatus,
        environment_options: EnvironmentOptions,
        vectorization: Vectorization,
    ) -> None:
        self._status = status
        self._words = status.words
        self._steps = status.steps
        self._seed = settings.seed
        with guarded_call(status, Operation.MAKE):
            self.environment = vector_environments.make_vec(environment_id, environment_options, vectorization)
            self.action_space = self.environment.action_space
            self.observation_space = self.environment.observation_space
            self.num_envs = self.environment.num_envs
            if self.num_envs != vectorization.num_envs:
                raise ValueError(f"it has {self.num_envs} environments where {vectorization.num_envs} were asked for")
            self.autoreset_mode = vector_environments.autoreset_mode(self.environment)
            if self._seed is not None:
                self.action_space.seed(self._seed)
        self._step = self.environment.step
        self._failed = False
        self._returns = np.zeros(self.num_envs)
        # Which environments have no episode to step: before the first reset, and where none resets by itself.
        self._waiting: Flags = np.ones(self.num_envs, np.bool_)
        # Whether any does: looked at in every step.
        self._waits = True

    def reset(
        self,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
        mask: list[bool] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in all environments, or in some.

        Args:
            seed: One for each environment, or one from which the vector environment derives them; None for the
                operator's at the first reset, if there is one.
            options: For the environments.
            mask: Which environments to reset; None for all.

        Returns:
            Observations and info.

        Raises:
            InvalidField: The vector environment does not take such a seed or mask.
        """
        if options and _MASK in options:
            raise InvalidField(f'the option "{_MASK}" is Gymnasium\'s own; send which environments to reset as `mask`')
        chosen = None if mask is None else self._mask(mask)
        if chosen is not None:
            options = {**(options or {}), _MASK: chosen}
        given: Any = self._seed if seed is None else self._seeds(seed, masked=chosen is not None)
        self._failed = True
        with guarded_call(self._status, Operation.RESET):
            observations, info = self.environment.reset(seed=given, options=options)
        self._failed = False
        self._seed = None
        begun = np.ones(self.num_envs, np.bool_) if chosen is None else chosen
        self._returns[begun] = 0.0
        self._waiting[begun] = False
        self._waits = bool(self._waiting.any())
        return observations, info

    def _mask(self, mask: list[bool]) -> Flags:
        if len(mask) != self.num_envs or not any(mask):
            raise InvalidField(f"mask has {len(mask)} elements; send {self.num_envs} of them, one true at the least")
        if not vector_environments.takes_mask(self.environment):
            raise InvalidField(
                'this vector environment resets all of its environments or none; ask for vectorization_mode "sync"'
            )
        return np.array(mask, np.bool_)

    def _seeds(self, seed: int | list[int | None], *, masked: bool) -> Any:
        if isinstance(seed, int):
            return seed
        if len(seed) != self.num_envs:
            raise InvalidField(f"{len(seed)} seeds for {self.num_envs} environments; send one for each, or one alone")
        if vector_environments.takes_each(self.environment):
            return seed
        too_large = any(each is not None and each > _LAST_INT64 for each in seed)
        if masked or too_large or None in seed or not vector_environments.takes_array(self.environment):
            raise InvalidField(
                "this vector environment does not take these seeds; send one integer, or ask for "
                'vectorization_mode "sync"'
            )
        return np.array(seed, np.int64)

    def step(self, actions: Any) -> tuple[Any, Floats, Flags, Flags, dict[str, Any]]:
        """Take one step in every environment.

        Returns:
            Observations; rewards, float64 of shape (num_envs,); terminated and truncated, bool of that shape; info.

        Raises:
            ResetNeeded: An environment has no episode to step, and does not begin one by itself.
        """
        if self._waits:
            ended = ", ".join(map(str, np.flatnonzero(self._waiting)[:20]))
            raise ResetNeeded(f"environments {ended} have no episode; reset them before the next step")
        words = self._words
        words[OPERATION] = Operation.STEP
        words[BUSY_SINCE] = monotonic()
        try:
            observations, rewards, terminated, truncated, info = self._step(actions)
            rewards = np.asarray(rewards, np.float64)
            terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
            shape = self._returns.shape
            if not rewards.shape == terminated.shape == truncated.shape == shape:
                raise ValueError(
                    f"rewards of shape {rewards.shape} and flags of {terminated.shape} and {truncated.shape} for "
                    f"{self.num_envs} environments"
                )
            done = terminated | truncated
            self._returns += rewards
        except BaseException as error:
            self._failed = True
            self._status.end()
            raise fault(Operation.STEP, error) from error
        words[LAST_ACTIVITY] = monotonic()
        words[BUSY_SINCE] = 0.0
        self._steps += self.num_envs
        words[STEPS] = self._steps
        if done.any():
            self._count(done)
        return observations, rewards, terminated, truncated, info

    def step_many(
        self, actions: Iterable[Any], keep: Callable[[Any], None] | None
    ) -> tuple[Any, list[Floats], Flags, Flags, dict[str, Any]]:
        """Take several steps in every environment, until one waits to be reset at most.

        Args:
            actions: Those of all environments for each step, one step at least.
            keep: Called with the observations of every step.

        Returns:
            The last observations, the rewards of all steps, and what else the last step returned.

        Raises:
            ResetNeeded: As in :meth:`step`.
        """
        rewards: list[Floats] = []
        for action in actions:
            observations, reward, terminated, truncated, info = self.step(action)
            rewards.append(reward)
            if keep is not None:
                keep(observations)
            if self._waits:
                break
        return observations, rewards, terminated, truncated, info

    def _count(self, done: Flags) -> None:
        words = self._words
        words[EPISODES] += int(done.sum())
        words[LAST_RETURN] = float(self._returns[done][-1])
        self._returns[done] = 0.0
        if self.autoreset_mode == "disabled":
            self._waiting |= done
            self._waits = True

    def sample_action(self, seed: int | None = None) -> Any:
        """Draw an action for every environment from the action space, which is seeded first if there is a seed."""
        with guarded_call(self._status, Operation.SAMPLE):
            if seed is not None:
                self.action_space.seed(seed)
            return self.action_space.sample()

    def render(self) -> Any:
        """Return what the environments render: a sequence with a frame of each."""
        with guarded_call(self._status, Operation.RENDER):
            return self.environment.render()

    def close(self) -> None:
        """Close the environments; what they raise goes to the log."""
        # Processes of which one may be dead are not asked to close: the others would be waited for in vain.
        terminate = self._failed and vector_environments.has_processes(self.environment)
        how = {"terminate": True} if terminate else {}
        with contextlib.suppress(EnvironmentFault), guarded_call(self._status, Operation.CLOSE):
            self.environment.close(**how)
