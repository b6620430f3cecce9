"""A check: a function that makes connections and raises what it finds, with a name and a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gymtwist.conformance.server.subject import Subject


@dataclass(frozen=True)
class Check:
    """One check of a server.

    Attributes:
        name: Its theme, a dot, and what it looks at.
        run: Raises :class:`~gymtwist.conformance.report.Violation` or
            :class:`~gymtwist.conformance.report.Skipped`.
    """

    name: str
    run: Callable[[Subject], None]

    @property
    def says(self) -> str:
        """What must hold, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


class Theme:
    """Checks that belong together.

    Args:
        name: The first part of their names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []

    def __call__(self, function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Make a check of a function; its name, with dashes, is the second part of the check's."""
        self.checks.append(Check(f"{self.name}.{function.__name__.replace('_', '-')}", function))
        return function
