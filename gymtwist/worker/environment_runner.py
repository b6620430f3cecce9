"""Runs the session's environment; no other module calls its code.

The session status shows every call. Every exception of the environment is logged and becomes an
:class:`~gymtwist.errors.EnvironmentFault`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic  # by name: an environment may replace the module's attributes
from typing import Any

from gymtwist.envs import environment_results, gym_compatibility, observation_checks, recording
from gymtwist.envs.environment_plan import EnvironmentPlan
from gymtwist.envs.missing_packages import with_remedy
from gymtwist.envs.viewer import Viewer
from gymtwist.errors import EnvironmentFault, MonitorError
from gymtwist.spaces.gymnasium_spaces import SPACE_NAMES, are_alike, space_of
from gymtwist.spaces.value_mismatch import shown
from gymtwist.worker.episode_recorder import EpisodeRecorder
from gymtwist.worker.guarded_call import NOTHING, fault, guarded_call, logging_faults
from gymtwist.worker.live_frames import Attention
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

_NO_SEED = (
    "the environment takes no seed: only the global generators of Python and NumPy got it (some environments take a "
    '"seed" among their kwargs)'
)

#: The operation's word during a step: a float, because an enumeration member would be converted each time.
STEP = float(Operation.STEP)
#: Seconds between checks whether the client has left, while a request takes several steps.
LOOK_INTERVAL = 1.0


def check_same_space(name: str, environment: Any, made: Any) -> None:
    """Check that an environment's space is still the one that it was made with.

    Raises:
        EnvironmentFault: The last reset has changed it.
    """
    found = getattr(environment, name, None)
    if found is not made and not are_alike(found, made):
        raise EnvironmentFault(
            "reset",
            f"the environment has another {name} since reset: {shown(found)} instead of {shown(made)}; clients are "
            "told its spaces once, so have it made with a space for every episode",
        )


class BaseRunner:
    """An environment or vector environment.

    Args:
        plan: The environment to make.
        settings: The operator's options.
        status: The session's status.

    Attributes:
        environment: The environment.
        action_space: Its action space.
        observation_space: Its observation space.
        reward_space: The space of rewards that are arrays, if the client accepts these; otherwise None.
        takes_seed: Whether the environment takes seeds, judged by its methods.

    Raises:
        GymtwistError: The environment cannot be made.
    """

    #: The names of the attributes that describe the episode.
    _of_episode: tuple[str, ...] = ("_seed", "_return", "_steps", "_steps_before")

    def __init__(self, plan: EnvironmentPlan, settings: WorkerSettings, status: SessionStatus) -> None:
        self._settings = settings
        self._status = status
        self._words = status.words
        # The environment may replace one that has failed in the same session.
        self._steps = status.steps
        #: The sum of the episode's rewards, and the session's number of steps before the episode.
        self._return: Any = 0.0
        self._steps_before = self._steps
        self._seed = settings.seed
        self.reward_space: environment_results.RewardSpace | None = None
        with guarded_call(status, Operation.MAKE):
            self.environment: Any = plan.make()
            try:
                self._examine(plan)
            except BaseException:
                # The client may retry without end.
                with contextlib.suppress(Exception):
                    self.environment.close()
                raise
        self._has_warned = self._has_logged_mismatch = False
        self._recorder: EpisodeRecorder | None = None
        self._attention = Attention(status)
        self._step = self._usual_step()
        #: Called every :data:`LOOK_INTERVAL` between the steps of one request; raises an OSError if the client has
        #: left.
        self.check_client: Callable[[], None] = lambda: None
        #: Called in the first step of a single environment with the type of its reward, unless that is ``float``.
        self.tell_reward_type: Callable[[str], None] = lambda name: None

    def _examine(self, plan: EnvironmentPlan) -> None:
        """Read the properties of the environment, which the caller closes if it cannot be served."""
        self.action_space = space_of(self.environment, "action_space")
        self.observation_space = space_of(self.environment, "observation_space")
        self.takes_seed = not plan.of_gym or gym_compatibility.takes_seed(self.environment)
        if self._seed is not None:
            self.action_space.seed(self._seed)

    @property
    def episode(self) -> dict[str, Any]:
        """The state of the episode outside the environment."""
        return {name: getattr(self, name) for name in self._of_episode}

    def go_back(self, episode: dict[str, Any]) -> None:
        """Return to an earlier :attr:`episode`; the session's counts continue."""
        vars(self).update(episode)
        self.count_on()

    def count_on(self) -> None:
        """Continue the session's count of steps; the episode has only the steps taken in this process."""
        missed = self._status.steps - self._steps
        self._steps += missed
        self._steps_before += missed

    def record_episodes(self, recorder: EpisodeRecorder) -> None:
        """Record the episodes that begin from now on."""
        self._recorder = recorder

    def _usual_step(self) -> Callable[[Any], Any]:
        """Return the function that takes a step: the environment's own, or one that also checks or records."""
        step = self._checked_step if self._settings.check_observations else self.environment.step
        return step if self._recorder is None else self._recorder.wrap(step)

    def _checked_step(self, action: Any) -> Any:
        returned = self.environment.step(action)
        if isinstance(returned, (tuple, list)) and returned:
            self._check_observation("step", returned[0])
        return returned

    def _check_observation(self, operation: str, observation: Any) -> None:
        """Log the first observation whose dtype is not that of its space, or that is out of bounds."""
        if self._has_logged_mismatch or not self._settings.check_observations:
            return
        if found := observation_checks.mismatch(self.observation_space, observation):
            self._has_logged_mismatch = True
            print(f"the environment returned a value outside its space from {operation}: {found}", file=sys.stderr)

    def _reset(self, seed: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; at the first reset without a seed, the operator's seed is used."""
        with guarded_call(self._status, Operation.RESET):
            seed = self._seed if seed is None else seed
            given = dict(options or {}) if self._recorder is not None else {}  # the environment may change them
            try:
                returned = self.environment.reset(seed=seed, options=options)
            except Exception:
                self._check_spaces(has_failed=True)
                raise
            self._seed = None
            self._check_spaces()
        if seed is not None and not self.takes_seed and not self._has_warned:
            self._has_warned = True
            print(_NO_SEED, file=sys.stderr)
        with logging_faults():
            observation, info = environment_results.reset_result(returned)
        self._check_observation("reset", observation)
        self._status.keep_first_observation()
        if self._recorder is not None:
            self._recorder.begin(observation, info, seed, given)
        if self._words[ATTENTION]:
            self.attend(observation)
        return observation, info

    def attend(self, observation: Any, began: float | None = None) -> None:
        """Do what the server has requested of this process.

        Args:
            observation: What the environment returned last.
            began: The time when the step began that has just ended, from ``monotonic()``; None after a reset.
        """
        self._attention.attend(lambda: self._picture(observation), began)

    def _picture(self, observation: Any) -> Any:
        """Return an image of the environment's state, or an observation that may contain one.

        Args:
            observation: What the environment returned last.
        """
        return self.environment.render() if self.environment.render_mode == "rgb_array" else observation

    def _check_spaces(self, *, has_failed: bool = False) -> None:
        """Check that the spaces are those that the environment was made with, which the client knows.

        Args:
            has_failed: Whether a reset has failed, perhaps because of changed spaces.
        """
        for name in SPACE_NAMES:
            check_same_space(name, self.environment, getattr(self, name))

    def sample_action(self, seed: int | None = None) -> Any:
        """Draw an action from the action space; if a seed is given, seed the space first.

        Raises:
            EnvironmentFault: The space raised an exception.
        """
        with guarded_call(self._status, Operation.SAMPLE):
            if seed is not None:
                self.action_space.seed(seed)
            return self.action_space.sample()

    def render(self) -> Any:
        """Return what the environment renders.

        In most modes this is a frame, uint8 of shape (height, width, 3); a vector environment returns a frame for each
        of its environments.
        """
        with guarded_call(self._status, Operation.RENDER):
            return self.environment.render()

    def render_early(self) -> Any:
        """Return what the environment renders before its first reset, which Gymnasium's wrappers would not allow."""
        with guarded_call(self._status, Operation.RENDER):
            return self.environment.unwrapped.render()

    def close(self) -> None:
        """Close the environment; its errors are logged."""
        with contextlib.suppress(EnvironmentFault), guarded_call(self._status, Operation.CLOSE):
            self._close()

    def _close(self) -> None:
        self.environment.close()


class EnvironmentRunner(BaseRunner):
    """A single environment; see :class:`BaseRunner`."""

    def __init__(self, plan: EnvironmentPlan, settings: WorkerSettings, status: SessionStatus) -> None:
        super().__init__(plan, settings, status)
        self._viewer: Viewer | None = None
        self._cannot_show = False
        self._title = plan.spec.id
        self._step = self._first_step

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: The environment's seed; if None, the first reset uses the operator's seed, if there is one.
            options: The environment's options.

        Returns:
            Observation and info.

        Raises:
            EnvironmentFault: The environment raised an exception.
        """
        returned = self._reset(seed, options)
        self._return, self._steps_before = 0.0, self._steps
        return returned

    def _first_step(self, action: Any) -> Any:
        """Take the first step, and check its flags and its reward's type only here, so that later steps are faster."""
        usual = self._usual_step()
        returned = usual(action)
        # If a request for several steps includes the first, all of its steps come here.
        if self._step == self._first_step:
            self._step = usual
            if found := environment_results.reward_type(returned):
                self.tell_reward_type(found)
            if found := observation_checks.non_boolean_flag(returned):
                print(found, file=sys.stderr)
        return returned

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Returns:
            Observation, reward, terminated, truncated and info.

        Raises:
            EnvironmentFault: The environment raised an exception, or did not return what Gymnasium expects.
        """
        words, returned = self._words, NOTHING
        # The same as guarded_call(), inlined: a context manager would cost more than the rest of this method.
        words[OPERATION], words[BUSY_SINCE] = STEP, monotonic()
        try:
            returned = observation, reward, terminated, truncated, info = self._step(action)
            reward, terminated, truncated = float(reward), bool(terminated), bool(truncated)
        except BaseException as error:
            self._status.end()
            observation, reward, terminated, truncated, info = self._unusual(returned, error)
        words[LAST_ACTIVITY] = monotonic()
        if words[ATTENTION]:
            self.attend(observation, words[BUSY_SINCE] or None)
        words[BUSY_SINCE] = 0.0
        self._steps = words[STEPS] = self._steps + 1
        self._return += reward
        if terminated or truncated:
            self._end_episode()
        return observation, reward, terminated, truncated, info

    def _end_episode(self) -> None:
        """Record the end of an episode in the session status."""
        words, total = self._words, self._return
        if not isinstance(total, float):  # the rewards are arrays
            total = float(total.sum())
        self._status.keep_episode(int(words[EPISODES]), total, self._steps - self._steps_before)
        words[EPISODES] += 1

    def _unusual(self, returned: Any, error: BaseException) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the values of a step that the fast path could not handle.

        Args:
            returned: What the environment returned; :data:`~gymtwist.worker.guarded_call.NOTHING` if it raised.
            error: The exception that ended the fast path.

        Raises:
            EnvironmentFault: As for :meth:`step`.
        """
        if returned is NOTHING:
            raise fault(Operation.STEP, error) from error
        with logging_faults():
            return environment_results.step_result(returned, self.reward_space)

    def step_many(
        self, actions: Iterable[Any], keep: Callable[[Any], None] | None
    ) -> tuple[Any, list[float], bool, bool, dict[str, Any]]:
        """Take several steps, stopping when the episode ends.

        Args:
            actions: One action per step, at least one.
            keep: Called with every observation.

        Returns:
            The rewards of all steps; observation, terminated, truncated and info of the last one.

        Raises:
            EnvironmentFault: As for :meth:`step`; the earlier steps were taken.
        """
        words, step = self._words, self._step
        rewards: list[float] = []
        words[OPERATION] = STEP
        words[REQUEST_SINCE] = looked = monotonic()
        try:
            for action in actions:
                words[BUSY_SINCE] = now = monotonic()  # the time limit applies to each step
                if now > looked + LOOK_INTERVAL:
                    looked = now
                    self.check_client()
                returned = NOTHING
                try:
                    returned = observation, reward, terminated, truncated, info = step(action)
                    reward, terminated, truncated = float(reward), bool(terminated), bool(truncated)
                except BaseException as error:
                    observation, reward, terminated, truncated, info = self._unusual(returned, error)
                rewards.append(reward)
                if words[ATTENTION]:
                    self.attend(observation, now)
                    words[OPERATION] = STEP
                if keep is not None:
                    keep(observation)
                if terminated or truncated:
                    break
        finally:
            self._status.end()
            words[REQUEST_SINCE] = 0.0
            self._steps = words[STEPS] = self._steps + len(rewards)
            self._return += sum(rewards)
        if terminated or truncated:
            self._end_episode()
        return observation, rewards, terminated, truncated, info

    def record(self, directory: str, *, resume: bool, force: bool, video: bool, every: int = 0) -> None:
        """Record the episodes from the next reset on; see :func:`~gymtwist.envs.recording.start`.

        Raises:
            MonitorError: The directory is not allowed or not suitable, or the session is being recorded already.
        """
        with guarded_call(self._status, Operation.MONITOR):
            path = recording.confine(directory, Path(self._settings.monitor_root))
            environment = self.environment
            if isinstance(environment, recording.EpisodeRecorder):
                if not environment.has_stopped:
                    raise MonitorError("this session is being recorded already; open another connection to record anew")
                environment = environment.env
            self.environment = recording.start(environment, path, resume=resume, force=force, video=video, every=every)
            self._step = self._usual_step()

    @property
    def is_recorded(self) -> bool:
        """Whether the episodes are being recorded."""
        return isinstance(self.environment, recording.EpisodeRecorder) and not self.environment.has_stopped

    def stop_recording(self) -> None:
        """Complete the files of a recording, if there is one."""
        with guarded_call(self._status, Operation.MONITOR):
            if isinstance(self.environment, recording.EpisodeRecorder):
                self.environment = self.environment.stop()
                self._step = self._usual_step()

    def show(self) -> None:
        """Show the environment on the server's screen, if the operator permits it.

        The protocol has no reply for this, so it never fails. After an error, later calls do nothing.
        """
        if self._cannot_show:
            return
        with guarded_call(self._status, Operation.RENDER):
            try:
                self._show()
            except Exception as error:
                self._cannot_show = True
                reason = f"{type(error).__name__}: {with_remedy(type(error), str(error))}"
                print(f"render is ignored from here on: {reason}", file=sys.stderr)

    def _show(self) -> None:
        if not self._settings.display:
            raise RuntimeError("the server was started without --display")
        if self.environment.render_mode != "rgb_array":
            raise RuntimeError("the environment renders no RGB frames")
        if self._viewer is None:
            self._viewer = Viewer(self._title)
        self._viewer.show(self.environment.render())

    def _close(self) -> None:
        if self._viewer is not None:
            self._viewer.close()
        super()._close()
