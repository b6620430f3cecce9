"""Runs the checks: each in every framing, whatever the others found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from gymtwist.conformance.report import Outcome, Result, Skipped, Violation
from gymtwist.conformance.server import (
    episodes,
    faults,
    framing,
    making,
    pipelining,
    refusals,
    sharings,
    values,
    vectors,
)
from gymtwist.conformance.server.check import Check
from gymtwist.conformance.server.subject import Options, Subject

THEMES = (
    framing.framing,
    making.make,
    episodes.episode,
    values.values,
    pipelining.pipelining,
    refusals.refusal,
    vectors.vector,
    sharings.sharing,
    faults.fault,
)
#: Every check, in the order in which they are run.
CHECKS: tuple[Check, ...] = tuple(check for theme in THEMES for check in theme.checks)


def chosen(patterns: Sequence[str]) -> list[Check]:
    """Choose checks.

    Args:
        patterns: Each a name, the name of a theme, or one with ``*`` in it; none for all checks.
    """
    return [check for check in CHECKS if not patterns or any(_is_meant(check, each) for each in patterns)]


def _is_meant(check: Check, pattern: str) -> bool:
    return fnmatchcase(check.name, pattern) or check.name.startswith(f"{pattern}.")


def results(options: Options, checks: Iterable[Check]) -> Iterator[Result]:
    """Run checks against a server, one after another, and say how each ended.

    Args:
        options: What is known of the server, and in which framings it is judged.
        checks: Which ones.
    """
    checks = list(checks)
    for protocol in options.framings:
        for check in checks:
            outcome, why = _run_one(check, Subject(options, protocol))
            yield Result(check.name, protocol.value, outcome, why)


def _run_one(check: Check, subject: Subject) -> tuple[Outcome, str]:
    try:
        with subject:
            check.run(subject)
    except Skipped as why:
        return Outcome.SKIP, str(why)
    except Violation as violation:
        return Outcome.FAIL, str(violation)
    except OSError as error:
        return Outcome.FAIL, f"the connection failed: {error}"
    except Exception as error:
        # What a server sends can be wrong in ways that no check thought of: it is that check that has failed.
        return Outcome.FAIL, f"the replies could not be read: {type(error).__name__}: {error}"
    return Outcome.PASS, ""
