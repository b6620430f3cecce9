"""Runs the session's vector environment: like one environment, with seeds and masks for several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from time import monotonic  # by name: an environment may replace the module's attributes
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt

from gymtwist.envs import environment_results, vector_environments
from gymtwist.envs.environment_plan import EnvironmentPlan
from gymtwist.envs.vector_environments import MASK
from gymtwist.error_texts import without_episode
from gymtwist.errors import EnvironmentFault, InvalidField, ResetNeeded
from gymtwist.spaces.gymnasium_spaces import SPACE_NAMES
from gymtwist.spaces.info_merging import add_info
from gymtwist.worker.environment_runner import LOOK_INTERVAL, STEP, BaseRunner, check_same_space
from gymtwist.worker.episode_recorder import EpisodeRecorder
from gymtwist.worker.guarded_call import NOTHING, fault, guarded_call, logging_faults
from gymtwist.worker.session_status import (
    ATTENTION,
    BUSY_SINCE,
    EPISODES,
    LAST_ACTIVITY,
    OPERATION,
    REQUEST_SINCE,
    STEPS,
    Operation,
    SessionStatus,
)
from gymtwist.worker.worker_settings import WorkerSettings

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_LAST_INT64 = 2**63 - 1


class VectorEnvironmentRunner(BaseRunner):
    """A vector environment; the steps and episodes of every environment are counted.

    Attributes:
        num_envs: How many environments there are.
        autoreset_mode: When an environment is reset after its episode: ``next_step``, ``same_step`` or ``disabled``.
        can_step_some: Whether :meth:`begin_steps` can be used: each environment has a process of its own.
        stepping: The environments in a step begun by :meth:`begin_steps`, in the order in which they began.
    """

    _of_episode = (
        *BaseRunner._of_episode,
        *("_failed", "_has_array_rewards", "_ended", "_any_ended", "_returns", "_steps_before_each"),
    )

    def __init__(self, plan: EnvironmentPlan, settings: WorkerSettings, status: SessionStatus) -> None:
        super().__init__(plan, settings, status)
        if self.autoreset_mode == "same_step":
            self._step = vector_environments.mask_final_observations(self.environment, self._step)
        self._failed = False
        self._has_array_rewards = False
        # Environments without an episode: before the first reset, and after each episode if autoreset is disabled.
        self._ended: Flags = np.ones(self.num_envs, np.bool_)
        self._any_ended = True
        #: For each environment, the sum of the episode's rewards, and the session's number of steps before the episode.
        self._returns: Floats = np.zeros(self.num_envs)
        self._steps_before_each = [self._steps] * self.num_envs
        self.stepping: dict[int, None] = {}

    def count_on(self) -> None:
        """Continue the session's count of steps; each episode has only the steps taken in this process."""
        missed = self._status.steps - self._steps
        super().count_on()
        self._steps_before_each = [each + missed for each in self._steps_before_each]

    def _examine(self, plan: EnvironmentPlan) -> None:
        super()._examine(plan)
        self.num_envs: int = self.environment.num_envs
        if self.num_envs != plan.options.num_envs:
            wanted = plan.options.num_envs
            raise EnvironmentFault(
                "make", f"the vector environment has {self.num_envs} environments where {wanted} were asked for"
            )
        self.autoreset_mode = vector_environments.autoreset_mode(self.environment)
        self.can_step_some = plan.mode == "async" and not plan.vector_wrappers
        if plan.vector_wrappers and environment_results.reward_space_of(self.environment) is not None:
            raise InvalidField(
                f"{plan.vector_wrappers[0].place}: rewards of the environment are arrays (it has a reward_space), and "
                "Gymnasium's wrappers of vector environments take only numbers; ask for `wrappers` of each environment"
            )
        if plan.mode == "async" and environment_results.reward_space_of(self.environment) is not None:
            raise InvalidField(
                'vectorization_mode "async": rewards of the environment are arrays (it has a reward_space), and '
                'Gymnasium\'s processes exchange only numbers; ask for the vectorization_mode "sync"'
            )

    def record_episodes(self, recorder: EpisodeRecorder) -> None:
        """Record the episodes that begin from now on."""
        self._recorder = recorder
        self._step = recorder.wrap(self._step)
        self.can_step_some = False  # a recorded row is a step of all environments

    def reset(
        self,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
        mask: list[bool] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in all environments, or in some.

        Args:
            seed: One seed per environment, or one from which the vector environment derives them; if None, the first
                reset uses the operator's seed, if there is one.
            options: The environments' options.
            mask: Which environments to reset; None for all.

        Returns:
            Observations and info.

        Raises:
            InvalidField: The vector environment does not take such a seed or mask.
        """
        if options and MASK in options:
            raise InvalidField(f'the option "{MASK}" is Gymnasium\'s own; send which environments to reset as `mask`')
        chosen: Flags | None = None
        if mask is not None:
            chosen = self._mask(mask)
            options = {**(options or {}), MASK: chosen}
        seeds = None if seed is None else self._seeds(seed, masked=chosen is not None)
        self._failed = True
        self._drop_steps()
        observations, info = self._reset(seeds, options)
        self._failed = False
        begun = ... if chosen is None else chosen
        self._ended[begun] = False
        self._begin_episodes(begun)
        self._any_ended = bool(self._ended.any())
        return observations, info

    def _check_spaces(self, *, has_failed: bool = False) -> None:
        super()._check_spaces()
        made = self.environment.unwrapped
        for each in getattr(made, "envs", ()) if has_failed else ():
            for name in SPACE_NAMES:
                check_same_space(name, each, getattr(made, f"single_{name}"))

    def _mask(self, mask: list[bool]) -> Flags:
        if len(mask) != self.num_envs or not any(mask):
            raise InvalidField(f"mask has {len(mask)} elements; send {self.num_envs} of them, at least one true")
        if not vector_environments.takes_mask(self.environment):
            raise InvalidField(
                'this vector environment resets all of its environments or none; ask for vectorization_mode "sync"'
            )
        if not all(mask) and vector_environments.normalizes(self.environment):
            raise InvalidField("mask: a NormalizeObservation among the vector_wrappers takes only resets of all")
        return np.array(mask, np.bool_)

    def _seeds(self, seed: int | list[int | None], *, masked: bool) -> Any:
        if isinstance(seed, int):
            return seed
        if len(seed) != self.num_envs:
            raise InvalidField(
                f"{len(seed)} seeds for {self.num_envs} environments; send one for each, or a single one"
            )
        if vector_environments.takes_seed_list(self.environment):
            return seed
        too_large = any(each is not None and each > _LAST_INT64 for each in seed)
        if masked or too_large or None in seed or not vector_environments.takes_seed_array(self.environment):
            raise InvalidField(
                "this vector environment does not take these seeds; send one integer, or ask for "
                'vectorization_mode "sync"'
            )
        return np.array(seed, np.int64)

    def step(self, actions: Any) -> tuple[Any, Floats, Flags, Flags, dict[str, Any]]:
        """Take one step in every environment.

        Returns:
            Observations; rewards, float64 of shape (num_envs,), followed by the shape of the reward space if rewards
            are arrays; terminated and truncated, bool of shape (num_envs,); info.

        Raises:
            ResetNeeded: The episode of an environment has ended, and autoreset is disabled.
            EnvironmentFault: The environment raised an exception, or did not return what Gymnasium expects.
        """
        if self._any_ended:
            raise self._reset_needed(np.flatnonzero(self._ended).tolist())
        words, returned = self._words, NOTHING
        words[OPERATION] = STEP
        words[BUSY_SINCE] = monotonic()
        try:
            returned = observations, rewards, terminated, truncated, info = self._step(actions)
            rewards = np.asarray(rewards, np.float64)
            terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
            if not rewards.shape == terminated.shape == truncated.shape == self._ended.shape:
                raise ValueError("shapes")  # handled below, like every failure here
        except BaseException as error:
            self._failed = True
            self._status.end()
            if returned is NOTHING:
                raise fault(Operation.STEP, error) from error
            with logging_faults():
                observations, rewards, terminated, truncated, info = environment_results.vector_step_result(
                    returned, self.num_envs, self.reward_space
                )
            self._failed, self._has_array_rewards = False, rewards.ndim > 1
        if self._has_array_rewards and rewards.ndim == 1:  # every environment was reset, and each reward is 0
            rewards = environment_results.array_rewards(rewards, self.reward_space)
        words[LAST_ACTIVITY] = monotonic()
        if words[ATTENTION]:
            self.attend(observations, words[BUSY_SINCE] or None)
        words[BUSY_SINCE] = 0.0
        self._steps = words[STEPS] = self._steps + self.num_envs
        self._returns += rewards if rewards.ndim == 1 else rewards.reshape(self.num_envs, -1).sum(1)
        done = terminated | truncated
        if np.count_nonzero(done):
            self._end_episodes(done)
        return observations, rewards, terminated, truncated, info

    @staticmethod
    def _reset_needed(indices: Iterable[int]) -> ResetNeeded:
        error = ResetNeeded(without_episode(ended := tuple(indices)))
        error.environments = ended
        return error

    # Steps of some environments; Gymnasium's own step waits for all of them

    def begin_steps(self, indices: list[int], actions: list[Any]) -> None:
        """Begin a step in some environments, none of which is in a step.

        Raises:
            ResetNeeded: The episode of one has ended, and autoreset is disabled.
            EnvironmentFault: The process of one has ended.
        """
        if ended := [each for each in indices if self._ended[each]]:
            raise self._reset_needed(ended)
        pipes, self._failed = self.environment.unwrapped.parent_pipes, True
        with guarded_call(self._status, Operation.STEP):
            for index, action in zip(indices, actions, strict=True):
                pipes[index].send(("step", action))
                self.stepping[index] = None
        self._failed = False

    def take_ready(self, count: int) -> tuple[list[int], list[Any], Floats, Flags, Flags, dict[str, Any]]:
        """Wait until some environments have finished their step; those that began first are taken first.

        Args:
            count: How many environments to wait for; at least this many must be in a step.

        Returns:
            Their indices in ascending order, followed by their observations (each valid until the environment's next
            step), rewards, terminated, truncated, and merged infos.

        Raises:
            EnvironmentFault: An environment raised an exception, or its process has ended.
        """
        self._failed = True
        with guarded_call(self._status, Operation.STEP):
            indices, results = self._results(count)
            rewards = np.array([each[1] for each in results], np.float64)
            terminated, truncated = (np.array([bool(each[place]) for each in results]) for place in (2, 3))
            made = self.environment.unwrapped
            rows = vector_environments.rows(made)
            info: dict[str, Any] = {}
            for place, each in enumerate(results):
                add_info(count, info, each[4], place)
        self._failed = False
        observations = [each[0] if rows is None else rows[index] for index, each in zip(indices, results, strict=True)]
        if self._words[ATTENTION]:  # render requests would go through the same pipes
            self._attention.attend(lambda: observations[0])
        self._count_steps(indices, rewards, terminated | truncated)
        return indices, observations, rewards, terminated, truncated, info

    def _results(self, count: int) -> tuple[list[int], list[Any]]:
        """Wait for the results of some environments; an error ends the steps of all."""
        made = self.environment.unwrapped
        pipes = {made.parent_pipes[index]: index for index in self.stepping}
        ready: set[int] = set()
        try:
            while len(ready) < count:
                ready |= {pipes.pop(pipe) for pipe in wait(list(pipes))}
            indices = sorted([index for index in self.stepping if index in ready][:count])
            results, successes = [], [True] * self.num_envs
            for index in indices:
                result, successes[index] = made.parent_pipes[index].recv()
                results.append(result)
                del self.stepping[index]
            made._raise_if_errors(successes)
        except BaseException:
            self.stepping.clear()
            raise
        return indices, results

    def _count_steps(self, indices: list[int], rewards: Floats, done: Flags) -> None:
        """Count steps of some environments in the session status."""
        count = len(indices)
        self._steps = self._words[STEPS] = self._steps + count
        # An episode's length is the number of steps of all environments since it began, divided by the number of
        # environments.
        for index in range(self.num_envs):
            self._steps_before_each[index] += count
        for index in indices:
            self._steps_before_each[index] -= self.num_envs
        self._returns[indices] += rewards
        if done.any():
            ended = np.zeros(self.num_envs, np.bool_)
            ended[indices] = done
            self._end_episodes(ended)

    def _drop_steps(self) -> None:
        """Wait until no environment is in a step, and discard the results."""
        if self.stepping:
            with guarded_call(self._status, Operation.RESET):
                self._results(len(self.stepping))

    def _end_episodes(self, done: Flags) -> None:
        """Record the ends of episodes in the session status.

        Args:
            done: Which environments' episodes have ended.
        """
        # One after another: usually there is only one, for which NumPy's indexing with several would cost more.
        words, returns, begun_at = self._words, self._returns, self._steps_before_each
        number = int(words[EPISODES])
        # In this mode, the next step of such an environment is a reset.
        begin = self._steps + (self.num_envs if self.autoreset_mode == "next_step" else 0)
        for index in done.nonzero()[0].tolist():
            self._status.keep_episode(number, returns.item(index), (self._steps - begun_at[index]) // self.num_envs)
            returns[index], begun_at[index] = 0.0, begin
            number += 1
        words[EPISODES] = number
        if self.autoreset_mode == "disabled":
            self._ended |= done
            self._any_ended = True

    def _begin_episodes(self, begun: Flags | EllipsisType) -> None:
        self._returns[begun] = 0.0
        for index in np.arange(self.num_envs)[begun].tolist():
            self._steps_before_each[index] = self._steps

    def _picture(self, observation: Any) -> Any:
        """Return an image of the first environment, or its observation."""
        if self.environment.render_mode == "rgb_array":
            environments = getattr(self.environment.unwrapped, "envs", None)
            return environments[0].render() if environments else self.environment.render()
        if isinstance(observation, dict):
            return {name: each[0] for name, each in observation.items()}
        return observation[0]

    def step_many(
        self, actions: Iterable[Any], keep: Callable[[Any], None] | None
    ) -> tuple[Any, list[Floats], Flags, Flags, dict[str, Any]]:
        """Take several steps in every environment, stopping when one needs a reset.

        Args:
            actions: The actions of all environments for each step, for at least one step.
            keep: Called with the observations of every step.

        Returns:
            The rewards of all steps; observations, terminated, truncated and info of the last one.

        Raises:
            ResetNeeded: As for :meth:`step`.
            EnvironmentFault: As for :meth:`step`.
        """
        words = self._words
        rewards: list[Floats] = []
        words[REQUEST_SINCE] = looked = monotonic()
        try:
            for action in actions:
                observations, reward, terminated, truncated, info = self.step(action)
                rewards.append(reward)
                if keep is not None:
                    keep(observations)
                if self._any_ended:
                    break
                if words[LAST_ACTIVITY] > looked + LOOK_INTERVAL:
                    looked = words[LAST_ACTIVITY]
                    self.check_client()
        finally:
            words[REQUEST_SINCE] = 0.0
        return observations, rewards, terminated, truncated, info

    def _close(self) -> None:
        made = self.environment.unwrapped
        for index in self.stepping:
            # Nobody waits for its step; the other environments are closed in order.
            made.processes[index].terminate()
            made.parent_pipes[index].close()
        # If one of its processes has died, an orderly close would wait forever for its answer.
        if self._failed and vector_environments.has_processes(self.environment):
            self.environment.close(terminate=True)
        else:
            super()._close()
