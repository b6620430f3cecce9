"""Detects which modules start threads while they are imported: a forked process does not have these threads."""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

#: Packages that started threads, with the number of threads; empty until :func:`watched` has been used.
found: Counter[str] = Counter()


def threads() -> frozenset[str]:
    """Return the ids of this process's threads, native ones included; empty on systems other than Linux."""
    return frozenset(os.listdir("/proc/self/task")) if sys.platform.startswith("linux") else frozenset()


@contextmanager
def watched(module: str) -> Iterator[None]:
    """Record in :data:`found` which modules start threads within the context.

    Args:
        module: The module that runs; threads not started by one of its imports count as its own.
    """
    known = threads()
    original = builtins.__import__

    def note(name: str) -> None:
        nonlocal known
        now = threads()
        if new := len(now - known):
            found[name.partition(".")[0]] += new
        known = now

    def noting_import(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        importer = globals or {}
        full = importlib.util.resolve_name("." * level + name, importer.get("__package__")) if level else name
        if full in sys.modules:
            return original(name, globals, locals, fromlist, level)
        note(importer.get("__name__", module))
        try:
            return original(name, globals, locals, fromlist, level)
        finally:
            note(full)

    builtins.__import__ = noting_import
    try:
        yield
    finally:
        if builtins.__import__ is noting_import:
            builtins.__import__ = original
        note(module)


def describe() -> str:
    """Return the modules that started threads, with their number, as one clause."""
    return ", ".join(f"{module} ({count})" for module, count in found.items())
