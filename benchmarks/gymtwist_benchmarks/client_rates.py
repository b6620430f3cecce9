"""The rates of the Python client, beside the same without a server, in turn."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from gymtwist_benchmarks.benchmark_runner import THIS_PYTHON, Effort, Run, Series
from gymtwist_benchmarks.benchmark_runner import measure as play_in_turn
from gymtwist_benchmarks.contenders import BY_NAME
from gymtwist_benchmarks.machine import HAS_ATARI
from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.server_launcher import Failed


@dataclass(frozen=True)
class Comparison:
    """Contenders that take turns at a workload.

    Attributes:
        title: The title of its section.
        workload: The workload's name.
        lines: The lines of the table, by the name of a contender.
        ratio: The contenders whose rates are divided.
        target: The least ratio that meets the target, if there is one.
        least: The least rate of the first of them that meets the target, if there is one.
    """

    title: str
    workload: str
    lines: dict[str, str]
    ratio: tuple[str, str]
    target: float | None = None
    least: float | None = None


_SHARED = {"gymtwist": "`step`", "gymtwist-step-many": "`step_many` of 16"}
_SOCKET = {"gymtwist-socket": "`step`", "gymtwist-socket-step-many": "`step_many` of 16"}
_HERE = {"inprocess": "in-process"}
_VECTOR = {"gymtwist": "`connect_vec`, one connection"}

COMPARISONS = (
    Comparison(
        "Steps per second of the Python client, CartPole-v1, whose pole is kept up",
        "cartpole",
        {
            **_HERE,
            "gymtwist": "`connect`",
            "gymtwist-socket": "`connect`, without shared memory",
            "async-vector": "a local `AsyncVectorEnv` of one",
        },
        ("gymtwist", "async-vector"),
        target=2.0,
    ),
    Comparison(
        "The same through the socket, an environment that does nothing, with 16 actions in a request",
        "no-op",
        _SOCKET,
        ("gymtwist-socket-step-many", "gymtwist-socket"),
        target=5.0,
    ),
    Comparison("The same through shared memory", "no-op", _SHARED, ("gymtwist-step-many", "gymtwist")),
    Comparison(
        "The same, MountainCar-v0, through the socket",
        "mountain-car",
        _HERE | _SOCKET,
        ("gymtwist-socket-step-many", "gymtwist-socket"),
        target=5.0,
    ),
    Comparison(
        "The same, MountainCar-v0, through shared memory",
        "mountain-car",
        _HERE | _SHARED,
        ("gymtwist-step-many", "gymtwist"),
    ),
    Comparison(
        "Environment steps per second, 64 x CartPole-v1 that step together (`vector_entry_point`)",
        "cartpole-64",
        _HERE | _VECTOR,
        ("gymtwist", "inprocess"),
        least=300_000,
    ),
    Comparison(
        "The same, 8 x ALE/Pong-v5, preprocessed (ale-py's vector environment)",
        "pong-84x84-8",
        {"ale-vector": "in-process"} | _VECTOR,
        ("gymtwist", "ale-vector"),
        target=0.85,
    ),
)


def measure(rounds: int, seconds: float) -> list[Section]:
    """Make all comparisons, with rounds of so many seconds; without ale-py, Pong is left out."""
    effort = Effort(rounds, seconds, (1,))
    return [_compare(each, effort) for each in COMPARISONS if HAS_ATARI or "pong" not in each.workload]


def _compare(comparison: Comparison, effort: Effort) -> Section:
    contenders = tuple(BY_NAME[name] for name in comparison.lines)
    rates: dict[str, dict[int, float]] = {name: {} for name in comparison.lines}

    def note(run: Run) -> None:
        if run.error:
            raise Failed(f"{run.contender} cannot be measured: {run.error}")
        rates[run.contender][run.round] = run.rate
        if run.contender == contenders[-1].name:
            say(f"  round {run.round + 1} of {effort.rounds}")

    series = Series(comparison.workload, 1, contenders)
    play_in_turn(series, dict.fromkeys(comparison.lines, THIS_PYTHON), effort, note)
    samples = {f"{name} per s": list(found.values()) for name, found in rates.items()}
    section = Section(comparison.title, samples=samples)
    one, other = comparison.ratio
    for name, text in comparison.lines.items():
        rate, least = statistics.median(rates[name].values()), comparison.least if name == one else None
        section.add(text, f"{rate:,.0f}", *((f"{least:,g} at least", rate >= least) if least is not None else ()))
    text = f"{comparison.lines[one]} / {comparison.lines[other]}"
    section.add_ratio(text, list(rates[one].values()), list(rates[other].values()), comparison.target)
    return section
