"""Seeds, as people give them."""

from __future__ import annotations

import operator
from typing import Any

from gymtwist.client.client_errors import RequestRefused


def seed_of(seed: Any) -> int | None:
    """Take a seed as an integer, whatever kind of integer it is.

    Raises:
        RequestRefused: It is none.
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
