"""Environments that do what an environment must not do."""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from tests.support.plain_environment import Plain

MEBIBYTE = 1 << 20


class Doing(Plain):
    """Does something in a step, and return what that returns as the info."""

    def __init__(self, deed: Callable[[], dict[str, Any] | None], render_mode: str | None = None) -> None:
        """Take what to do."""
        super().__init__(render_mode)
        self.deed = deed

    def act(self, action: Any) -> dict[str, Any]:
        """Do it."""
        return self.deed() or {}


class Constructing(Plain):
    """Does something in its constructor."""

    def __init__(self, deed: Callable[[], object], render_mode: str | None = None) -> None:
        """Do it."""
        super().__init__(render_mode)
        deed()


class Resetting(Plain):
    """Does something in reset."""

    def __init__(self, deed: Callable[[], object], render_mode: str | None = None) -> None:
        """Take what to do."""
        super().__init__(render_mode)
        self.deed = deed

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Do it."""
        self.deed()
        return super().reset(**arguments)


def segfault() -> None:
    """Read address 0."""
    ctypes.string_at(0)


def fail() -> None:
    """Raise."""
    raise ValueError("the pole is not there")


def hang() -> None:
    """Sleep for ever, deaf to every signal that can be blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(3600)


def hang_aloud() -> None:
    """Says so, then sleeps for ever."""
    print("the constructor hangs", flush=True)
    hang()


def spin() -> None:
    """Hold the interpreter's lock for ever, and say so before."""
    print("spinning", flush=True)
    ctypes.PyDLL(None).sleep(1_000_000)


