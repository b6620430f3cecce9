"""Making environments: options are checked once against a registered environment; the plan then makes it any time."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import gymnasium
import msgspec
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import CustomSpaceError, DependencyNotInstalled
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from gymtwist.envs import environment_results, environment_wrappers, gym_compatibility
from gymtwist.envs.environment_options import (
    RENDER_MODE,
    RGB,
    EnvironmentOptions,
    accepts,
    parameters,
    render_modes,
    renders_by_argument,
    with_integers,
)
from gymtwist.envs.environment_wrappers import EnvironmentWrapper
from gymtwist.envs.episode_arguments import EpisodeArguments
from gymtwist.envs.error_locations import name_environments
from gymtwist.envs.error_origins import ErrorQueue
from gymtwist.envs.failing_environment import FailingEnvironment
from gymtwist.envs.registry import RegisteredEnvironment
from gymtwist.envs.vector_environments import autoreset_mode, keep_infos
from gymtwist.errors import GymtwistError, InvalidField
from gymtwist.spaces.gymnasium_spaces import SPACE_NAMES, space_of
from gymtwist.spaces.value_mismatch import shown

#: The maximum number of environments with a process each, which cost the machine megabytes and a process id.
MAX_PROCESSES = 64
#: The name under which the operator's setup file is imported.
SETUP_MODULE = "gymsock_setup"
_ENTRY_POINT = "vector_entry_point"


#: Makes an environment with a function, in a process for it alone.
InProcess: TypeAlias = "Callable[[Callable[[], gymnasium.Env[Any, Any]]], gymnasium.Env[Any, Any]]"


def _plainly(make: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    return make()


class EnvironmentPlan(msgspec.Struct, frozen=True):
    """A checked description of the environment to make, the same one each time.

    Attributes:
        spec: The registered specification: Gymnasium's, or Gym's with the same attributes.
        of_gym: Whether the environment is Gym's.
        options: The checked options.
        mode: The vectorization mode; None for a single environment.
        kwargs: The keyword arguments for the constructor, or for the vector entry point.
        may_render: Whether ``kwargs`` has a render mode that the client did not ask for, and that may be dropped.
        in_process: Makes the environment in each process of an asynchronous vector environment, given a function.
        wrappers: The wrappers around each environment, innermost first.
        members: The plan of each of several environments, if they are not alike.
        reset_options: The options for resets without options.
        seeds: The seeds for resets without a seed, in order.
        vector_wrappers: The wrappers around the vector environment, innermost first.
    """

    spec: Any
    of_gym: bool
    options: EnvironmentOptions
    mode: str | None
    kwargs: dict[str, Any]
    may_render: bool = False
    in_process: InProcess = _plainly
    wrappers: tuple[EnvironmentWrapper, ...] = ()
    members: tuple[EnvironmentPlan, ...] = ()
    reset_options: dict[str, Any] = {}
    seeds: tuple[int, ...] = ()
    vector_wrappers: tuple[EnvironmentWrapper, ...] = ()

    def make(self) -> Any:
        """Make the environment, without its library's passive checker, which costs time on every step.

        Returns:
            A ``gymnasium.Env``, or a ``gymnasium.vector.VectorEnv`` if the plan has a vectorization mode.

        Raises:
            InvalidField: The environment's own vector environment has another autoreset mode, or one of the wrappers
                does not suit the environment.
            EnvironmentFault: A constructor raised an exception.
        """
        try:
            if self.mode is None:
                return self._make_single()
            made = self._make_from_entry_point() if self.mode == _ENTRY_POINT else self._make_vector(self.mode)
            keep_infos(made)
            return environment_wrappers.wrap(self.vector_wrappers, made, self.options.num_envs or 1)
        except GymtwistError:
            raise
        except BaseException as error:  # including SystemExit
            is_about_mode = isinstance(error, TypeError) and RENDER_MODE in str(error)
            if self.may_render and (is_about_mode or isinstance(error, DependencyNotInstalled)):
                return msgspec.structs.replace(self, kwargs={}, may_render=False).make()
            raise environment_results.fault("make", error) from error

    def _make_single(self) -> gymnasium.Env[Any, Any]:
        made = FailingEnvironment(self._make_wrapped) if self._truncates else self._make_wrapped()
        if self.reset_options or self.seeds:
            made = EpisodeArguments(made, self.reset_options, self.seeds)
        return made

    @property
    def _truncates(self) -> bool:
        return self.mode is not None and self.options.on_failure == "truncate"

    def _make_wrapped(self) -> gymnasium.Env[Any, Any]:
        limit = self.options.max_episode_steps
        if self.of_gym:
            return self._wrap(gym_compatibility.make(self.spec, limit, self.kwargs))
        return self._wrap(gymnasium.make(self.spec, max_episode_steps=limit, disable_env_checker=True, **self.kwargs))

    def _wrap(self, environment: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        wrapped: gymnasium.Env[Any, Any] = environment_wrappers.wrap(
            self.wrappers, environment, self.options.num_envs or 1
        )
        return wrapped

    def _make_vector(self, mode: str) -> Any:
        vector_kwargs: Any = {
            "autoreset_mode": AutoresetMode[self.options.autoreset_mode.upper()],
            # Every observation is sent before the next step, so it need not be copied, unless wrappers write to it.
            "copy": bool(self.vector_wrappers),
        }
        try:
            return self._make_vector_with(mode, vector_kwargs)
        except Exception as error:
            self._check_spaces()
            if mode == "async" and isinstance(error.__cause__, CustomSpaceError):
                # Gymnasium's shared memory does not support every class of spaces.
                return self._make_vector_with(mode, {**vector_kwargs, "shared_memory": False})
            raise

    def _check_spaces(self) -> None:
        """Check that each environment has spaces: Gymnasium's errors about a vector do not name the environment.

        Raises:
            EnvironmentFault: An environment has no spaces, or one of several that differ cannot be made.
            InvalidField: The environments are not alike, and one of them has other spaces than the first.
        """
        first: dict[str, Any] = {}
        for index, plan in enumerate(self.members or (self,)):
            try:
                single = plan._make_single()
            except Exception as raised:
                if not self.members:
                    raise
                fault = raised if isinstance(raised, GymtwistError) else environment_results.fault("make", raised)
                name_environments(fault, (index,), str(fault))
                raise fault from raised
            try:
                found = {name: space_of(single, name) for name in SPACE_NAMES}
            finally:
                single.close()
            first = first or found
            for name, space in found.items():
                if space != first[name]:
                    text = (
                        f"the {name} is {shown(space)}, and that of the first environment is {shown(first[name])}; "
                        "environments that step together have the same spaces"
                    )
                    error = InvalidField(text)
                    name_environments(error, (index,), text)
                    raise error

    def _make_vector_with(self, mode: str, vector_kwargs: Any) -> Any:
        options = self.options
        assert options.num_envs is not None
        if mode == "async":
            return self._make_async(options.num_envs, vector_kwargs)
        if self.members or self.of_gym or self._truncates:
            plans = self.members or (self,) * options.num_envs
            made: Any = SyncVectorEnv([each._make_single for each in plans], **vector_kwargs)
        else:
            made = gymnasium.make_vec(
                self.spec,
                options.num_envs,
                mode,
                vector_kwargs,
                [self._wrap] if self.wrappers else None,  # type: ignore[list-item]  # it need not be a Wrapper
                max_episode_steps=options.max_episode_steps,
                disable_env_checker=True,
                **self.kwargs,
            )
        if not self.vector_wrappers:  # these compute with rewards
            # Gymnasium's array takes only numbers; other rewards in this one are checked after the step.
            made._rewards = np.zeros(options.num_envs, object)
        return made

    def _make_async(self, num_envs: int, vector_kwargs: Any) -> Any:
        """Make environments in processes of their own.

        To find the spaces, Gymnasium first makes an environment in this process, the only one that can be inspected.
        """
        found: list[tuple[int | None, environment_results.RewardSpace | None]] = []

        def make_single(plan: EnvironmentPlan) -> Any:
            return self.in_process(partial(make_and_find, plan))

        def make_and_find(plan: EnvironmentPlan) -> Any:
            single = plan._make_single()
            found.append((step_limit(single), environment_results.reward_space_of(single)))
            return single

        if SETUP_MODULE in sys.modules and multiprocessing.get_start_method() != "fork":
            import cloudpickle  # few sessions need it

            # A process that is not forked cannot import the setup file.
            cloudpickle.register_pickle_by_value(sys.modules[SETUP_MODULE])
        made: Any = AsyncVectorEnv(
            [partial(make_single, each) for each in self.members or (self,) * num_envs], **vector_kwargs
        )
        made.error_queue = ErrorQueue(made.error_queue)
        made.step_limit, made.reward_space = found[0]
        return made

    def _make_from_entry_point(self) -> Any:
        inherited = dict(VectorEnv.metadata)
        made = gymnasium.make_vec(self.spec, self.options.num_envs or 1, _ENTRY_POINT, **self.kwargs)
        if made.metadata is VectorEnv.metadata:
            # ale-py writes its autoreset mode into the dictionary that every class inherits.
            made.metadata = dict(made.metadata)
            VectorEnv.metadata.clear()
            VectorEnv.metadata.update(inherited)
        if (has := autoreset_mode(made)) != self.options.autoreset_mode:
            made.close()
            raise InvalidField(
                f'the vector environment of {self.spec.id} supports only the autoreset_mode "{has}"; ask for that, or '
                'for vectorization_mode "sync" or "async"'
            )
        return made


def step_limit(environment: Any) -> int | None:
    """Return after how many steps an environment, or each environment of a vector, truncates an episode.

    Returns:
        The lowest limit among its wrappers, no matter who added them; None if there is none.
    """
    made = environment.unwrapped
    if isinstance(made, AsyncVectorEnv):
        limit: int | None = made.step_limit  # type: ignore[attr-defined]  # see EnvironmentPlan
        return limit
    each = made.envs[0] if isinstance(made, SyncVectorEnv) else environment
    limits: list[int | None] = []
    while each is not None:
        if isinstance(each, TimeLimit):
            limits.append(each._max_episode_steps)
        elif isinstance(each, gym_compatibility.GymEnvironment):
            limits.append(each.max_episode_steps)
        each = getattr(each, "env", None) if isinstance(each, gymnasium.Wrapper) else None
    return min((limit for limit in limits if limit is not None), default=None)


def plan(
    registered: RegisteredEnvironment,
    options: EnvironmentOptions | None = None,
    in_process: InProcess = _plainly,
    wrappers: tuple[EnvironmentWrapper, ...] = (),
) -> EnvironmentPlan:
    """Check options and plan the environment.

    Args:
        registered: The registered environment.
        options: The client's options; None if its protocol has none. The environment then renders RGB frames if it can,
            which costs nothing until a frame is requested.
        in_process: Makes the environment in each process of an asynchronous vector environment, given a function.
        wrappers: The wrappers around each environment, innermost first.

    Raises:
        InvalidField: An option has an invalid value.
        UnknownKwarg: The constructor does not take a keyword argument.
        EnvironmentFault: The vector entry point cannot be loaded.
    """
    spec, of_gym = registered
    creator = registered.creator()
    if options is None:
        options = EnvironmentOptions(render_mode=_default_render_mode(registered, creator))
        kwargs = options.constructor_kwargs(creator)
        return EnvironmentPlan(spec, of_gym, options, None, kwargs, may_render=RENDER_MODE in kwargs)
    options = with_integers(options, creator)
    if options.num_envs is None:
        options.check(spec.id, creator, of_gym=of_gym)
        kwargs = options.constructor_kwargs(creator, of_gym=of_gym)
        return EnvironmentPlan(spec, of_gym, options, None, kwargs, wrappers=wrappers)
    entry_point = getattr(spec, _ENTRY_POINT, None)  # Gym's specifications have none
    has_own_vector = entry_point is not None and not wrappers
    mode = options.vectorization_mode or (_ENTRY_POINT if has_own_vector else "sync")
    if mode == _ENTRY_POINT:
        if wrappers:
            raise InvalidField(
                f"{wrappers[0].place} wraps single environments, which the vector environment of {spec.id} does not "
                'have; ask for the vectorization_mode "sync" or "async"'
            )
        return EnvironmentPlan(spec, of_gym, options, mode, _entry_point_kwargs(spec.id, entry_point, options))
    if mode == "async" and options.num_envs > MAX_PROCESSES:
        raise InvalidField(
            f"num_envs {options.num_envs}: async has a process for each, send {MAX_PROCESSES} at most, or ask "
            'for the vectorization_mode "sync"'
        )
    options.check(spec.id, creator, of_gym=of_gym)
    kwargs = options.constructor_kwargs(creator, of_gym=of_gym)
    return EnvironmentPlan(spec, of_gym, options, mode, kwargs, in_process=in_process, wrappers=wrappers)


class OwnOptions(Protocol):
    """The options that one of several environments has of its own."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of this environment, besides those of all."""

    @property
    def options(self) -> dict[str, Any]:
        """The options for resets without options."""

    @property
    def seeds(self) -> list[int]:
        """The seeds for resets without a seed."""


