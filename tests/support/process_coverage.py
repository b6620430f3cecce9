"""Which tests and which of the processes that they start are measured by coverage, which may double what they cost."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

_NAME = "COVERAGE_PROCESS_CONFIG"
#: How coverage measures a process; None without coverage.
_CONFIGURATION = os.environ.get(_NAME)
# A measurement that is stopped is no longer current. Where third-party packages are played there is no coverage.
_COVERAGE = importlib.import_module("coverage").Coverage.current() if _CONFIGURATION is not None else None
#: Whether to measure everything; otherwise unit tests are, and modules and servers that say so.
MEASURES_ALL = os.environ.get("GYMTWIST_MEASURE") == "all"


def measure(variables: MutableMapping[str, str], measured: bool) -> None:
    """Set whether a process with these environment variables is measured."""
    if (measured or MEASURES_ALL) and _CONFIGURATION is not None:
        variables[_NAME] = _CONFIGURATION
    else:
        variables.pop(_NAME, None)


def pause() -> None:
    """Measure neither this process nor those that it starts."""
    if _COVERAGE is not None and not MEASURES_ALL:
        _COVERAGE.stop()
    measure(os.environ, False)


@contextmanager
def measuring(*, children: bool) -> Iterator[None]:
    """Measure this process, and perhaps those that it starts meanwhile."""
    if _COVERAGE is not None and not MEASURES_ALL:
        _COVERAGE.start()
    measure(os.environ, children)
    try:
        yield
    finally:
        pause()


@contextmanager
def sparing() -> Iterator[None]:
    """Do not measure this process, which is measured, within the context.

    Threads that run already, and processes that are started within it, are measured as before.
    """
    if _COVERAGE is None or MEASURES_ALL:
        yield
        return
    _COVERAGE.stop()
    try:
        yield
    finally:
        _COVERAGE.start()