def eat(mebibytes: int) -> dict[str, Any]:
    """Take memory and touches it, up to a bound that a machine survives without a limit."""
    chunks = []
    for _ in range(0, mebibytes, 64):
        chunk = bytearray(64 * MEBIBYTE)
        chunk[::4096] = b"\1" * (len(chunk) // 4096)
        chunks.append(chunk)
    return {"eaten": 64 * len(chunks)}


def share(mebibytes: int) -> dict[str, Any]:
    """Fills memory that processes could share, and stays."""
    memory = mmap.mmap(-1, mebibytes * MEBIBYTE)
    memory.write(b"\1" * len(memory))
    hang()
    return {}


class Hoard(Plain):
    """Takes memory in each reset, and keeps it."""

    def __init__(self, mebibytes: int = 96, render_mode: str | None = None) -> None:
        """Take the amount."""
        super().__init__(render_mode)
        self.mebibytes = mebibytes
        self.hoard: list[bytes] = []

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Take more."""
        self.hoard.append(b"\1" * (self.mebibytes * MEBIBYTE))
        return super().reset(**arguments)

    def act(self, action: Any) -> dict[str, Any]:
        """Tell the process."""
        return {"process": os.getpid()}


def print_lines() -> None:
    """Print 5 MB in lines."""
    for index in range(50_000):
        print(f"line {index:06d} " + "x" * 88)
    sys.stdout.flush()


def print_one_line() -> None:
    """Print 5 MB without an end of line."""
    rest = memoryview(b"y" * 5_000_000)
    while rest:
        rest = rest[os.write(2, rest) :]


def leave_thread() -> None:
    """Leave a thread that never ends and is not a daemon."""
    threading.Thread(target=threading.Event().wait, daemon=False).start()


def _daemon() -> int:
    """Start a process as daemons start: forked twice, in a session of its own; return its number."""
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            os.execvp("sleep", ["sleep", "1000"])
        os._exit(0)
    os.waitpid(first, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return int(pipe.read(32))


def leave_children() -> dict[str, Any]:
    """Leave processes behind, each harder to find than the last."""
    plain = subprocess.Popen(["sleep", "1000"])
    apart = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    return {"plain": plain.pid, "apart": apart.pid, "daemon": _daemon()}


class Files(Plain):
    """Keeps two files: close() removes one, the end of the interpreter the other."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Make the files."""
        self.closing, self.exiting = (tempfile.mkstemp(prefix="gymtwist-test-")[1] for _ in range(2))
        atexit.register(os.unlink, self.exiting)
        return super().reset(**arguments)

    def act(self, action: Any) -> dict[str, Any]:
        """Says where they are."""
        return {"closing": self.closing, "exiting": self.exiting}

    def close(self) -> None:
        """Remove the first and says so."""
        Path(self.closing).unlink()
        print("the environment was closed", flush=True)


class ShortSteps(Plain):
    """Takes a moment for each step, and says what it does."""

    def act(self, action: Any) -> dict[str, Any]:
        """Take a moment."""
        print("a short step", flush=True)
        time.sleep(0.05)
        return {}

    def close(self) -> None:
        """Says so."""
        print("closed in order", flush=True)


class WrongShape(Plain):
    """Returns observations that are not in its space."""

    def __init__(self, at_reset: bool, render_mode: str | None = None) -> None:
        """Take the place where to go wrong."""
        super().__init__(render_mode)
        self.wrong = at_reset

    def observe(self) -> Any:
        """Return four zeros where two belong, from some time on."""
        wrong, self.wrong = self.wrong, True
        return np.zeros(4 if wrong else 2, np.float32)


class TwoResults(Plain):
    """Returns two results from step."""

    def step(self, action: Any) -> Any:
        """Return too little."""
        return self.observe(), 1.0


class Chosen(Plain):
    """Goes wrong as its client chooses: by a kwarg in the constructor, by an option in reset, by the action in step."""

    action_space = spaces.Discrete(4)
    deeds: tuple[Callable[[], object], ...] = (lambda: None, segfault, hang, fail)

    def __init__(self, make: int = 0, render_mode: str | None = None) -> None:
        """Do what is chosen."""
        super().__init__(render_mode)
        self.deeds[make]()
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Do what is chosen."""
        self.deeds[(options or {}).get("reset", 0)]()
        return super().reset(seed=seed)

    def act(self, action: Any) -> dict[str, Any]:
        """Do what is chosen; return how often that was nothing, and in which process."""
        self.deeds[action]()
        self.steps += 1
        return {"steps": self.steps, "process": os.getpid()}


class Once(Plain):
    """Can be made once in a directory, and then crashes in a step."""

    def __init__(self, render_mode: str | None = None) -> None:
        """Leave a file that is in the way of another."""
        super().__init__(render_mode)
        with open("once", "x"):
            pass

    def act(self, action: Any) -> dict[str, Any]:
        """Crash."""
        segfault()
        return {}


class HangingClose(Plain):
    """Does not return from close()."""

    def close(self) -> None:
        """Hang."""
        hang()


FAULTS: dict[str, Callable[..., Plain]] = {
    "SegfaultInStep": partial(Doing, segfault),
    "SegfaultInReset": partial(Resetting, segfault),
    "SegfaultInMake": partial(Constructing, segfault),
    "ExitInStep": partial(Doing, partial(os._exit, 3)),
    "ExitInMake": partial(Constructing, partial(os._exit, 3)),
    "SystemExitInStep": partial(Doing, partial(sys.exit, 3)),
    "RaiseInStep": partial(Doing, fail),
    "RaiseInReset": partial(Resetting, fail),
    "RaiseInMake": partial(Constructing, fail),
    "HangInStep": partial(Doing, hang),
    "HangInReset": partial(Resetting, hang),
    "HangInClose": HangingClose,
    "HangInMake": partial(Constructing, hang_aloud),
    "SpinInStep": partial(Doing, spin),
    "EatInStep": partial(Doing, partial(eat, 4096)),
    "EatSome": partial(Doing, partial(eat, 1024)),
    "Hoard": Hoard,
    "Share": partial(Doing, partial(share, 600)),
    "SlowStep": partial(Doing, partial(time.sleep, 1.5)),
    "PrintLines": partial(Doing, print_lines),
    "PrintOneLine": partial(Doing, print_one_line),
    "LeaveThread": partial(Doing, leave_thread),
    "LeaveChildren": partial(Doing, leave_children),
    "Files": Files,
    "ShortSteps": ShortSteps,
    "WrongShapeInReset": partial(WrongShape, True),
    "WrongShapeInStep": partial(WrongShape, False),
    "TwoResults": TwoResults,
    "Chosen": Chosen,
    "Once": Once,
}
