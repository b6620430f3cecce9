"""The machine, the versions of the libraries, and the load."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

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


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]
