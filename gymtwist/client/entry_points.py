"""The specification of a remote environment, from which another like it can be made."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import msgspec
from gymnasium.envs.registration import EnvSpec

from gymtwist.client.connect_options import DEFAULTS, ConnectOptions
from gymtwist.protocol import make_messages

#: The entry points, by name: so specifications can be written as JSON.
CONNECT, CONNECT_VEC = "gymtwist.client.api:connect", "gymtwist.client.api:connect_vec"
RECONNECT, RECONNECT_VEC = "gymtwist.client.api:reconnect", "gymtwist.client.api:reconnect_vec"
#: The keyword argument of ``reconnect`` with the arguments of ``connect``. Those of the environment are beside it.
OPTIONS = "connect_options"
#: What each of several environments has of its own, which is in several arguments of ``connect_vec``.
EACH = "each"
VECTOR_WRAPPERS = "vector_wrappers"
#: Arguments of ``connect_vec`` that ``connect`` does not have.
VECTOR_ONLY = (EACH, VECTOR_WRAPPERS, "processes", "vectorization_mode", "autoreset_mode")
#: The render mode that opens a window, which would be on the server's screen. A wrapper shows frames here instead.
WINDOW = "human"

_REGISTERED = "registered_kwargs"
_ABSENT = object()
#: What ``gymnasium.make_vec`` adds to keyword arguments, and takes out of them again.
_OF_MAKE_VEC = ("num_envs", "vectorization_mode")


class SavedOptions(dict[str, Any]):
    """Arguments of ``connect`` or ``connect_vec`` in a specification.

    The items can be written as JSON. What must not be stored, or cannot be, are not items but an attribute, which
    copies and pickles keep.

    Args:
        items: The arguments.
        secrets: The token and the TLS context.
    """

    def __init__(
        self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), secrets: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(items)
        self.secrets = dict(secrets or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> SavedOptions:
        # A TLS context cannot be copied.
        return SavedOptions(copy.deepcopy(dict(self), memo), self.secrets)


def saved(options: ConnectOptions, registered: Mapping[str, Any]) -> SavedOptions:
    """Return the arguments from which an environment was made.

    Args:
        options: The options of the environment.
        registered: The keyword arguments that the environment has without the client's.
    """
    make, defaults = options.make, make_messages.Make("")
    has_context = options.tls is not None and not isinstance(options.tls, (bool, str))
    given = {name: getattr(options, name) for name in DEFAULTS}
    given |= {"protocol": options.protocol.value, "tls": True if has_context else options.tls}
    items = {name: value for name, value in given.items() if value != DEFAULTS[name]}
    kept = (
        "max_episode_steps",
        "info",
        "lenient",
        "vectorization_mode",
        "autoreset_mode",
        "render_mode",
        "direct",
        "keep_snapshots",
        "resume",
    )
    for name in kept:
        if (value := getattr(make, name)) != getattr(defaults, name):
            items[name] = value
    for name, wrappers in (("wrappers", make.wrappers), (VECTOR_WRAPPERS, make.vector_wrappers)):
        if wrappers:
            items[name] = [{"name": each.name, "kwargs": each.kwargs} for each in wrappers]
    if make.each:
        items[EACH] = [msgspec.structs.asdict(each) for each in make.each]
    if registered:
        items[_REGISTERED] = dict(registered)
    secrets: dict[str, Any] = {} if make.token is None else {"token": make.token}
    if has_context:
        secrets["tls"] = options.tls
    return SavedOptions({"address": str(options.address), "env_id": make.id, **items}, secrets)


def restored(options: Mapping[str, Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments for ``connect_vec``, and the keyword arguments of the environment.

    Args:
        options: What :func:`saved` has returned, perhaps by way of JSON.
        kwargs: The keyword arguments of the environment in its specification, or changed ones.
    """
    arguments = {**options, **getattr(options, "secrets", {})}
    registered = arguments.pop(_REGISTERED, {})
    # The server need not accept from a client what it has registered itself.
    own = {name: value for name, value in kwargs.items() if _differs(value, registered.get(name, _ABSENT))}
    return arguments, own


def _differs(one: Any, other: Any) -> bool:
    try:
        return bool(one != other)
    except ValueError:  # the comparison of arrays has no truth value
        return True


def spec_of(made: make_messages.Made, options: ConnectOptions) -> EnvSpec | None:
    """Make the specification of a remote environment; None if the server sent none that Gymnasium accepts."""
    spec = made.spec
    if spec is None:
        return None
    own = options.make.kwargs
    registered = {name: value for name, value in spec.kwargs.items() if name not in own}
    mode = {} if made.render_mode is None else {"render_mode": made.render_mode}
    with contextlib.suppress(gymnasium.error.Error):  # an id that Gymnasium does not accept
        return EnvSpec(
            id=spec.id,
            entry_point=RECONNECT,
            reward_threshold=spec.reward_threshold,
            nondeterministic=spec.nondeterministic,
            max_episode_steps=spec.max_episode_steps,
            kwargs={**registered, **own, **mode, OPTIONS: saved(options, registered)},
            vector_entry_point=RECONNECT_VEC,
        )
    return None


def completed(assigned: EnvSpec | None, own: EnvSpec | None) -> EnvSpec | None:
    """Return the specification for an environment whose ``spec`` attribute is set.

    ``gymnasium.make`` sets it to one that has the token, and not what the server says of the environment.

    Args:
        assigned: The value that it is set to.
        own: The environment's own specification.
    """
    if assigned is None or own is None or assigned.entry_point not in (CONNECT, RECONNECT):
        return assigned
    kept = {name: assigned.kwargs[name] for name in _OF_MAKE_VEC if name in assigned.kwargs}
    return dataclasses.replace(
        own,
        id=assigned.id,
        order_enforce=assigned.order_enforce,
        disable_env_checker=assigned.disable_env_checker,
        kwargs={**own.kwargs, **kept},
        additional_wrappers=assigned.additional_wrappers,
    )


def metadata_of(made: make_messages.Made) -> dict[str, Any]:
    """Return an environment's metadata, without the render modes that do not work on this side of the connection."""
    metadata = {"render_modes": [], **made.metadata}
    modes = metadata["render_modes"]
    if made.render_mode != WINDOW and isinstance(modes, (list, tuple)):
        metadata["render_modes"] = [mode for mode in modes if mode != WINDOW]
    return metadata
