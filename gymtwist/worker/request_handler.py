"""Handlers of the framed requests that concern the environment: make, reset, step, sample and render."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

import gymtwist
from gymtwist.envs import (
    environment_plan,
    environment_results,
    error_locations,
    kept_state,
    vector_environments,
)
from gymtwist.envs.environment_plan import EnvironmentPlan
from gymtwist.envs.kept_state import KeptState
from gymtwist.error_texts import RESET_ALL
from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    InvalidField,
    RequestError,
    ResetNeeded,
    SnapshotRefused,
    UnknownSnapshot,
)
from gymtwist.protocol import make_messages, messages, shared_memory
from gymtwist.protocol.codec import MessageCodec
from gymtwist.spaces.gymnasium_spaces import has_plain_numbers, make_generators, space_of
from gymtwist.worker.base_handler import BaseHandler, State
from gymtwist.worker.environment_planning import planned
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.episode_recorder import EpisodeRecorder, Reservation
from gymtwist.worker.guarded_call import fault_of_value, guarded_call
from gymtwist.worker.ready_steps import ReadySteps
from gymtwist.worker.seed_verification import digest, plays_alike
from gymtwist.worker.session_codecs import ObservationCollector, SessionCodecs, SpaceCodec
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.vector_environment_runner import VectorEnvironmentRunner
from gymtwist.worker.worker_settings import WorkerSettings

#: The fields of make that an environment's own code may refuse, with the values that do without them.
_MAY_BE_REFUSED = {
    "autoreset_mode": "next_step",
    "render_mode": None,
    "max_episode_steps": None,
    "vectorization_mode": "sync",
    "num_envs": 1,
}
_NO_INFO: dict[str, Any] = {}
#: Operations whose failure does not end the episode.
_HARMLESS = ("sample", "render", "monitor", "get", "set", "call", "snapshot", "restore")


class RequestHandler(BaseHandler[EnvironmentRunner | VectorEnvironmentRunner]):
    """Serves requests with one environment or vector environment.

    Args:
        codec: The codec of the client's messages.
        settings: The operator's options.
        status: The session's status.
        check_client: Called periodically while a request takes several steps; raises an OSError if the client has left.
        tell_reward_type: Called in the first step with the type of its reward, unless that is ``float``.

    Attributes:
        state: The state of the environment.
        handlers: The handler of each type of request except ``make``; each returns the reply.
    """

    _request: make_messages.Make
    _plan: EnvironmentPlan | None
    _step: Callable[[Any], tuple[Any, Any, Any, Any, Any]]
    _codecs: SessionCodecs

    def __init__(
        self,
        codec: MessageCodec,
        settings: WorkerSettings,
        status: SessionStatus,
        check_client: Callable[[], None] = lambda: None,
        tell_reward_type: Callable[[str], None] = lambda name: None,
    ) -> None:
        super().__init__(codec, settings, status)
        self._check_client, self._tell_reward_type = check_client, tell_reward_type
        self._has_plain_numbers = False
        self._ready: ReadySteps | None = None
        self._reservation: Reservation | None = None
        self._recorder: EpisodeRecorder | None = None
        #: The space whose generators were created last.
        self._has_generators: Any = None
        #: Whether another process began this session.
        self._resumes = False
        self.handlers |= {
            messages.Step: self.step,
            messages.StepMany: self.step_many,
            messages.StepReady: self.step_ready,
            messages.Reset: self.reset,
            messages.Sample: self.sample,
            messages.Render: self.render,
            messages.Monitor: self.monitor,
        }

    # Making the environment

    def make(self, request: make_messages.Make) -> make_messages.Made:
        """Make the environment.

        Raises:
            RequestError: The environment is not available with these options.
            EnvironmentFault: The environment cannot be made.
        """
        with self._status.request():
            self._accept(request)
            try:
                reservation = self._reserve()
                self._start()
                self._record(reservation)
                with guarded_call(self._status, Operation.MAKE):
                    made = self._made()
            except EnvironmentFault as error:
                self._close_runner()
                self._end_recording()
                name = self._refused_field(request)
                if name is None:
                    raise
                value = msgspec.json.encode(getattr(request, name)).decode()
                raise InvalidField(
                    f"{name} {value}: the environment can be made without it, but not with it: {error}"
                ) from error
            except BaseException:
                self._close_runner()
                self._end_recording()
                raise
        self.state = State.MADE
        return made

    def branched(self, request: make_messages.Make) -> make_messages.Made:
        """Describe the environment to the client of another session, which this process serves from now on.

        Raises:
            InvalidField: The client asks for another environment.
        """
        if self._comparable(request) != self._comparable(self._request):
            raise InvalidField(
                "branch: the snapshot is of an environment that another make message made; send the same one, with "
                "`branch` added (`resume` and `token` may differ)"
            )
        with guarded_call(self._status, Operation.MAKE):
            return msgspec.structs.replace(self._made(), branched=True)

    def _comparable(self, request: make_messages.Make) -> bytes:
        own: dict[str, Any] = {"branch": "", "token": None, "report_queue": False, "direct": False, "resume": None}
        return b"".join(self._codec.encode_request(msgspec.structs.replace(request, **own)))

    def _refused_field(self, request: make_messages.Make) -> str | None:
        """Find the field that prevents an environment from being made, by making it without each field in turn."""
        for name, default in _MAY_BE_REFUSED.items():
            if getattr(request, name) in (None, default):
                continue
            self._accept(msgspec.structs.replace(request, **{name: default}))
            try:
                self._start()
            except (EnvironmentFault, RequestError):
                continue
            finally:
                self._close_runner()
            return name
        return None

    def resume(self, request: make_messages.Make) -> None:
        """Continue the session of a process that has died: the next reset makes the environment again.

        Args:
            request: The message that the environment was made from.
        """
        self._accept(request)
        self._resumes = True
        self.state = State.BROKEN

    # Recording episodes

    def _reserve(self) -> Reservation | None:
        """Reserve the dataset that the client has named; None if it has not named one.

        Raises:
            RequestError: The dataset cannot be recorded.
        """
        wanted = self._request.record
        if wanted is None or self._recorder is not None:
            return None
        self._reservation = Reservation(wanted, self._settings, resumes=self._resumes)
        return self._reservation

    def _record(self, reservation: Reservation | None) -> None:
        """Record the runner's episodes.

        Raises:
            RequestError: They cannot be recorded.
        """
        runner, plan = self._running(), self._plan
        assert plan is not None
        if reservation is not None:
            self._recorder = EpisodeRecorder(reservation, runner.environment, plan, self._settings)
        if self._recorder is not None:
            self._recorder.render = runner.environment.render
            runner.record_episodes(self._recorder)

    def _end_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        reservation, self._reservation = self._reservation, None
        if recorder is not None:
            recorder.close()
        if reservation is not None:
            reservation.release()

    def close(self) -> None:
        """Close the environment, once, and complete the recording."""
        super().close()
        self._end_recording()

    def unmake(self) -> None:
        """Close the environment as if it had never been made."""
        super().unmake()
        self._end_recording()

    def _accept(self, request: make_messages.Make) -> None:
        self._request, self._plan = request, None
        self._infos = request.info == "all"
        self._several = request.num_envs is not None

    def _start(self) -> None:
        """Make the environment and everything that serves its steps."""
        with guarded_call(self._status, Operation.MAKE):
            if self._plan is None:
                self._check_asked(self._request)
                self._plan = planned(self._request, self._settings, self._framing)
            plan = self._plan
        kind = EnvironmentRunner if plan.mode is None else VectorEnvironmentRunner
        runner = self._runner = kind(plan, self._settings, self._status)
        runner.check_client = self._check_client
        with guarded_call(self._status, Operation.MAKE):
            spaces, request = (runner.action_space, runner.observation_space), self._request
            codecs = SessionCodecs(*spaces, self._framing, request.values, bounded=not request.lenient)
        self._codecs, self._ready = codecs, None
        self._step, self._load, self._dump = runner.step, codecs.actions.load, codecs.observations.dump
        if self._request.vector_rewards:
            runner.reward_space = environment_results.reward_space_of(runner.environment)
        if runner.reward_space is None:
            runner.tell_reward_type = self._tell_reward_type
        elif not self._several:
            self._step = self._step_for_array

    def _made(self) -> make_messages.Made:
        """Describe the environment."""
        request, runner, plan, settings = self._request, self._running(), self._plan, self._settings
        assert plan is not None
        environment, spec = runner.environment, plan.spec
        limit = spec.max_episode_steps if request.max_episode_steps is None else request.max_episode_steps
        limits = [each for each in (limit, environment_plan.step_limit(environment)) if each not in (None, -1)]
        actions, observations = self._codecs.actions, self._codecs.observations
        single: dict[str, Any] = {}
        if isinstance(runner, VectorEnvironmentRunner):
            one_action, one_observation = (
                SpaceCodec(space_of(environment, f"single_{name}_space"), name, self._framing, request.values)
                for name in ("action", "observation")
            )
            single = {
                "single_action_space": one_action.description,
                "single_observation_space": one_observation.description,
                "single_action_layout": one_action.layout,
                "single_observation_layout": one_observation.layout,
                "num_envs": runner.num_envs,
                "autoreset_mode": runner.autoreset_mode,
                "step_ready": runner.can_step_some,
            }
        space = environment_results.reward_space_of(environment)
        rewards = None if space is None else SpaceCodec(space, "reward", self._framing, request.values).description
        return make_messages.Made(
            actions.description,
            observations.description,
            f"gymtwist {gymtwist.__version__}",
            action_layout=actions.layout,
            observation_layout=observations.layout,
            spec=make_messages.Spec(
                spec.id,
                min(limits, default=None),
                spec.reward_threshold,
                bool(spec.nondeterministic),
                {**spec.kwargs, **request.kwargs},
            ),
            # The autoreset mode is an enumeration of Gymnasium's and has a field of its own.
            metadata={key: each for key, each in (environment.metadata or {}).items() if key != "autoreset_mode"},
            render_mode=environment.render_mode,
            limits=make_messages.Limits(settings.limits.idle or None, settings.limits.step or None, settings.max_frame),
            shared_memory=settings.shared_memory and shared_memory.IS_POSSIBLE and not self._framing.is_websocket,
            reward_space=rewards,
            wrappers=len(request.wrappers),
            each=len(request.each),
            vector_wrappers=len(request.vector_wrappers),
            recording=None if self._recorder is None else self._recorder.dataset,
            **single,
        )

    def locate(self, error: GymtwistError) -> None:
        """Have an error name the affected environments of a vector environment."""
        if isinstance(self._runner, VectorEnvironmentRunner):
            error_locations.locate(error, self._runner.environment)

    def try_out(self) -> bytes:
        """Use the environment in a copy of the process that is then discarded; return a digest of the results."""
        runner, digests = self._running(), []

        def note(act: Callable[[], Any]) -> None:
            try:
                digests.append(digest(act()))
            except Exception as error:
                digests.append(type(error).__name__.encode())

        if self.state in (State.PLAYING, State.ENDED):
            for seed in (0, None, None):
                note(lambda seed=seed: self._sampled_step(seed))  # type: ignore[misc]
            if runner.environment.render_mode is not None:
                note(runner.render)
        seed = 0 if runner.takes_seed else None
        note(lambda: self._reset(messages.Reset(seed))[0])
        note(lambda: self._sampled_step(0))
        return digest(b"".join(digests))

    def make_generators(self) -> None:
        """Create the random generators of the action space.

        Raises:
            EnvironmentFault: The space raised an exception.
        """
        space = self._running().action_space
        if space is not self._has_generators:
            with guarded_call(self._status, Operation.SNAPSHOT):
                make_generators(space)
            self._has_generators = space

    def keep_state(self) -> KeptState:
        """Save the state of the environment, if it has a hook for that, and of the generators that it may use.

        Raises:
            SnapshotRefused: It has no such hook, or a part of its state cannot be copied.
            EnvironmentFault: It raised an exception.
        """
        runner = self._running()
        generators = random.getstate(), np.random.get_state()
        rest = runner.action_space, runner.episode, self.state, self._has_plain_numbers, generators
        with guarded_call(self._status, Operation.SNAPSHOT):
            return kept_state.keep(runner.environment, rest)

    def restore_state(self, kept: KeptState) -> None:
        """Restore a state of the environment.

        Args:
            kept: What :meth:`keep_state` returned.

        Raises:
            EnvironmentFault: The environment raised an exception, and must be reset.
            RequestError: The state belongs to another environment, or this one is being recorded.
        """
        runner = self._running()
        if self.is_recorded:
            raise SnapshotRefused("the episodes are being recorded: stop the monitor before you restore")
        if runner.environment.unwrapped is not kept.environment:
            raise UnknownSnapshot(
                "the snapshot was the state of an environment that failed and was made anew: take another one"
            )
        self.state = State.FAILED  # unless it succeeds
        with guarded_call(self._status, Operation.RESTORE):
            _, episode, state, self._has_plain_numbers, generators = kept.restore()
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        runner.go_back(episode)
        self.state = state

    @property
    def keep_snapshots(self) -> int:
        """How many snapshots to keep so as to return to the latest after a crash; 0 to keep all, and not to return."""
        return self._request.keep_snapshots

    @property
    def is_recorded(self) -> bool:
        """Whether the environment's episodes are being recorded."""
        if self._recorder is not None and not self._recorder.has_stopped:
            return True
        return isinstance(self._runner, EnvironmentRunner) and self._runner.is_recorded

    def failed(self, fault: EnvironmentFault) -> bool:
        """Record that the environment has failed.

        Returns:
            Whether the environment must be reset. A failure to render, for example, does not end the episode.
        """
        if fault.operation in _HARMLESS or self.state is State.UNMADE:
            # A state may have been restored only in part.
            return self.state is State.FAILED and fault.operation == "restore"
        if self.state is not State.BROKEN:
            # After a failed reset the next one would hardly succeed, and an asynchronous environment has lost a
            # process.
            is_lost = self._runner is None or vector_environments.has_processes(self._runner.environment)
            self.state = State.BROKEN if fault.operation == "reset" or is_lost else State.FAILED
        return True

    # Handlers

    def reset(self, request: messages.Reset) -> messages.ResetDone:
        """Begin an episode; a broken environment is made again first."""
        with self._status.request():
            if self.state is State.BROKEN:
                self._close_runner()
                reservation = self._reserve()
                self._start()
                self._record(reservation)
                self.state = State.MADE
            seeded = None if request.seed is None or self._running().takes_seed else False
            if request.verify_seed:
                alike = self._verify(request)
                seeded = alike and seeded is None
            dumped, info = self._reset(request)
        self.state = State.PLAYING
        info = _NO_INFO if self._request.info == "none" else info
        return messages.ResetDone(dumped, info, seeded=seeded, plain_numbers=self._has_plain_numbers)

    def _reset(self, request: messages.Reset) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; return the encoded observation (without which no episode begins) and the info."""
        runner, seed = self._running(), request.seed
        options = None if request.options is None else {**request.options}  # the environment may change them
        if isinstance(runner, VectorEnvironmentRunner):
            if request.mask is not None and self.state is not State.PLAYING:
                raise ResetNeeded(f"{self.state.value}: {RESET_ALL}")
            observation, info = runner.reset(seed, options, request.mask)
        elif request.mask is not None or isinstance(seed, list):
            raise InvalidField("a mask, or a list of seeds, is for several environments; this is one")
        else:
            observation, info = runner.reset(seed, options)
        dumped = self._codecs.observation("reset", observation)
        self._has_plain_numbers = not self._several and has_plain_numbers(runner.observation_space, observation)
        return dumped, info

    def _verify(self, request: messages.Reset) -> bool:
        """Return whether two episodes with the seed of a request begin alike; neither is recorded."""
        if self._recorder is None:
            return plays_alike(request.seed, lambda: self._reset(request), self._sampled_step)
        self._recorder.pause()
        try:
            return plays_alike(request.seed, lambda: self._reset(request), self._sampled_step)
        finally:
            self._recorder.go_on()

    def _sampled_step(self, seed: int | None) -> tuple[Any, Any, Any, Any] | None:
        """Take a step with a sampled action; return the encoded results except the info, or None if it failed."""
        runner = self._running()
        try:
            observation, reward, terminated, truncated, _ = self._step(runner.sample_action(seed))
            return self._codecs.observation("step", observation), reward, terminated, truncated
        except EnvironmentFault:
            # An environment may refuse an action from its own space. But an environment's process ends when it raises
            # an exception, and without the process there is no next reset.
            if vector_environments.has_processes(runner.environment):
                raise
            return None

    def step(self, request: messages.Step) -> messages.Stepped:
        """Take one step."""
        if self.state is not State.PLAYING and not (self.state is State.ENDED and self._request.lenient):
            raise self._not_now("the next step")
        observation, reward, terminated, truncated, info = self._step(self._load(request.action))
        if not self._infos:
            info = self._wanted(info, terminated, truncated)
        if self._several:
            codecs = self._codecs
            reward, terminated, truncated = codecs.rewards(reward), codecs.flags(terminated), codecs.flags(truncated)
        elif terminated or truncated:
            self.state = State.ENDED
        try:
            dumped = self._dump(observation)
        except BaseException as error:
            raise fault_of_value("step", error) from error
        return messages.Stepped(dumped, reward, terminated, truncated, info)

    def _step_for_array(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step of an environment whose reward may be an array."""
        observation, reward, terminated, truncated, info = self._running().step(action)
        return observation, self._codecs.rewards(reward, 0), terminated, truncated, info

    def _wanted(self, info: dict[str, Any], terminated: Any, truncated: Any) -> dict[str, Any]:
        """Return the info if the client wants it for this step."""
        if self._infos:
            return info
        if self._request.info == "episode":
            ended = terminated | truncated  # booleans, or arrays of them
            if ended.any() if self._several else ended:
                return info
        return _NO_INFO

    def step_many(self, request: messages.StepMany) -> messages.SteppedMany:
        """Take several steps, stopping when the episode ends."""
        if self.state is not State.PLAYING and not (self.state is State.ENDED and self._request.lenient):
            raise self._not_now("the next step")
        runner, codecs = self._running(), self._codecs
        collected: ObservationCollector | None = None
        if request.observations == "all":
            codecs.check_count(request.steps)
            collected = ObservationCollector(codecs)
        taken: tuple[Any, Any, Any, Any, Any] = runner.step_many(
            self._actions(request), None if collected is None else collected.add
        )
        observation, rewards, terminated, truncated, info = taken
        if not self._several and (terminated or truncated):
            self.state = State.ENDED
        if not self._infos:
            info = self._wanted(info, terminated, truncated)
        if self._several:
            terminated, truncated = codecs.flags(terminated), codecs.flags(truncated)
        return messages.SteppedMany(
            codecs.observation("step_many", observation) if collected is None else collected.joined(),
            codecs.rewards(np.array(rewards), 2 if self._several else 1),
            terminated,
            truncated,
            len(rewards),
            info,
        )

    def step_ready(self, request: messages.StepReady) -> messages.SteppedReady:
        """Begin steps in some environments, and wait for some to finish."""
        if self.state not in (State.PLAYING, State.STEPPING):
            raise self._not_now("the next step")
        runner = self._running()
        if not (isinstance(runner, VectorEnvironmentRunner) and runner.can_step_some):
            raise InvalidField(
                "step_ready is for several environments that have a process each: make them with num_envs and the "
                'vectorization_mode "async", and without vector_wrappers and record'
            )
        if self._ready is None:
            self._ready = ReadySteps(runner, self._framing, self._request.values, bounded=not self._request.lenient)
        reply = self._ready.step(request, self._wanted)
        self.state = State.STEPPING if runner.stepping else State.PLAYING
        return reply

    def _actions(self, request: messages.StepMany) -> Iterator[Any]:
        """Return the actions of a request; all of them are checked before the first step."""
        if request.actions is not UNSET:
            return iter(self._codecs.actions_of(request.actions))
        self._load(request.action)
        # Each step has its own copy: an environment may keep an action or write to it.
        return (self._load(request.action) for _ in range(request.steps))

    def sample(self, request: messages.Sample) -> messages.Sampled:
        """Sample an action."""
        sampled = self._running().sample_action(request.seed)
        return messages.Sampled(self._codecs.sampled(sampled))

    def render(self, request: messages.Render) -> messages.Rendered:
        """Render the environment."""
        runner = self._running()
        if runner.environment.render_mode is None:
            raise RequestError('the environment was made without a render mode: make it with one, such as "rgb_array"')
        if self.state is State.MADE and request.before_reset and not self._several:
            return messages.Rendered(runner.render_early())
        if self.state in (State.MADE, State.BROKEN, State.STEPPING):
            raise self._not_now("you render")
        return messages.Rendered(runner.render())

    def monitor(self, request: messages.Monitor) -> messages.Monitored:
        """Begin or stop recording episodes."""
        runner = self._running()
        if isinstance(runner, VectorEnvironmentRunner):
            raise RequestError("the episodes of several environments are not recorded; make a single environment")
        if request.directory is None:
            runner.stop_recording()
        else:
            every = request.video_every
            runner.record(request.directory, resume=request.resume, force=request.force, video=every > 0, every=every)
        return messages.Monitored()
