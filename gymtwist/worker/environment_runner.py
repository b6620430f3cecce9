"""A session's environment while it runs: its code is called here and nowhere else.

Every call is shown in the vitals, and whatever the environment raises becomes an
:class:`~gymtwist.errors.EnvironmentFault` after its traceback went to the log.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic  # by name: an environment may replace what the module has
from typing import Any

from gymtwist.envs import recording, registry
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.envs.viewer import Viewer
from gymtwist.errors import EnvironmentFault, MonitorError
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


class EnvironmentRunner:
    """The environment of one session.

    Args:
        environment_id: What the client asked for.
        settings: The operator's options.
        status: Where to show how it is doing.
        environment_options: What the client chose besides; None for one that cannot choose.

    Raises:
        GymtwistError: There is no such environment, or its constructor failed.
    """

    def __init__(
        self,
        environment_id: str,
        settings: WorkerSettings,
        status: SessionStatus,
        environment_options: EnvironmentOptions | None = None,
    ) -> None:
        self._settings = settings
        self._words = status.words
        self._status = status
        self._return = 0.0
        # It may take the place of one that failed, in the same session.
        self._steps = status.steps
        self._seed = settings.seed
        self._viewer: Viewer | None = None
        self._cannot_render = False
        self._title = environment_id
        with guarded_call(self._status, Operation.MAKE):
            self.environment = registry.make(environment_id, environment_options)
            self.action_space = self.environment.action_space
            self.observation_space = self.environment.observation_space
            if self._seed is not None:
                self.action_space.seed(self._seed)
        self._step = self.environment.step

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: What to seed the environment with; None for the operator's seed at the first reset, if there is one.
            options: For the environment.

        Returns:
            Observation and info.

        Raises:
            EnvironmentFault: The environment raised.
        """
        with guarded_call(self._status, Operation.RESET):
            observation, info = self.environment.reset(seed=self._seed if seed is None else seed, options=options)
            self._seed = None
            self._return = 0.0
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Returns:
            Observation, reward, terminated, truncated and info.

        Raises:
            EnvironmentFault: The environment raised, or did not return five results of which the second is a number.
        """
        words = self._words
        # As calling() does, spelt out: this is the hot path, and a context manager costs more than all of it.
        words[OPERATION] = Operation.STEP
        words[BUSY_SINCE] = monotonic()
        try:
            observation, reward, terminated, truncated, info = self._step(action)
            reward, terminated, truncated = float(reward), bool(terminated), bool(truncated)
        except BaseException as error:
            self._status.end()
            raise fault(Operation.STEP, error) from error
        words[LAST_ACTIVITY] = monotonic()
        words[BUSY_SINCE] = 0.0
        self._steps += 1
        words[STEPS] = self._steps
        self._return += reward
        if terminated or truncated:
            self._count_episode()
        return observation, reward, terminated, truncated, info

    def step_many(
        self, actions: Iterable[Any], keep: Callable[[Any], None] | None
    ) -> tuple[Any, list[float], bool, bool, dict[str, Any]]:
        """Take several steps, to the end of the episode at most.

        Args:
            actions: One for each step, one at least.
            keep: Called with every observation.

        Returns:
            The last observation, the rewards of all steps, and what else the last step returned.

        Raises:
            EnvironmentFault: As in :meth:`step`; the steps before were taken.
        """
        words, step = self._words, self._step
        rewards: list[float] = []
        words[OPERATION] = Operation.STEP
        try:
            for action in actions:
                words[BUSY_SINCE] = monotonic()  # each has the time of one
                observation, reward, terminated, truncated, info = step(action)
                rewards.append(float(reward))
                if keep is not None:
                    keep(observation)
                if terminated or truncated:
                    break
            terminated, truncated = bool(terminated), bool(truncated)
        except EnvironmentFault:
            raise
        except BaseException as error:
            raise fault(Operation.STEP, error) from error
        finally:
            self._status.end()
            self._steps += len(rewards)
            words[STEPS] = self._steps
            self._return += sum(rewards)
        if terminated or truncated:
            self._count_episode()
        return observation, rewards, terminated, truncated, info

    def _count_episode(self) -> None:
        words = self._words
        words[EPISODES] += 1
        words[LAST_RETURN] = self._return
        self._return = 0.0

    def sample_action(self, seed: int | None = None) -> Any:
        """Draw an action from the action space, which is seeded first if there is a seed.

        Raises:
            EnvironmentFault: The space raised.
        """
        with guarded_call(self._status, Operation.SAMPLE):
            if seed is not None:
                self.action_space.seed(seed)
            return self.action_space.sample()

    def render(self) -> Any:
        """Return what the environment renders: in most render modes a frame, uint8 of shape (height, width, 3)."""
        with guarded_call(self._status, Operation.RENDER):
            return self.environment.render()

    def record(self, directory: str, *, resume: bool, force: bool, video: bool) -> None:
        """Record the episodes from the next reset on.

        Raises:
            MonitorError: The directory is not allowed or not fit, or a recording is on already.
        """
        with guarded_call(self._status, Operation.MONITOR):
            if isinstance(self.environment, recording.EpisodeRecorder):
                raise MonitorError("this session is being recorded already; open another connection to record anew")
            path = recording.confine(directory, Path(self._settings.monitor_root))
            self.environment = recording.start(self.environment, path, resume=resume, force=force, video=video)
            self._step = self.environment.step

    def show(self) -> None:
        """Show the environment on the server's screen, if the operator permits.

        The protocols have no reply for this, so it never fails: what cannot be shown is not tried again.
        """
        if self._cannot_render:
            return
        with guarded_call(self._status, Operation.RENDER):
            try:
                self._show()
            except Exception as error:
                self._cannot_render = True
                print(f"render is ignored from here on: {type(error).__name__}: {error}", file=sys.stderr)

    def _show(self) -> None:
        if not self._settings.display:
            raise RuntimeError("the server was started without --display")
        if self.environment.render_mode != "rgb_array":
            raise RuntimeError("the environment renders no RGB frames")
        if self._viewer is None:
            self._viewer = Viewer(self._title)
        frame: Any = self.environment.render()
        self._viewer.show(frame)

    def close(self) -> None:
        """Close the environment and its window; what they raise goes to the log."""
        with contextlib.suppress(EnvironmentFault), guarded_call(self._status, Operation.CLOSE):
            if self._viewer is not None:
                self._viewer.close()
            self.environment.close()
