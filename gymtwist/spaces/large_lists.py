"""Large nested lists of numbers, without Python's garbage collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

#: Numbers from which on it pays to go without the collector: fewer make it run a few times at most.
MANY_NUMBERS = 4096


def without_collection(make: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of a call during which the garbage collector does not run.

    The collector runs for each 700 new lists, and visits all of them, though lists of numbers have no cycles. For
    frames in JSON that took half of the time.

    In a process with other threads it goes on: they could fork, or change the collector's state themselves, while this
    call has it disabled.

    Args:
        make: What to call: it makes or reads nested lists.
        arguments: Its arguments.
    """
    if threading.active_count() > 1 or not gc.isenabled():
        return make(*arguments)
    try:  # an interrupt comes as soon as the collector is disabled
        gc.disable()
        return make(*arguments)
    finally:
        gc.enable()
