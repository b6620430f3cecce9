"""What a step may cost: counts, which are the same on every machine however busy it is.

Calls and lines are the same in every version of Python from 3.10 on. Instructions are a ratio to those of a loop that
is measured beside, see :func:`~tests.support.cost_scenarios.reference`; they vary by a hundredth from run to run, and
by a tenth from one version to another. A change that makes a step cheaper lowers the budget; one that must
raise it says why. ``python -m tests.support.cost_scenarios int32`` prints the counts.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.cost_counters import BEGIN, END
from tests.support.cost_scenarios import LONG, SHORT
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


class Budget(NamedTuple):
    """What a step may cost at most.

    Attributes:
        calls: Functions of ours that are called.
        builtins: Functions written in C that those call.
        lines: Lines of ours.
        ratio: Instructions, as a share of the reference's; None if they are not the same each time.
        system_calls: Which, and how many of each: neither more nor fewer.
    """

    calls: float
    builtins: float
    lines: float
    ratio: float | None
    system_calls: dict[str, int]


#: Two calls and five lines of each are the environment's and the plan's. A call and three lines of the sessions' choose
#: how to wait at the socket, and are found not to poll there. Some lines of int32 keep what goes wrong with an odd
#: info apart from what is sent. Where memory is shared, three lines of the client's and one of the session's look
#: whether replies have places there, which small ones have not.
BUDGETS = {
    "int32": Budget(13, 15, 83, 2.35, {"recvfrom": 1, "sendto": 1}),
    "netstring": Budget(22, 21, 121, 4.0, {"recvfrom": 1, "sendmsg": 1}),
    "classic": Budget(16, 12, 78, 1.8, {"recvfrom": 1, "sendto": 1}),
    "client": Budget(16, 9, 85, 1.75, {"recvfrom": 1, "sendto": 1}),
    "int32-frame": Budget(15, 21, 91, 2.8, {"recvfrom": 1, "sendmsg": 1}),
    "classic-frame": Budget(16, 15, 79, 2.2, {"recvfrom": 1, "sendmsg": 1}),
    # One call more than without nesting, in the client. The functions that are generated for the space count.
    "int32-nested": Budget(13, 20, 84, None, {"recvfrom": 1, "sendto": 1}),
    "client-nested": Budget(17, 8, 87, None, {"recvfrom": 1, "sendto": 1}),
    # Where memory is shared: how many instructions a step has depends on how long it is polled.
    "int32-shared": Budget(12, 13, 79, None, {}),
    "netstring-shared": Budget(20, 20, 121, None, {}),
    "client-shared": Budget(11, 6, 76, None, {}),
}
#: What polls, and is called as often as it takes: the module, and the function, as Python 3.10 knows no more of it.
POLLING = {
    ("shared_memory", "poll_word"),
    ("shared_memory_transport", "_poll"),
    ("perf_counter", "perf_counter"),
    ("sched_yield", "sched_yield"),
}
#: Bytes of memory that a step may take for a while. A frame has 100,800.
PEAKS = {**dict.fromkeys(BUDGETS, 2_500), "client-frame": 103_000}
subjects = pytest.mark.parametrize("subject", BUDGETS)


#: With what each step does besides.
BURDENED, HEAVY = "int32+something", "int32+instructions"
WITH_SYSTEM_CALLS = [name for name in BUDGETS if not name.endswith(("-frame", "-nested"))]


def run(*arguments: str, subjects: Collection[str], under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Count, in an interpreter that no coverage is measured of: that would be counted, too."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_CORE_"))}
    return subprocess.run(
        [*under, sys.executable, "-m", "tests.support.cost_scenarios", *arguments, *subjects],
        cwd=ROOT,
        env={**variables, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * len(subjects),
        check=False,
    )


def results(ended: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return what a run wrote, by subject."""
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return {each.pop("subject"): each for each in lines}


@cache
def counts() -> tuple[dict[str, dict[str, Any]], str]:
    """Return what was counted, and errors; most of the time of a process of its own would go into its imports."""
    try:
        ended = run(subjects=[*PEAKS, BURDENED, HEAVY])
    except subprocess.TimeoutExpired as error:  # once for all tests
        return {}, str(error)
    return results(ended), ended.stderr


