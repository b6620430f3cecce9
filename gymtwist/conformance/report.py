"""What was found: a result for every check, told to people as lines and to programs as JSON."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec


class Violation(Exception):
    """What is judged does something else than the protocol says; the text is what, and what was expected."""


class Skipped(Exception):
    """A check does not apply here; the text is why."""


class Outcome(enum.Enum):
    """How a check ended."""

    PASS = "pass"
    FAIL = "FAIL"
    SKIP = "skip"


class Result(msgspec.Struct, frozen=True):
    """How one check ended.

    Attributes:
        name: Of the check, with a dot between its theme and itself.
        protocol: In which framing it was made; empty if that is not to be told.
        outcome: How it ended.
        why: What is wrong, or why the check was left out.
    """

    name: str
    protocol: str
    outcome: Outcome
    why: str = ""


class Report:
    """Collects results, and prints each as it comes.

    Args:
        write: Prints a line.
        as_json: Whether to print one JSON object at the end instead of lines.
    """

    def __init__(self, write: Callable[[str], object], *, as_json: bool = False) -> None:
        self._write = write
        self._as_json = as_json
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        """Take a result."""
        self.results.append(result)
        if not self._as_json:
            why = f": {one_line(result.why)}" if result.why else ""
            self._write(f"{result.outcome.value}  {result.protocol:<17} {result.name}{why}")

    def finish(self) -> int:
        """Print the summary.

        Returns:
            The exit status: 0 if something was checked and nothing failed, 1 if something failed, 2 if nothing was
            checked.
        """
        counts = Counter(result.outcome for result in self.results)
        passed, failed, skipped = (counts[each] for each in (Outcome.PASS, Outcome.FAIL, Outcome.SKIP))
        if self._as_json:
            summary: dict[str, Any] = {"passed": passed, "failed": failed, "skipped": skipped}
            results = [{**msgspec.to_builtins(each), "outcome": each.outcome.name.lower()} for each in self.results]
            self._write(msgspec.json.encode({"summary": summary, "results": results}).decode())
        else:
            self._write(f"{passed} passed, {failed} failed, {skipped} skipped")
        return 1 if failed else 0 if passed else 2


def one_line(text: str, most: int = 600) -> str:
    """Put a text into one line that is not too long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."


def expect(condition: object, text: str) -> None:
    """Find a violation unless a condition holds.

    Raises:
        Violation: It does not.
    """
    if not condition:
        raise Violation(text)


def skip(why: str) -> NoReturn:
    """End a check that does not apply.

    Raises:
        Skipped: Always.
    """
    raise Skipped(why)
