"""What a session of the framed protocol does: requests in, replies out, an environment between."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import UNSET

import gymtwist
from gymtwist.child.running import RunningEnvironment
from gymtwist.child.settings import ChildSettings
from gymtwist.child.translation import Elements, Translation
from gymtwist.child.vector import RunningVector
from gymtwist.child.vitals import Vitals
from gymtwist.envs import catalog, vectors
from gymtwist.envs.choices import Choices
from gymtwist.envs.vectors import Vectorization
from gymtwist.errors import EnvironmentFault, InvalidField, RequestError, ResetNeeded
from gymtwist.wire import messages
from gymtwist.wire.framing import MAX_FRAME, Framing

_NO_INFO: dict[str, Any] = {}
#: What can fail without an end to the episode.
_HARMLESS = ("sample", "render")


class State(enum.Enum):
    """Where a session's environment is."""

    MADE = "no episode was begun"
    PLAYING = "an episode goes on"
    ENDED = "the episode has ended"
    FAILED = "the environment has failed"
    BROKEN = "the environment has failed, and is to be made anew"
    CLOSED = "the environment is closed"


class Player:
    """Plays one environment, or a vector environment, as a client asks.

    Args:
        make: The client's first request.
        framing: What the client speaks.
        settings: The operator's options.
        vitals: Where to show how the environment is doing.

    Attributes:
        state: Where the environment is.

    Raises:
        GymtwistError: The environment cannot be had.
    """

    def __init__(self, make: messages.Make, framing: Framing, settings: ChildSettings, vitals: Vitals) -> None:
        _check(make, settings)
        self._make = make
        self._framing = framing
        self._settings = settings
        self._vitals = vitals
        self._choices = Choices(
            kwargs=make.kwargs, render_mode=make.render_mode, max_episode_steps=make.max_episode_steps
        )
        self._infos = make.info == "all"
        self._several = make.num_envs is not None
        self.state = State.MADE
        self._running: RunningEnvironment | RunningVector
        self._step: Callable[[Any], tuple[Any, Any, Any, Any, Any]]
        self._begin()
        try:
            self._translation = Translation(
                self._running.action_space, self._running.observation_space, framing, make.values
            )
        except BaseException:
            self._running.close()
            raise
        self._load = self._translation.actions.load
        self._dump = self._translation.observation
        self._told, self._flags = self._translation.rewards, self._translation.flags

    def _begin(self) -> None:
        self._running = self._run()
        self._step = self._running.step

    def _run(self) -> RunningEnvironment | RunningVector:
        make = self._make
        if make.num_envs is None:
            return RunningEnvironment(make.id, self._settings, self._vitals, self._choices)
        vectorization = Vectorization(
            num_envs=make.num_envs, mode=make.vectorization_mode, autoreset_mode=make.autoreset_mode
        )
        return RunningVector(make.id, self._settings, self._vitals, self._choices, vectorization)

    def failed(self, fault: EnvironmentFault) -> bool:
        """Note that the environment has failed: it must be reset, or made anew if that cannot be relied on.

        Returns:
            Whether it must be reset: an episode is not over because a frame of it cannot be rendered.
        """
        if fault.operation in _HARMLESS:
            return False
        if self.state is not State.BROKEN:
            # What fails to reset will hardly do better, and an asynchronous one has lost a process.
            hopeless = fault.operation == "reset" or vectors.has_processes(self._running.environment)
            self.state = State.BROKEN if hopeless else State.FAILED
        return True

    def _needs_reset(self) -> ResetNeeded:
        return ResetNeeded(f"{self.state.value}: reset before the next step")

    # Replies

    def made(self) -> messages.Made:
        """Describe the environment."""
        make, running = self._make, self._running
        environment: Any = running.environment
        spec = catalog.find(make.id).spec
        limit = spec.max_episode_steps if make.max_episode_steps is None else make.max_episode_steps
        actions, observations = self._translation.actions, self._translation.observations
        single: dict[str, Any] = {}
        if isinstance(running, RunningVector):
            one = Elements(environment.single_action_space, "action", self._framing, make.values)
            seen = Elements(environment.single_observation_space, "observation", self._framing, make.values)
            single = {
                "single_action_space": one.description,
                "single_observation_space": seen.description,
                "single_action_layout": one.layout,
                "single_observation_layout": seen.layout,
                "num_envs": running.num_envs,
                "autoreset_mode": running.autoreset_mode,
            }
        return messages.Made(
            actions.description,
            observations.description,
            f"gymtwist {gymtwist.__version__}",
            action_layout=actions.layout,
            observation_layout=observations.layout,
            spec=messages.Spec(
                spec.id,
                None if limit == -1 else limit,
                spec.reward_threshold,
                bool(spec.nondeterministic),
                {**spec.kwargs, **make.kwargs},
            ),
            # Of Gymnasium's own enumeration, and told by a field of its own.
            metadata={key: each for key, each in (environment.metadata or {}).items() if key != "autoreset_mode"},
            render_mode=environment.render_mode,
            limits=messages.Limits(self._settings.limits.idle or None, self._settings.limits.step or None, MAX_FRAME),
            **single,
        )

    def reset(self, request: messages.Reset) -> messages.ResetDone:
        """Begin an episode, in a fresh environment if the old one is of no use any more."""
        if self.state is State.BROKEN:
            self._running.close()
            self._begin()
            self.state = State.MADE
        running, seed = self._running, request.seed
        if isinstance(running, RunningVector):
            if request.mask is not None and self.state is not State.PLAYING:
                raise ResetNeeded(f"{self.state.value}: reset all environments before some of them")
            observation, info = running.reset(seed, request.options, request.mask)
        elif request.mask is not None or isinstance(seed, list):
            raise InvalidField("a mask, or a list of seeds, is for several environments; this is one")
        else:
            observation, info = running.reset(seed, request.options)
        # Only once it is known that it can be sent.
        dumped = self._dump("reset", observation)
        self.state = State.PLAYING
        return messages.ResetDone(dumped, _NO_INFO if self._make.info == "none" else info)

    def step(self, request: messages.Step) -> messages.Stepped:
        """Take one step."""
        if self.state is not State.PLAYING:
            raise self._needs_reset()
        observation, reward, terminated, truncated, info = self._step(self._load(request.action))
        if not self._infos:
            info = self._info(info, terminated, truncated)
        if self._several:
            reward, terminated, truncated = self._told(reward), self._flags(terminated), self._flags(truncated)
        elif terminated or truncated:
            self.state = State.ENDED
        return messages.Stepped(self._dump("step", observation), reward, terminated, truncated, info)

    def _info(self, info: dict[str, Any], terminated: Any, truncated: Any) -> dict[str, Any]:
        if self._infos or (self._make.info == "episode" and (np.any(terminated) or np.any(truncated))):
            return info
        return _NO_INFO

    def step_many(self, request: messages.StepMany) -> messages.SteppedMany:
        """Take several steps, to the end of the episode at most."""
        if self.state is not State.PLAYING:
            raise self._needs_reset()
        running, translation = self._running, self._translation
        count = len(request.actions) if isinstance(request.actions, list) else request.count
        every = request.observations == "all"
        if every and isinstance(count, int):
            translation.check_count(count)
        rewards: list[Any] = []
        kept: list[Any] = []
        for action in self._actions(request):
            observation, reward, terminated, truncated, info = self._step(action)
            rewards.append(reward)
            if every:
                kept.append(translation.kept(observation))
            if isinstance(running, RunningVector):
                if running.waits:  # for the client to reset an environment
                    break
            elif terminated or truncated:
                self.state = State.ENDED
                break
        info = self._info(info, terminated, truncated)
        if self._several:
            terminated, truncated = self._flags(terminated), self._flags(truncated)
        return messages.SteppedMany(
            translation.joined(kept) if every else self._dump("step_many", observation),
            self._told(np.array(rewards, np.float64)),
            terminated,
            truncated,
            len(rewards),
            info,
        )

    def _actions(self, request: messages.StepMany) -> Iterator[Any]:
        """Return the actions of a request; they are all checked before any is taken."""
        if request.actions is not UNSET:
            return iter([self._translation.action_at(index, each) for index, each in enumerate(request.actions)])
        self._load(request.action)
        # Each is an action of its own: an environment may keep it, or write to it.
        return (self._load(request.action) for _ in range(request.count if isinstance(request.count, int) else 0))

    def sample(self, request: messages.Sample) -> messages.Sampled:
        """Draw an action."""
        return messages.Sampled(self._translation.sampled(self._running.sample_action(request.seed)))

    def render(self, request: messages.Render) -> messages.Rendered:
        """Render the environment."""
        if self._running.environment.render_mode is None:
            raise RequestError('the environment was made without a render mode: make it with one, such as "rgb_array"')
        if self.state in (State.MADE, State.BROKEN):
            raise ResetNeeded(f"{self.state.value}: reset before you render")
        return messages.Rendered(self._running.render())

    def close(self) -> None:
        """Close the environment, once."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._running.close()


def _check(make: messages.Make, settings: ChildSettings) -> None:
    """Check what concerns the server, and not the environment.

    Raises:
        RequestError: It cannot be had.
    """
    if make.version > messages.VERSION:
        raise InvalidField(f"version {make.version}: this server speaks version {messages.VERSION}")
    if make.num_envs is None and make.vectorization_mode is not None:
        raise InvalidField("vectorization_mode is for several environments: send num_envs, too")
    if make.render_mode == "human" and not settings.display:
        raise RequestError(
            'render_mode "human" opens a window on the server\'s screen, which was started without --display; ask for '
            '"rgb_array", and show the frames on your own'
        )
