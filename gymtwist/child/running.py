"""A session's environment while it runs: its code is called here and nowhere else.

Every call is shown in the vitals, and whatever the environment raises becomes an
:class:`~gymtwist.errors.EnvironmentFault` after its traceback went to the log.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from time import monotonic  # by name: an environment may replace what the module has
from typing import Any

from gymtwist.child.settings import ChildSettings
from gymtwist.child.vitals import (
    BUSY_SINCE,
    EPISODES,
    LAST_ACTIVITY,
    LAST_RETURN,
    OPERATION,
    STEPS,
    Operation,
    Vitals,
)
from gymtwist.envs import catalog, monitor
from gymtwist.envs.viewer import Viewer
from gymtwist.errors import EnvironmentFault, GymtwistError, MonitorError


class RunningEnvironment:
    """The environment of one session.

    Args:
        environment_id: What the client asked for.
        settings: The operator's options.
        vitals: Where to show how it is doing.

    Raises:
        GymtwistError: There is no such environment, or its constructor failed.
    """

    def __init__(self, environment_id: str, settings: ChildSettings, vitals: Vitals) -> None:
        self._settings = settings
        self._words = vitals.words
        self._vitals = vitals
        self._return = 0.0
        self._steps = 0
        self._seed = settings.seed
        self._viewer: Viewer | None = None
        self._cannot_render = False
        self._title = environment_id
        with self._calling(Operation.MAKE):
            self.environment = catalog.make(environment_id)
            self.action_space = self.environment.action_space
            self.observation_space = self.environment.observation_space
            if self._seed is not None:
                self.action_space.seed(self._seed)
        self._step = self.environment.step

    @contextlib.contextmanager
    def _calling(self, operation: Operation) -> Iterator[None]:
        self._vitals.begin(operation)
        try:
            yield
        except GymtwistError as error:
            if error.__cause__ is not None:
                print_traceback(error.__cause__)
            raise
        except BaseException as error:  # sys.exit() is no way to end a session either
            raise self._fault(operation, error) from error
        finally:
            self._vitals.end()

    @staticmethod
    def _fault(operation: Operation, error: BaseException) -> EnvironmentFault:
        print_traceback(error)
        name = operation.name.lower()
        try:
            message = f": {error}"
        except Exception:  # an environment's exception may be of its own making
            message = ""
        return EnvironmentFault(name, f"the environment raised {type(error).__name__} in {name}{message}".rstrip(": "))

    def reset(self) -> Any:
        """Begin an episode; the first one with the operator's seed, if there is one.

        Returns:
            The observation.

        Raises:
            EnvironmentFault: The environment raised.
        """
        with self._calling(Operation.RESET):
            observation, _ = self.environment.reset(seed=self._seed)
            self._seed = None
            self._return = 0.0
        return observation

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Returns:
            Observation, reward, terminated, truncated and info.

        Raises:
            EnvironmentFault: The environment raised, or did not return five results of which the second is a number.
        """
        words = self._words
        # As _calling does, spelt out: this is the hot path, and a context manager costs more than all of it.
        words[OPERATION] = Operation.STEP
        words[BUSY_SINCE] = monotonic()
        try:
            observation, reward, terminated, truncated, info = self._step(action)
            reward, terminated, truncated = float(reward), bool(terminated), bool(truncated)
        except BaseException as error:
            raise self._fault(Operation.STEP, error) from error
        words[LAST_ACTIVITY] = monotonic()
        words[BUSY_SINCE] = 0.0
        self._steps += 1
        words[STEPS] = self._steps
        self._return += reward
        if terminated or truncated:
            words[EPISODES] += 1
            words[LAST_RETURN] = self._return
            self._return = 0.0
        return observation, reward, terminated, truncated, info

    def sample_action(self) -> Any:
        """Draw an action from the action space.

        Raises:
            EnvironmentFault: The space raised.
        """
        with self._calling(Operation.SAMPLE):
            return self.action_space.sample()

    def record(self, directory: str, *, resume: bool, force: bool, video: bool) -> None:
        """Record the episodes from the next reset on.

        Raises:
            MonitorError: The directory is not allowed or not fit, or a recording is on already.
        """
        with self._calling(Operation.MONITOR):
            if isinstance(self.environment, monitor.EpisodeRecorder):
                raise MonitorError("this session is being recorded already; open another connection to record anew")
            path = monitor.confine(directory, Path(self._settings.monitor_root))
            self.environment = monitor.start(self.environment, path, resume=resume, force=force, video=video)
            self._step = self.environment.step

    def show(self) -> None:
        """Show the environment on the server's screen, if the operator permits.

        The protocols have no reply for this, so it never fails: what cannot be shown is not tried again.
        """
        if self._cannot_render:
            return
        with self._calling(Operation.RENDER):
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
        with contextlib.suppress(EnvironmentFault), self._calling(Operation.CLOSE):
            if self._viewer is not None:
                self._viewer.close()
            self.environment.close()


def print_traceback(error: BaseException) -> None:
    """Print an exception into the log, unless the environment has closed the way there."""
    with contextlib.suppress(Exception):
        traceback.print_exception(error)


def fault_of_value(operation: str, error: Exception) -> EnvironmentFault:
    """Make the fault of an environment that returned what its space does not have."""
    return EnvironmentFault(
        operation,
        f"the environment returned from {operation} what is not in its space: {type(error).__name__}: {error}",
    )