def member(
    registered: RegisteredEnvironment,
    options: EnvironmentOptions,
    own: OwnOptions,
    in_process: InProcess,
    wrappers: tuple[EnvironmentWrapper, ...],
) -> EnvironmentPlan:
    """Plan one of several environments that are not alike.

    Args:
        registered: The registered environment.
        options: The options of all environments.
        own: The options of this environment alone.
        in_process: See :func:`plan`.
        wrappers: See :func:`plan`.

    Raises:
        InvalidField: An option has an invalid value.
        UnknownKwarg: The constructor does not take a keyword argument.
    """
    mode = options.vectorization_mode or "sync"
    if mode == _ENTRY_POINT:
        raise InvalidField(
            f"the vector environment of {registered.spec.id} makes all environments alike; ask for the "
            'vectorization_mode "sync" or "async"'
        )
    kwargs = {**options.kwargs, **own.kwargs}
    options = msgspec.structs.replace(options, kwargs=kwargs, vectorization_mode=mode)
    planned = plan(registered, options, in_process, wrappers)
    return msgspec.structs.replace(planned, reset_options=own.options, seeds=tuple(own.seeds))


def joined(members: Sequence[EnvironmentPlan]) -> EnvironmentPlan:
    """Return the plan of a vector environment of the members; the first of them describes it."""
    return msgspec.structs.replace(members[0], members=tuple(members))


