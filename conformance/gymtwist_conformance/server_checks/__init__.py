"""Checks of a server: each a test function of pytest with one fixture, ``subject``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

#: The themes of the checks, in the order in which they run; each is a module of this package.
THEMES = (
    *("framing", "make", "envs", "episode", "values"),
    *(
        "pipelining",
        "refusal",
        "forms",
        "attribute",
        "vector",
        "agents",
        "snapshot",
        "resume",
        "sharing",
        "fault",
        "websocket",
    ),
)


def name_of(theme: str, function: str) -> str:
    """Return the name of a check: its theme, a dot, and the name of its function with dashes."""
    return f"{theme}.{function.removeprefix('test_').replace('_', '-')}"


def load_checks() -> dict[str, Callable[..., None]]:
    """Import every check; return them by name."""
    return {
        name_of(theme, name): function
        for theme in THEMES
        for name, function in vars(import_module(f"{__name__}.check_{theme}")).items()
        if name.startswith("test_")
    }
