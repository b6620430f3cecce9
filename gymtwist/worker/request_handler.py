"""What a session of the framed protocol does: requests in, replies out, an environment between."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import UNSET

import gymtwist
from gymtwist.envs import registry, vector_environments
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.envs.vector_environments import Vectorization
from gymtwist.errors import (
    EnvironmentFault,
    EnvironmentMade,
    InvalidField,
    NoEnvironment,
    RequestError,
    ResetNeeded,
)
from gymtwist.protocol import messages, shared_memory
from gymtwist.protocol.framing import MAX_FRAME, Framing
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.guarded_call import guarded_call
from gymtwist.worker.make_policy import MakePolicy
from gymtwist.worker.session_codecs import Elements, Kept, Translation
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.vector_environment_runner import VectorEnvironmentRunner
from gymtwist.worker.worker_settings import WorkerSettings

_NO_INFO: dict[str, Any] = {}
#: What can fail without an end to the episode.
_HARMLESS = ("sample", "render")


class State(enum.Enum):
    """Where a session's environment is."""

    UNMADE = "no environment was made"
    MADE = "no episode was begun"
    PLAYING = "an episode goes on"
    ENDED = "the episode has ended"
    FAILED = "the environment has failed"
    BROKEN = "the environment has failed, and is to be made anew"
    CLOSED = "the environment is closed"


