"""Environments that reach for what is gymtwist's own: its descriptors, its memory, its streams, its clock."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gymnasium import spaces

from tests.support.faulty_environments import Constructing, Doing
from tests.support.plain_environment import Plain


class Odd(BaseException):
    """An exception that is not an ``Exception``."""


class Silent(Exception):
    """An exception that cannot be told."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no words")


class Unusable(spaces.Box):
    """A space whose bounds cannot be had once it is made."""

    def __getattribute__(self, name: str) -> Any:
        """Raise, for the bounds."""
        if name == "low" and "ready" in vars(self):
            raise RuntimeError("no bounds")
        return super().__getattribute__(name)


def _status() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "gymtwist-status" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(int(name))
        except OSError:  # that of the listing itself
            continue
    return found


def shorten_vitals() -> None:
    """Take the memory away that the server looks at."""
    for descriptor in _status():
        os.ftruncate(descriptor, 0)


def _scrawl(value: float) -> None:
    frame = sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "_words"):
        assert frame.f_back is not None
        frame = frame.f_back
    words = frame.f_locals["self"]._words
    for index in range(len(words)):
        words[index] = value


def scrawl_and_hang(value: float) -> None:
    """Write the same into every word of the session status, and do not return."""
    _scrawl(value)
    time.sleep(1000)


def close_all(then: Callable[[], object]) -> None:
    """Close every descriptor, as a daemon does, and go on."""
    os.closerange(0, 4096)
    then()


def close_streams() -> None:
    """Close what Python prints to, and leave a thread."""
    sys.stdout.close()
    threading.Thread(target=threading.Event().wait, daemon=False).start()


def send_descriptors() -> dict[str, Any]:
    """Send a thousand descriptors to whoever is at the other end of a UNIX socket; return to how many there were."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                links.append(socket.socket(fileno=os.dup(int(name))))
        except OSError:  # that of the listing itself
            continue
    links = [each for each in links if each.family == socket.AF_UNIX]
    for link in links:
        for data in (b"\0\xff", b"k", b"k", b"k"):  # of a box that never ends
            socket.send_fds(link, [data], [0] * 250)
    return {"links": len(links)}


def stop_the_clock() -> None:
    """Replace the time, as libraries for tests do."""
    time.monotonic = lambda: "soon"  # type: ignore[assignment,return-value]


def fail(error: BaseException) -> None:
    """Raise that."""
    raise error


def print_empty_lines() -> None:
    """Print two million lines, of a byte each."""
    for _ in range(32):
        os.write(1, b"\n" * 65536)


def report_isolation() -> dict[str, Any]:
    """Tell what the kernel grants this process."""
    libc = ctypes.CDLL(None)
    status = Path("/proc/self/status").read_text()
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0] for name in ("CORE", "NPROC", "FSIZE")}
    return limits | {
        "dumpable": libc.prctl(3, 0, 0, 0, 0),  # PR_GET_DUMPABLE
        "no_new_privs": "NoNewPrivs:\t1" in status,
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
    }


class BadSpace(Plain):
    """Has an action space that nobody can describe."""

    def __init__(self, render_mode: str | None = None) -> None:
        """Make it."""
        super().__init__(render_mode)
        self.action_space = Unusable(-1.0, 1.0, (2,))
        vars(self.action_space)["ready"] = True


HOSTILE: dict[str, Callable[..., Plain]] = {
    "ShortenVitals": partial(Doing, shorten_vitals),
    "ScrawlNan": partial(Doing, partial(scrawl_and_hang, math.nan)),
    "ScrawlInfinity": partial(Doing, partial(scrawl_and_hang, math.inf)),
    "ScrawlFuture": partial(Doing, partial(scrawl_and_hang, 1e15)),
    "CloseAllAndHang": partial(Doing, partial(close_all, partial(time.sleep, 1000))),
    "CloseAllInMake": partial(Constructing, partial(close_all, int)),
    "CloseStreams": partial(Doing, close_streams),
    "SendDescriptors": partial(Doing, send_descriptors),
    "StopTheClock": partial(Doing, stop_the_clock),
    "RaiseOdd": partial(Doing, partial(fail, Odd("not yours"))),
    "RaiseOddInMake": partial(Constructing, partial(fail, Odd("not yours"))),
    "RaiseSilent": partial(Doing, partial(fail, Silent())),
    "RaiseSurrogate": partial(Doing, partial(fail, ValueError("\udc80"))),
    "PrintEmptyLines": partial(Doing, print_empty_lines),
    "ReportIsolation": partial(Doing, report_isolation),
    "BadSpace": BadSpace,
}
