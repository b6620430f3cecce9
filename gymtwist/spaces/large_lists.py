"""Large nested lists of numbers, without Python's garbage collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

#: The number of elements from which disabling the collector pays off: with fewer, it runs only a few times.
MANY_NUMBERS = 4096


def without_collection(make: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of a call during which the garbage collector does not run.

    The collector runs for every 700 new lists and visits all of them, although lists of numbers have no cycles. For
    frames in JSON, this took half of the time.

    In a process with other threads, the collector stays enabled, because they could fork, or change its state
    themselves, during the call.

    Args:
        make: The function to call, which makes or reads nested lists.
        arguments: Its arguments.
    """
    if threading.active_count() > 1 or not gc.isenabled():
        return make(*arguments)
    try:  # an interrupt may come as soon as the collector is disabled
        gc.disable()
        return make(*arguments)
    finally:
        gc.enable()