def counted(subject: str) -> dict[str, Any]:
    """Return what was counted of a subject."""
    found, errors = counts()
    assert subject in found, errors
    return found[subject]


def ratio_of(found: dict[str, Any]) -> float:
    """Return the instructions as a share of the reference's; skip the test where they cannot be counted."""
    if found["instructions"] is None or found["reference"] is None:
        pytest.skip("there is no counting of instructions here: perf_event_open(2) is not permitted, or has no counter")
    return float(found["instructions"] / found["reference"])


@pytest.fixture(scope="module")
def system_calls(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, float]]:
    """How many system calls a step of a subject makes, by name; skips the test where they cannot be counted."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace, which counts system calls")
    trace = tmp_path_factory.mktemp("traces") / "trace"
    ended = run("--marks", subjects=[*WITH_SYSTEM_CALLS, BURDENED], under=(strace, "-ff", "-o", str(trace)))
    if ended.returncode and "ptrace" in ended.stderr.lower():
        pytest.skip("strace is not permitted here")
    found = results(ended)

    def system_calls(subject: str) -> dict[str, float]:
        assert subject in found, ended.stderr
        numbers: collections.Counter[str] = collections.Counter()
        on = False
        for line in trace.with_name(f"{trace.name}.{found[subject]['process']}").read_text().splitlines():
            if BEGIN in line:
                on = True
            elif END in line:
                on = False
            elif on:
                numbers[line.partition("(")[0]] += 1
        return {name: count / SHORT for name, count in numbers.items()}

    return system_calls


@subjects
@pytest.mark.parametrize("kind", ["calls", "builtins", "lines"])
def test_the_work_of_a_step(subject: str, kind: str) -> None:
    """Is no more than it was."""
    each = counted(subject)[kind]
    work = sum(count for name, count in each.items() if (name.split(".")[0], name.split(".")[-1]) not in POLLING)
    assert work <= getattr(BUDGETS[subject], kind), each


@pytest.mark.parametrize("subject", [name for name, budget in BUDGETS.items() if budget.ratio is not None])
def test_the_instructions_of_a_step(subject: str) -> None:
    """Are no more than they were, beside those of a loop that does about as much."""
    assert ratio_of(counted(subject)) <= (BUDGETS[subject].ratio or 0.0)


@pytest.mark.parametrize("subject", PEAKS)
def test_the_memory_of_a_step(subject: str) -> None:
    """Is all given back."""
    assert counted(subject)["blocks"] < LONG / 20


@pytest.mark.parametrize("subject", PEAKS)
def test_the_copies_of_a_step(subject: str) -> None:
    """Are none of a frame that is sent, and one of a frame that is received: whoever gets it may keep it."""
    assert counted(subject)["peak"] <= PEAKS[subject]


@pytest.mark.parametrize("subject", WITH_SYSTEM_CALLS)
def test_the_system_calls_of_a_step(subject: str, system_calls: Callable[[str], dict[str, float]]) -> None:
    """Are two: one that reads and one that writes; where memory is shared there are none but to give way."""
    found = system_calls(subject)
    if subject.endswith("-shared"):
        found.pop("sched_yield", None)
    assert found == BUDGETS[subject].system_calls


# What is counted would be counted


@pytest.mark.parametrize(("kind", "more"), [("calls", 1), ("builtins", 2), ("lines", 3)])
def test_a_burden_on_a_step(kind: str, more: int) -> None:
    """Is seen."""
    bare, burdened = (sum(counted(subject)[kind].values()) for subject in ("int32", BURDENED))
    assert burdened == bare + more


def test_a_burden_of_memory() -> None:
    """Is seen."""
    assert counted(BURDENED)["blocks"] >= LONG


def test_a_burden_of_instructions() -> None:
    """Is seen, even in one line without a call."""
    assert ratio_of(counted(HEAVY)) > (BUDGETS["int32"].ratio or 0.0)


def test_a_burden_of_system_calls(system_calls: Callable[[str], dict[str, float]]) -> None:
    """Is seen."""
    assert system_calls(BURDENED)["getppid"] == 1
