"""Options that a client chooses for its environment, and their validation."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from gymtwist.errors import InvalidField, UnknownKwarg
from gymtwist.spaces.equivalent_forms import whole

_BESIDE = "send it beside kwargs"
#: Parameters of Gymnasium's ``make`` and ``make_vec`` that are not keyword arguments of an environment, with remedies.
_NOT_KWARGS = {
    **dict.fromkeys(
        (
            *("render_mode", "max_episode_steps", "num_envs", "vectorization_mode", "autoreset_mode", "id"),
            *("wrappers", "vector_wrappers"),
        ),
        _BESIDE,
    ),
    "disable_env_checker": "the server chooses it",
    "vector_kwargs": "the server chooses it",
}
#: Gymnasium derives two kinds of modes from an environment's own: a window, and lists of collected frames.
_WINDOW, _COLLECTED = "human", "_list"
#: The mode whose frames are arrays, the parameter for a mode, and the metadata key of the modes before Gym 0.26.
RGB, RENDER_MODE, _OLD_MODES = "rgb_array", "render_mode", "render.modes"


class EnvironmentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an environment, named like the fields of a make message.

    Attributes:
        kwargs: Keyword arguments for the constructor.
        render_mode: The render mode; None to render nothing.
        max_episode_steps: Steps after which an episode is truncated; None for the registered limit, -1 for no limit.
        num_envs: How many environments step together; None for a single environment.
        vectorization_mode: ``sync``, ``async`` or ``vector_entry_point``; None for the last one if the environment
            has such an entry point, otherwise ``sync``.
        autoreset_mode: ``next_step``, ``same_step`` or ``disabled``.
        on_failure: Whether to ``raise`` the exception of one of several environments, or to ``truncate`` its episode.
    """

    kwargs: dict[str, Any] = {}
    render_mode: str | None = None
    max_episode_steps: int | None = None
    num_envs: int | None = None
    vectorization_mode: str | None = None
    autoreset_mode: str = "next_step"
    on_failure: str = "raise"

    def constructor_kwargs(self, creator: Any, *, of_gym: bool = False) -> dict[str, Any]:
        """Return the keyword arguments for the constructor.

        Args:
            creator: The class or function that makes the environment; None if it is unknown.
            of_gym: Whether the environment is Gym's: old ones get the render mode with each frame instead.
        """
        if self.render_mode is None or (of_gym and self.render_mode == RGB and renders_by_argument(creator)):
            return self.kwargs
        return {**self.kwargs, RENDER_MODE: self.render_mode}

    def check(self, environment: str, creator: Any, *, of_gym: bool = False) -> None:
        """Check the options before the environment is made, so that an error can list the alternatives.

        Args:
            environment: The environment's name for messages.
            creator: The class or function that makes the environment; None if it is unknown.
            of_gym: Whether the environment is Gym's.

        Raises:
            InvalidField: An option has an invalid value.
            UnknownKwarg: The constructor does not take a keyword argument.
        """
        for name in self.kwargs:
            if name in _NOT_KWARGS:
                raise InvalidField(f'"{name}" is not a kwarg of an environment; {_NOT_KWARGS[name]}')
        limit = self.max_episode_steps
        if limit is not None and limit < 1 and limit != -1:
            raise InvalidField(f"max_episode_steps {limit}: send an integer from 1, or -1 for never")
        if creator is None:
            return
        self._check_render_mode(environment, creator)
        names = parameters(creator)
        for name in self.constructor_kwargs(creator, of_gym=of_gym):
            if names is not None and name not in names:
                taken = ", ".join(sorted(set(names) - set(_NOT_KWARGS))) or "none"
                raise UnknownKwarg(f'{environment} takes no kwarg "{name:.80}"; it takes: {taken}')

    def _check_render_mode(self, environment: str, creator: Any) -> None:
        mode, modes = self.render_mode, render_modes(creator)
        # An environment that declares no modes leaves the check to its constructor.
        if mode is None or not modes:
            return
        known = {*modes, *(each + _COLLECTED for each in modes)} | ({_WINDOW} if RGB in modes else set())
        if mode not in known:
            raise InvalidField(f'{environment} has no render mode "{mode}"; it has: {", ".join(modes)}')


def with_integers(options: EnvironmentOptions, creator: Any) -> EnvironmentOptions:
    """Return options in which whole floats are integers where appropriate: some clients can send only floats.

    Args:
        options: The client's options.
        creator: The class or function that makes the environment; None if it is unknown.
    """
    try:
        parameters = inspect.signature(creator).parameters
    except (TypeError, ValueError):
        return options
    kwargs = {
        name: whole(value) if name in parameters and takes_integer(parameters[name]) else value
        for name, value in options.kwargs.items()
    }
    return msgspec.structs.replace(options, kwargs=kwargs)


def takes_integer(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter takes an integer but no float, by its annotation or, without one, its default."""
    if parameter.annotation is parameter.empty:
        return type(parameter.default) is int
    names = re.findall(r"\w+", inspect.formatannotation(parameter.annotation))
    return "int" in names and not {"float", "Any"} & set(names)


def render_modes(creator: Any) -> tuple[str, ...]:
    """List the render modes declared by an environment, its class or its factory, under the new key or the old."""
    metadata = getattr(creator, "metadata", None)
    return tuple(metadata.get("render_modes") or metadata.get(_OLD_MODES) or ()) if isinstance(metadata, dict) else ()


def renders_by_argument(creator: Any) -> bool:
    """Return whether a class renders RGB frames by an argument of its method ``render``, as before Gym 0.26."""
    if RGB not in render_modes(creator) or RENDER_MODE in _named(creator):
        return False
    render = getattr(creator, "render", None)
    return "mode" in _named(render) or (_OLD_MODES in creator.metadata and accepts(render, "mode"))


def parameters(function: Any) -> list[str] | None:
    """List the named parameters of a function or class; None if it takes any, or if they are unknown."""
    found = _signature(function)
    if found is None or any(each.kind is each.VAR_KEYWORD for each in found):
        return None
    return _named(function)


def accepts(function: Any, parameter: str) -> bool:
    """Return whether a function or class takes a parameter with this name."""
    return any(each.name == parameter or each.kind is each.VAR_KEYWORD for each in _signature(function) or ())


def _named(function: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in _signature(function) or () if each.kind in kinds]


def _signature(function: Any) -> list[inspect.Parameter] | None:
    """Return the parameters of a function or class; None if they are unknown."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
