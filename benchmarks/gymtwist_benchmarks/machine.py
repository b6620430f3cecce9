"""The machine, the versions of the libraries, and the load."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import mmap
import os
import platform
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

#: Without ale-py, Pong is left out.
HAS_ATARI = importlib.util.find_spec("ale_py") is not None
#: Without OpenCV, Atari's frames are not preprocessed by wrappers.
HAS_OPENCV = importlib.util.find_spec("cv2") is not None
#: Whether episodes can be recorded.
HAS_MINARI = all(importlib.util.find_spec(name) is not None for name in ("minari", "h5py"))
_LIBRARIES = ("gymtwist", "gymnasium", "ale-py", "numpy", "msgspec", "Twisted", "ampoule")


def describe() -> str:
    """Describe this machine in a sentence or two."""
    processor = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", processor)
    flags = re.search(r"flags\s*: (.*)", processor)
    kind = "virtual machine" if flags is not None and "hypervisor" in flags[1].split() else "machine"
    cores = len(os.sched_getaffinity(0))
    linux = ".".join(platform.release().split(".")[:2])
    return (
        f"A {kind} with {cores} cores ({model[1] if model else platform.machine()}), Linux {linux}, "
        f"Python {platform.python_version()}, {', '.join(_versions())}."
    )


def _versions() -> list[str]:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def costs() -> str:
    """Measure what a system call and waking up a process cost here, and say it in a sentence."""
    system_call = median(_seconds(os.getppid, 1_000) for _ in range(21))
    return (
        f"A system call takes {system_call * 1e6:.2f} us, and waking up a process on another core "
        f"{_wake_up_seconds() * 1e6:.0f} us."
    )


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def _wake_up_seconds(times: int = 1_000) -> float:
    """Return the median time from a message until a process that sleeps for it runs.

    On Linux the monotonic clock is the same for all processes.
    """
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    woke_at = memoryview(shared).cast("d")
    ours, theirs = socket.socketpair()
    sleeper = os.fork()
    if not sleeper:
        ours.close()
        while theirs.recv(1):
            woke_at[0] = time.monotonic()
            theirs.sendall(b"x")
        os._exit(0)
    theirs.close()
    took = []
    for _ in range(times):
        time.sleep(0.001)  # until it sleeps, and its core is idle
        sent_at = time.monotonic()
        ours.sendall(b"x")
        ours.recv(1)
        took.append(woke_at[0] - sent_at)
    ours.close()
    os.waitpid(sleeper, 0)
    return median(took)


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]
