"""Arguments of ``reset``, ``sample`` and ``set_attr``: seeds, masks and values, validated."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from gymnasium import logger

from gymtwist.client.client_errors import RequestRefused
from gymtwist.protocol.messages import ResetDone


def seed_of(seed: Any) -> int | None:
    """Convert any kind of integer to a seed.

    Raises:
        RequestRefused: The seed is neither an integer from 0 to 2**64 - 1 nor None.
    """
    if seed is None:
        return None
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise RequestRefused(
            f"seed is {seed!r:.80}: expected an integer from 0 to 2**64 - 1, or None", code="invalid-field"
        )
    return number


def seeds_of(seed: Any, count: int) -> int | list[int | None] | None:
    """Convert one seed for all environments, or a sequence with a seed for each.

    Raises:
        RequestRefused: One of them is not a seed, or their number is wrong.
    """
    if not isinstance(seed, (list, tuple, np.ndarray)) or (isinstance(seed, np.ndarray) and not seed.ndim):
        return seed_of(seed)
    seeds = [seed_of(each) for each in seed]
    if len(seeds) != count:
        raise RequestRefused(
            f"seed has {len(seeds)} elements: expected one for each of {count} environments, or a single one",
            code="invalid-field",
        )
    return seeds


def warn_unseeded(reply: ResetDone) -> None:
    """Warn if the environment did not take the seed of a reset."""
    if reply.seeded is False:
        logger.warn("the environment at the server takes no seed: episodes with the same seed may differ")


def mask_of(options: dict[str, Any] | None, count: int) -> tuple[Any, dict[str, Any] | None]:
    """Split the options of a reset into the mask and the other options, without changing the given ones.

    Returns:
        The mask (bool, of shape (count,)) or None, and the other options.

    Raises:
        RequestRefused: The mask is not an array of ``count`` bools, or selects no environment.
    """
    if options is None or "reset_mask" not in options:
        return None, options
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (count,):
        raise RequestRefused(
            f"options['reset_mask'] is {mask!r:.80}: expected an array of {count} bools", code="invalid-field"
        )
    if not mask.any():
        raise RequestRefused("options['reset_mask'] has no True: there is nothing to reset", code="invalid-field")
    return mask, {key: each for key, each in options.items() if key != "reset_mask"}


def values_of(values: Any, count: int) -> list[Any]:
    """Return the values for an attribute of several environments.

    Args:
        values: A list or tuple with a value for each environment, or one value for all.
        count: The number of environments.

    Raises:
        ValueError: The number of values is wrong.
    """
    listed = list(values) if isinstance(values, (list, tuple)) else [values] * count
    if len(listed) != count:
        raise ValueError(f"values must be a list or tuple of {count}, not of {len(listed)}")
    return listed