def _entry_point_kwargs(environment: str, entry_point: Any, options: EnvironmentOptions) -> dict[str, Any]:
    """Check options against a vector entry point, which may share only the name with the single environment."""
    if entry_point is None:
        raise InvalidField(f'{environment} has no vector entry point; ask for the vectorization_mode "sync"')
    try:
        creator: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    except BaseException as error:
        raise environment_results.fault("make", error) from error
    options = with_integers(options, creator)
    options.check(f"the vector environment of {environment}", creator)
    kwargs, names, limit = options.constructor_kwargs(creator), parameters(creator), options.max_episode_steps
    if limit is not None:
        # Only Gymnasium's own wrapper understands that -1 means no limit.
        if limit == -1 or (names is not None and "max_episode_steps" not in names):
            raise InvalidField(
                f"the vector environment of {environment} takes no such max_episode_steps; ask for "
                'vectorization_mode "sync" or "async"'
            )
        kwargs = {**kwargs, "max_episode_steps": limit}
    if names is None or "autoreset_mode" in names:
        kwargs = {**kwargs, "autoreset_mode": AutoresetMode[options.autoreset_mode.upper()]}
    return kwargs


def _default_render_mode(registered: RegisteredEnvironment, creator: Any) -> str | None:
    """Return ``rgb_array`` if the constructor takes that mode and the registration chose no other."""
    if RENDER_MODE in registered.spec.kwargs or RGB not in render_modes(creator):
        return None
    takes_none = registered.of_gym and renders_by_argument(creator)
    return RGB if accepts(creator, RENDER_MODE) and not takes_none else None
