"""What a step costs, told by counts that are the same each time, and not by a clock.

A :class:`Plan` switches its meters on and off between two steps of whoever calls :meth:`Plan.step` once in each, so
that what is counted are whole steps and nothing else.
"""

from __future__ import annotations

import collections
import ctypes
import os
import platform
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

# perf_event_open(2): no wrapper of the C library's, and of struct perf_event_attr the 64 bytes of its first version.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
_HARDWARE, _INSTRUCTIONS, _USER_MODE_ONLY = 0, 1, 1 << 5 | 1 << 6
#: What other libraries do within themselves is theirs, and changes with their versions.
_OURS = str(Path(__file__).parents[2])
#: Names that never exist, so that whoever looks on from outside (strace) sees when a count begins and ends.
BEGIN, END = "/cost/begin", "/cost/end"


class Meter(Protocol):
    """Counts something while it is on."""

    def start(self) -> None:
        """Begin to count."""

    def stop(self, steps: int) -> None:
        """End; so many steps were taken."""


class Instructions:
    """Instructions of this thread outside the kernel, as the processor counts them.

    Attributes:
        each: How many a step had in each of the windows.
    """

    def __init__(self) -> None:
        """Open the counter."""
        self.each: list[float] = []
        self._descriptor = _counter()

    def read(self) -> int | None:
        """Return how many there were so far; None where they cannot be counted."""
        if self._descriptor is None:
            return None
        return int.from_bytes(os.read(self._descriptor, 8), sys.byteorder)

    def start(self) -> None:
        """Begin to count."""
        self._before = self.read()

    def stop(self, steps: int) -> None:
        """End."""
        after = self.read()
        if self._before is not None and after is not None:
            self.each.append((after - self._before) / steps)

    @property
    def least(self) -> float | None:
        """How many a step has; what disturbs a window only adds to it."""
        return min(self.each) if self.each and min(self.each) > 0 else None


def _counter() -> int | None:
    """Open a counter of instructions; return None where that is not permitted, or there is none."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return None
    attributes = _ATTRIBUTES.pack(_HARDWARE, _ATTRIBUTES.size, _INSTRUCTIONS, 0, 0, 0, _USER_MODE_ONLY, 0, 0, 0)
    descriptor: int = ctypes.CDLL(None).syscall(number, attributes, 0, -1, -1, 0)
    return descriptor if descriptor >= 0 else None


class Blocks:
    """Blocks of memory that Python has allocated and not freed."""

    def __init__(self) -> None:
        """Have not counted yet."""
        self.grown = 0

    def start(self) -> None:
        """Begin to count."""
        self._before = sys.getallocatedblocks()

    def stop(self, steps: int) -> None:
        """End."""
        self.grown = sys.getallocatedblocks() - self._before


class Peak:
    """The most memory that is allocated within a step, beyond what is kept."""

    def __init__(self) -> None:
        """Have not counted yet."""
        self.bytes = 0

    def start(self) -> None:
        """Begin to count."""
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]

    def stop(self, steps: int) -> None:
        """End."""
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


class Marks:
    """What shows from outside."""

    def start(self) -> None:
        """Show the begin."""
        os.access(BEGIN, os.F_OK)

    def stop(self, steps: int) -> None:
        """Show the end."""
        os.access(END, os.F_OK)


class Calls:
    """Calls of functions.

    Attributes:
        python: How many of each function of ours a step has.
        builtin: How many of each function written in C are called by those.
    """

    def __init__(self) -> None:
        """Have not counted yet."""
        self.python: dict[str, float] = {}
        self.builtin: dict[str, float] = {}

    def start(self) -> None:
        """Begin to count."""
        self._functions: collections.Counter[CodeType] = collections.Counter()
        self._builtins: collections.Counter[str] = collections.Counter()
        functions, builtins = self._functions, self._builtins

        def count(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and _is_ours(frame.f_code):
                functions[frame.f_code] += 1
            elif event == "c_call" and _is_ours(frame.f_code):
                builtins[argument.__qualname__] += 1

        sys.setprofile(count)

    def stop(self, steps: int) -> None:
        """End."""
        sys.setprofile(None)
        self.python = _shares({_name(code): count for code, count in self._functions.items()}, steps)
        self.builtin = _shares(self._builtins, steps)


class Lines:
    """Lines of ours that are executed; a loop within one line counts each round.

    Attributes:
        each: How many a step has of each function.
    """

    def __init__(self) -> None:
        """Have not counted yet."""
        self.each: dict[str, float] = {}

    def start(self) -> None:
        """Begin to count, also in the functions that are under way."""
        self._lines: collections.Counter[CodeType] = collections.Counter()
        lines = self._lines

        def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line" and _is_ours(frame.f_code):
                lines[frame.f_code] += 1
            return trace

        self._outer: list[FrameType] = []
        frame = sys._getframe().f_back
        while frame is not None:
            frame.f_trace = trace
            self._outer.append(frame)
            frame = frame.f_back
        sys.settrace(trace)

    def stop(self, steps: int) -> None:
        """End."""
        sys.settrace(None)
        for frame in self._outer:
            frame.f_trace = None
        self._outer.clear()
        self.each = _shares({_name(code): count for code, count in self._lines.items()}, steps)


def _is_ours(code: CodeType) -> bool:
    name = code.co_filename
    return (name.startswith(_OURS) and "site-packages" not in name) or name.startswith("<gymtwist.")  # generated


def _name(code: CodeType) -> str:
    """Names a function by its module and itself."""
    module = os.path.splitext(os.path.basename(code.co_filename))[0]
    return f"{module}.{getattr(code, 'co_qualname', code.co_name)}"


def _shares(counts: dict[str, int], steps: int) -> dict[str, float]:
    """Return how many there are in a step, without what is there once because a count begins and ends."""
    shares = {name: round(count / steps, 1) for name, count in sorted(counts.items())}
    return {name: share for name, share in shares.items() if share}


class Plan:
    """Which meters are on for which steps, one after the other.

    Args:
        warm: Steps before the first.
        windows: Meters, each with the steps that it is on for.
    """

    def __init__(self, warm: int, windows: list[tuple[Meter, int]]) -> None:
        """Begin with nothing."""
        self._number = 0
        self._next = warm
        self._windows = windows
        self._on: tuple[Meter, int] | None = None
        self.total = warm + sum(steps for _, steps in windows) + 1

    def step(self) -> None:
        """Note that there is another step."""
        self._number += 1
        if self._number == self._next:
            self._switch()

    def _switch(self) -> None:
        if self._on is not None:
            self._on[0].stop(self._on[1])
            self._on = None
        if self._windows:
            self._on = self._windows.pop(0)
            self._next += self._on[1]
            self._on[0].start()
