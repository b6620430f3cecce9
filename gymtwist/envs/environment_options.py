"""What a client chooses of an environment besides its id, and whether it can be had."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from gymtwist.errors import InvalidField, UnknownKwarg

#: What Gymnasium's ``make`` and ``make_vec`` take themselves, and where a client says it instead.
_NOT_KWARGS = {
    "render_mode": "send it beside kwargs",
    "max_episode_steps": "send it beside kwargs",
    "num_envs": "send it beside kwargs",
    "vectorization_mode": "send it beside kwargs",
    "autoreset_mode": "send it beside kwargs",
    "id": "send it beside kwargs",
    "disable_env_checker": "the server chooses it",
    "vector_kwargs": "the server chooses it",
    "wrappers": "wrap what the server replies on your own side",
}
#: What Gymnasium makes of the modes that an environment has: a window, and frames collected between two renders.
_WINDOW = "human"
_COLLECTED = "_list"


class EnvironmentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a client chooses of an environment.

    Attributes:
        kwargs: For its constructor.
        render_mode: What it is to render; None for nothing.
        max_episode_steps: After how many steps an episode is truncated; None for as registered, -1 for never.
    """

    kwargs: dict[str, Any] = {}
    render_mode: str | None = None
    max_episode_steps: int | None = None

    def for_constructor(self) -> dict[str, Any]:
        """Return what the constructor is given."""
        return self.kwargs if self.render_mode is None else {**self.kwargs, "render_mode": self.render_mode}


def check(environment_options: EnvironmentOptions, environment: str, creator: Any) -> None:
    """Check what can be checked before the environment is made, so that the client learns what it may choose.

    Args:
        environment_options: The client's.
        environment: The environment's id, for messages.
        creator: The class or function that makes the environment; None if it is not known.

    Raises:
        InvalidField: It cannot be had.
        UnknownKwarg: The environment has no such keyword argument.
    """
    for name in environment_options.kwargs:
        if name in _NOT_KWARGS:
            raise InvalidField(f'"{name}" is no kwarg of an environment; {_NOT_KWARGS[name]}')
    if (
        environment_options.max_episode_steps is not None
        and environment_options.max_episode_steps < 1
        and environment_options.max_episode_steps != -1
    ):
        raise InvalidField(
            f"max_episode_steps {environment_options.max_episode_steps}: send an integer from 1, or -1 for never"
        )
    if creator is None:
        return
    _check_render_mode(environment_options.render_mode, environment, creator)
    names = parameters(creator)
    if names is None:
        return
    for name in environment_options.for_constructor():
        if name not in names:
            taken = ", ".join(sorted(set(names) - set(_NOT_KWARGS))) or "none"
            raise UnknownKwarg(f'{environment} takes no kwarg "{name}"; it takes: {taken}')


def _check_render_mode(mode: str | None, environment: str, creator: Any) -> None:
    modes = render_modes(creator)
    # Where an environment does not say what it has, its constructor is asked.
    if mode is None or not modes:
        return
    known = {*modes, *(each + _COLLECTED for each in modes)} | ({_WINDOW} if "rgb_array" in modes else set())
    if mode not in known:
        raise InvalidField(f'{environment} has no render mode "{mode}"; it has: {", ".join(modes)}')


def render_modes(creator: Any) -> tuple[str, ...]:
    """List the render modes that the maker of environments says they have."""
    metadata = getattr(creator, "metadata", None)
    return tuple(metadata.get("render_modes", ())) if isinstance(metadata, dict) else ()


def parameters(function: Any) -> list[str] | None:
    """List the parameters that a function or class takes by name; None if it takes any, or that is not known."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_KEYWORD for each in found):
        return None
    return [each.name for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
