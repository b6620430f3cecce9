"""Converts the options that each of several environments has of its own to fields of a make request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from gymtwist.client.reset_arguments import seed_of
from gymtwist.protocol import make_messages

#: Keyword arguments for all environments, or a list with a mapping for each.
KwargsLike = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def count_environments(num_envs: int | None, *lists: Any) -> int | None:
    """Return the number of environments; if it is not given, return the length of the first list.

    Args:
        num_envs: The number, or None.
        lists: Arguments that may be lists with an element for each environment.
    """
    if num_envs is not None:
        return num_envs
    return next((len(each) for each in lists if is_list(each)), None)


def is_list(given: Any) -> bool:
    """Return whether an argument has an element for each environment."""
    return isinstance(given, Sized) and isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))


def own_options(
    num_envs: int, env_ids: Any, kwargs: Any, options: Any, seeds: Any
) -> tuple[str, dict[str, Any], list[make_messages.OwnOptions]]:
    """Separate what all environments share from what each has of its own.

    Args:
        num_envs: The number of environments.
        env_ids: Their id, or a list of ids.
        kwargs: Their keyword arguments, or a list of them.
        options: The options for resets without options, or a list of them; None for no options.
        seeds: A list with, for each environment, the seeds for resets without a seed; None for no seeds.

    Returns:
        The shared id and keyword arguments, and what each environment has of its own; empty if all are alike.

    Raises:
        ValueError: A list has another length, or an element is of another type.
    """
    lists = {"env_id": env_ids, "kwargs": kwargs, "autoreset_options": options, "autoreset_seeds": seeds}
    for name, given in lists.items():
        if is_list(given) and len(given) != num_envs:
            raise ValueError(f"{name} has {len(given)} elements: expected one for each of {num_envs} environments")
    if seeds is not None and not is_list(seeds):
        raise ValueError(f"autoreset_seeds is {seeds!r:.80}: expected a list with the seeds of each environment")
    for each in env_ids if is_list(env_ids) else ():
        if not isinstance(each, str):
            raise ValueError(f"env_id has {each!r:.80}: expected the id of an environment, which is a string")
    for each in seeds or ():
        if not is_list(each):
            raise ValueError(f"autoreset_seeds has {each!r:.80}: expected a list with the seeds of each environment")
    first = env_ids[0] if is_list(env_ids) else env_ids
    common = {} if kwargs is None or is_list(kwargs) else dict(kwargs)
    if not (is_list(env_ids) or is_list(kwargs)) and options is None and seeds is None:
        return first, common, []
    each = []
    for index in range(num_envs):
        its = env_ids[index] if is_list(env_ids) else first
        each.append(
            make_messages.OwnOptions(
                None if its == first else its,
                _mapping("kwargs", kwargs[index] if is_list(kwargs) else {}),
                _mapping("autoreset_options", options[index] if is_list(options) else options),
                [] if seeds is None else [_seed(seed) for seed in seeds[index]],
            )
        )
    return first, common, each


def _mapping(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} has {given!r:.80}: expected a dict")
    return dict(given)


def _seed(given: Any) -> int:
    seed = seed_of(given)
    if seed is None:
        raise ValueError("autoreset_seeds has None: expected integers; resets beyond the last of them have none")
    return seed
