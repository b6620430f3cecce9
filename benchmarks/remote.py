"""The Python client, beside the same without a server: steps per second, in turn."""

from __future__ import annotations

import importlib.util
import statistics
from dataclasses import dataclass
from pathlib import Path

import contender
from report import Part, say
from server import Server


@dataclass(frozen=True)
class Comparison:
    """What takes turns.

    Attributes:
        title: What it is about.
        lines: Names of the table, each with the contender it is about.
        steps: Steps of a round, by contender; those of vectors are of all environments together.
        ratio: Which two contenders are divided.
        target: What their ratio should be at least; None if nothing was asked for.
        least: What the first of them should reach at least; None if nothing was asked for.
    """

    title: str
    lines: dict[str, str]
    steps: dict[str, int]
    ratio: tuple[str, str]
    target: float | None = None
    least: float | None = None


def _comparisons(scale: float) -> list[Comparison]:
    def few(steps: int) -> int:
        return int(steps * scale)

    found = [
        Comparison(
            "Steps per second of the Python client, CartPole-v1, whose pole is kept up",
            {
                "one here": "in-process",
                "one remote": "`connect`",
                "one remote by socket": "`connect`, without shared memory",
                "one async": "a local `AsyncVectorEnv` of one",
            },
            {
                "one here": few(100_000),
                "one remote": few(80_000),
                "one remote by socket": few(50_000),
                "one async": few(20_000),
            },
            ("one remote", "one async"),
            target=2.0,
        ),
        Comparison(
            "The same through the socket, an environment that does nothing, with 16 actions in a request",
            {"steps of nothing by socket": "`step`", "16 of nothing by socket": "`step_many` of 16"},
            {"steps of nothing by socket": few(50_000), "16 of nothing by socket": few(300_000)},
            ("16 of nothing by socket", "steps of nothing by socket"),
            target=5.0,
        ),
        Comparison(
            "The same through shared memory",
            {"steps of nothing": "`step`", "16 of nothing": "`step_many` of 16"},
            {"steps of nothing": few(100_000), "16 of nothing": few(300_000)},
            ("16 of nothing", "steps of nothing"),
        ),
        Comparison(
            "The same, MountainCar-v0, through the socket",
            {"steps here": "in-process", "steps by socket": "`step`", "16 by socket": "`step_many` of 16"},
            {"steps here": few(100_000), "steps by socket": few(40_000), "16 by socket": few(80_000)},
            ("16 by socket", "steps by socket"),
            target=5.0,
        ),
        Comparison(
            "The same, MountainCar-v0, through shared memory",
            {"steps here": "in-process", "steps": "`step`", "16 at once": "`step_many` of 16"},
            {"steps here": few(100_000), "steps": few(60_000), "16 at once": few(80_000)},
            ("16 at once", "steps"),
        ),
        Comparison(
            "Environment steps per second, 64 x CartPole-v1 that step together (`vector_entry_point`)",
            {"64 here": "in-process", "64 remote": "`connect_vec`, one connection"},
            {"64 here": few(20_000), "64 remote": few(10_000)},
            ("64 remote", "64 here"),
            least=300_000,
        ),
    ]
    if importlib.util.find_spec("ale_py") is not None:
        found.append(
            Comparison(
                "The same, 8 x ALE/Pong-v5 (ale-py's vector environment)",
                {"8 pongs here": "in-process", "8 pongs remote": "`connect_vec`, one connection"},
                {"8 pongs here": few(1_500), "8 pongs remote": few(1_500)},
                ("8 pongs remote", "8 pongs here"),
                target=0.85,
            )
        )
    return found


def measure(rounds: int, scale: float) -> list[Part]:
    """Measure all of them.

    Args:
        rounds: How often the contenders take turns.
        scale: How many steps each takes, as a share of the usual.
    """
    with Server("--setup", str(Path(__file__).with_name("nothing.py"))) as server:
        return [_compare(each, server.port, rounds) for each in _comparisons(scale)]


def _compare(comparison: Comparison, port: int, rounds: int) -> Part:
    samples: dict[str, list[float]] = {name: [] for name in comparison.lines}
    for number in range(rounds):
        for name in comparison.lines:
            samples[name].append(contender.measure(name, port, comparison.steps[name]))
        say(f"  round {number + 1} of {rounds}")
    part = Part(comparison.title)
    part.samples = {f"{name} per s": found for name, found in samples.items()}
    one, other = comparison.ratio
    for name, text in comparison.lines.items():
        rate = statistics.median(samples[name])
        if name == one and comparison.least is not None:
            part.add(text, f"{rate:,.0f}", f"{comparison.least:,.0f} at least", rate >= comparison.least)
        else:
            part.add(text, f"{rate:,.0f}")
    ratio = statistics.median(first / second for first, second in zip(samples[one], samples[other], strict=True))
    text = f"{comparison.lines[one]} / {comparison.lines[other]}"
    if comparison.target is None:
        part.add(text, f"{ratio:.2f}")
    else:
        part.add(text, f"{ratio:.2f}", f"{comparison.target:g} at least", ratio >= comparison.target)
    return part
