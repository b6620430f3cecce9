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

#: The entry points by name, so that specifications can be written as JSON.
CONNECT, CONNECT_VEC = "gymtwist.client.api:connect", "gymtwist.client.api:connect_vec"
RECONNECT, RECONNECT_VEC = "gymtwist.client.api:reconnect", "gymtwist.client.api:reconnect_vec"
#: The keyword argument of ``reconnect`` with the arguments of ``connect``; the environment's own are beside it.
OPTIONS = "connect_options"
#: What each of several environments has of its own; ``connect_vec`` has several arguments for it.
EACH = "each"
VECTOR_WRAPPERS = "vector_wrappers"
#: Arguments of ``connect_vec`` that ``connect`` does not have.
VECTOR_ONLY = (EACH, VECTOR_WRAPPERS, "processes", "vectorization_mode", "autoreset_mode")
#: The render mode that opens a window. It would open on the server's screen, so a wrapper shows frames here instead.
WINDOW = "human"

_REGISTERED = "registered_kwargs"
_ABSENT = object()
#: What ``gymnasium.make_vec`` adds to the keyword arguments, and removes again.
_OF_MAKE_VEC = ("num_envs", "vectorization_mode")


class SavedOptions(dict[str, Any]):
    """Arguments of ``connect`` or ``connect_vec`` in a specification.

    The items can be written as JSON. What must not or cannot be stored is in an attribute instead, which copies and
    pickles keep.

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
    """Return the arguments that made an environment.

    Args:
        options: The options of the environment.
        registered: The registered keyword arguments, which the client has not sent.
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
        options: What :func:`saved` returned, possibly via JSON.
        kwargs: The keyword arguments of the environment's specification, possibly changed.
    """
    arguments = {**options, **getattr(options, "secrets", {})}
    registered = arguments.pop(_REGISTERED, {})
    # The server may refuse from a client what it has registered itself.
    own = {name: value for name, value in kwargs.items() if _differs(value, registered.get(name, _ABSENT))}
    return arguments, own


def _differs(one: Any, other: Any) -> bool:
    try:
        return bool(one != other)
    except ValueError:  # comparing arrays has no truth value
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
    """Return the specification to use when an environment's ``spec`` attribute is set.

    ``gymnasium.make`` sets a specification that contains the token but not the server's description.

    Args:
        assigned: The value that the attribute is set to.
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
    """Return an environment's metadata, without the render modes that do not work at the client."""
    metadata = {"render_modes": [], **made.metadata}
    modes = metadata["render_modes"]
    if made.render_mode != WINDOW and isinstance(modes, (list, tuple)):
        metadata["render_modes"] = [mode for mode in modes if mode != WINDOW]
    return metadata