class RequestHandler:
    """Plays one environment, or a vector environment, as a client asks.

    Args:
        framing: What the client speaks.
        settings: The operator's options.
        status: Where to show how the environment is doing.

    Attributes:
        state: Where the environment is.
        is_binary: Whether observations are bytes.
    """

    _make: messages.Make
    _step: Callable[[Any], tuple[Any, Any, Any, Any, Any]]
    _translation: Translation

    def __init__(self, framing: Framing, settings: WorkerSettings, status: SessionStatus) -> None:
        self._framing = framing
        self._settings = settings
        self._status = status
        self._rules = MakePolicy(settings)
        self._runner: EnvironmentRunner | VectorEnvironmentRunner | None = None
        self.state = State.UNMADE
        self.is_binary = False

    def make(self, request: messages.Make) -> messages.Made:
        """Make the environment.

        Raises:
            RequestError: There is one already, or it cannot be had as asked.
            EnvironmentFault: It cannot be made.
        """
        if self.state is not State.UNMADE:
            raise EnvironmentMade("this connection has its environment; open another connection to make another")
        with guarded_call(self._status, Operation.MAKE):
            self._rules.check(request)
        self._choose(request)
        try:
            self._begin()
            with guarded_call(self._status, Operation.MAKE):
                made = self._made()
        except BaseException:
            self._let_go()
            raise
        self.state = State.MADE
        return made

    def unmake(self) -> None:
        """Let go of an environment that the client cannot be told of: it may ask for another."""
        self._let_go()
        self.state = State.UNMADE

    def resume(self, request: messages.Make) -> None:
        """Take the place of a player whose process has died: the next reset makes the environment anew.

        Args:
            request: What its environment was made of.
        """
        self._choose(request)
        self.state = State.BROKEN

    def _choose(self, make: messages.Make) -> None:
        self._make = make
        self._environment_options = EnvironmentOptions(
            kwargs=make.kwargs, render_mode=make.render_mode, max_episode_steps=make.max_episode_steps
        )
        self._infos = make.info == "all"
        self._several = make.num_envs is not None

    def _begin(self) -> None:
        runner = self._runner = self._run()
        self._step = runner.step
        with guarded_call(self._status, Operation.MAKE):
            translation = Translation(runner.action_space, runner.observation_space, self._framing, self._make.values)
        self._translation = translation
        self._load, self._dump = translation.actions.load, translation.observation
        self._told, self._flags = translation.rewards, translation.flags
        self.is_binary = self._framing is Framing.INT32 and translation.observations.layout is not None

    def _let_go(self) -> None:
        """Close what there is of the environment."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def check_made(self, what: str) -> None:
        """Check that an environment was made, even if it has failed since.

        Args:
            what: What it is needed for.

        Raises:
            NoEnvironment: None was.
        """
        if self.state is State.UNMADE:
            raise self._not_now(what)

    def _made_running(self) -> EnvironmentRunner | VectorEnvironmentRunner:
        """Return the environment.

        Raises:
            RequestError: There is none.
        """
        if self._runner is None:
            raise self._not_now("the next request")
        return self._runner

    def _not_now(self, what: str) -> RequestError:
        """Say what has to come before a request."""
        if self.state is State.UNMADE:
            return NoEnvironment(f"{self.state.value}: make one before {what}")
        return ResetNeeded(f"{self.state.value}: reset before {what}")

    def _run(self) -> EnvironmentRunner | VectorEnvironmentRunner:
        make = self._make
        if make.num_envs is None:
            return EnvironmentRunner(make.id, self._settings, self._status, self._environment_options)
        vectorization = Vectorization(
            num_envs=make.num_envs, mode=make.vectorization_mode, autoreset_mode=make.autoreset_mode
        )
        return VectorEnvironmentRunner(make.id, self._settings, self._status, self._environment_options, vectorization)

    def failed(self, fault: EnvironmentFault) -> bool:
        """Note that the environment has failed: it must be reset, or made anew if that cannot be relied on.

        Returns:
            Whether it must be reset: an episode is not over because a frame of it cannot be rendered.
        """
        if fault.operation in _HARMLESS or self.state is State.UNMADE:
            return False
        if self.state is not State.BROKEN:
            # What fails to reset will hardly do better, and an asynchronous one has lost a process.
            lost = self._runner is None or vector_environments.has_processes(self._runner.environment)
            hopeless = fault.operation == "reset" or lost
            self.state = State.BROKEN if hopeless else State.FAILED
        return True

    # Replies

    def _made(self) -> messages.Made:
        """Describe the environment."""
        make, runner = self._make, self._made_running()
        environment: Any = runner.environment
        spec = registry.find(make.id).spec
        limit = spec.max_episode_steps if make.max_episode_steps is None else make.max_episode_steps
        actions, observations = self._translation.actions, self._translation.observations
        single: dict[str, Any] = {}
        if isinstance(runner, VectorEnvironmentRunner):
            one = Elements(environment.single_action_space, "action", self._framing, make.values)
            seen = Elements(environment.single_observation_space, "observation", self._framing, make.values)
            single = {
                "single_action_space": one.description,
                "single_observation_space": seen.description,
                "single_action_layout": one.layout,
                "single_observation_layout": seen.layout,
                "num_envs": runner.num_envs,
                "autoreset_mode": runner.autoreset_mode,
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
            shared_memory=self._settings.shared_memory and shared_memory.IS_POSSIBLE,
            **single,
        )

    def reset(self, request: messages.Reset) -> messages.ResetDone:
        """Begin an episode, in a fresh environment if the old one is of no use any more."""
        if self.state is State.BROKEN:
            self._let_go()
            self._begin()
            self.state = State.MADE
        runner, seed = self._made_running(), request.seed
        if isinstance(runner, VectorEnvironmentRunner):
            if request.mask is not None and self.state is not State.PLAYING:
                raise ResetNeeded(f"{self.state.value}: reset all environments before some of them")
            observation, info = runner.reset(seed, request.options, request.mask)
        elif request.mask is not None or isinstance(seed, list):
            raise InvalidField("a mask, or a list of seeds, is for several environments; this is one")
        else:
            observation, info = runner.reset(seed, request.options)
        # Only once it is known that it can be sent.
        dumped = self._dump("reset", observation)
        self.state = State.PLAYING
        return messages.ResetDone(dumped, _NO_INFO if self._make.info == "none" else info)

    def step(self, request: messages.Step) -> messages.Stepped:
        """Take one step."""
        if self.state is not State.PLAYING:
            raise self._not_now("the next step")
        observation, reward, terminated, truncated, info = self._step(self._load(request.action))
        if not self._infos:
            info = self._info(info, terminated, truncated)
        if self._several:
            reward, terminated, truncated = self._told(reward), self._flags(terminated), self._flags(truncated)
        elif terminated or truncated:
            self.state = State.ENDED
        return messages.Stepped(self._dump("step", observation), reward, terminated, truncated, info)

    def _info(self, info: dict[str, Any], terminated: Any, truncated: Any) -> dict[str, Any]:
        if self._make.info == "episode":
            ended = terminated | truncated  # bools, or arrays of them
            if ended.any() if self._several else ended:
                return info
        return _NO_INFO

    def step_many(self, request: messages.StepMany) -> messages.SteppedMany:
        """Take several steps, to the end of the episode at most."""
        if self.state is not State.PLAYING:
            raise self._not_now("the next step")
        runner, translation = self._made_running(), self._translation
        every = request.observations == "all"
        if every:
            translation.check_count(request.steps)
        kept = Kept(translation) if every else None
        taken: tuple[Any, Any, Any, Any, Any] = runner.step_many(
            self._actions(request), None if kept is None else kept.add
        )
        observation, rewards, terminated, truncated, info = taken
        if not self._several and (terminated or truncated):
            self.state = State.ENDED
        if not self._infos:
            info = self._info(info, terminated, truncated)
        if self._several:
            terminated, truncated = self._flags(terminated), self._flags(truncated)
        return messages.SteppedMany(
            self._dump("step_many", observation) if kept is None else kept.joined(),
            self._told(np.array(rewards, np.float64)),
            terminated,
            truncated,
            len(rewards),
            info,
        )

    def _actions(self, request: messages.StepMany) -> Iterator[Any]:
        """Return the actions of a request; they are all checked before any is taken."""
        if request.actions is not UNSET:
            return iter(self._translation.actions_of(request.actions))
        self._load(request.action)
        # Each is an action of its own: an environment may keep it, or write to it.
        return (self._load(request.action) for _ in range(request.steps))

    def sample(self, request: messages.Sample) -> messages.Sampled:
        """Draw an action."""
        sampled = self._made_running().sample_action(request.seed)
        return messages.Sampled(self._translation.sampled(sampled))

    def render(self, request: messages.Render) -> messages.Rendered:
        """Render the environment."""
        runner = self._made_running()
        if runner.environment.render_mode is None:
            raise RequestError('the environment was made without a render mode: make it with one, such as "rgb_array"')
        if self.state in (State.MADE, State.BROKEN):
            raise self._not_now("you render")
        return messages.Rendered(runner.render())

    def close(self) -> None:
        """Close the environment, once."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._let_go()
