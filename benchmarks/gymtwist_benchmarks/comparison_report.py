"""The result of the comparison: medians, ratios, tables."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gymtwist_benchmarks.benchmark_runner import Run, median_ratio
from gymtwist_benchmarks.contenders import NOTES, Contender
from gymtwist_benchmarks.markdown_report import table
from gymtwist_benchmarks.workloads import COMPUTED, WORKLOADS

#: The contender with which the others are compared.
OURS, LIMIT = "gymtwist", "inprocess"
_DASH = "-"
#: Libraries that affect the rates, besides a contender's own requirements.
_LIBRARIES = ("gymtwist", "gymnasium", "ale-py", "mujoco", "numpy", "msgspec", "twisted", "grpcio", "protobuf")


@dataclass(frozen=True)
class Target:
    """A ratio of two contenders at one workload, with one client, that the project aims at.

    Attributes:
        title: Its title in the table.
        workload: The workload's name.
        contender: The contender whose rate is divided.
        against: Those by whose rate it is divided: of several, the fastest. Empty: all alternatives with a server.
        least: The least ratio that meets the target.
        ahead: Whether the ratio must be more than 1 instead.
    """

    title: str
    workload: str
    contender: str
    against: tuple[str, ...]
    least: float = 1.0
    ahead: bool = False


TARGETS = (
    Target("CartPole / gym-socket-api", "cartpole", "gymtwist", ("gym-socket-api",), 2.5),
    Target("CartPole / `AsyncVectorEnv` of one", "cartpole", "gymtwist", ("async-vector",), 2.0),
    Target("CartPole / dm_env_rpc", "cartpole", "gymtwist", ("dm-env-rpc",), 5.0),
    Target("CartPole / OpenEnv as its template", "cartpole", "gymtwist", ("openenv-template",), 8.0),
    Target("CartPole / OpenEnv, tuned", "cartpole", "gymtwist", ("openenv",), 8.0),
    Target("CartPole / gym-http-api", "cartpole", "gymtwist", ("gym-http-api",), 25.0),
    Target(
        "CartPole, classic protocol / gym-socket-api, the same client",
        "cartpole",
        "gymtwist-classic",
        ("gym-socket-api",),
        1.3,
    ),
    Target("CartPole, REST / gym-http-api, its client", "cartpole", "gymtwist-rest", ("gym-http-api",), 10.0),
    Target("The same, both with kept connections", "cartpole", "gymtwist-rest", ("gym-http-api-keep-alive",), 3.0),
    Target("CartPole, OpenEnv's client / its template", "cartpole", "gymtwist-openenv", ("openenv-template",), 3.0),
    Target("CartPole, Node.js, WebSocket / TCP", "cartpole", "gymtwist-websocket", ("gymtwist-javascript-lists",), 0.7),
    Target(
        "Pong frames, Node.js, binary WebSocket / Int32",
        "pong",
        "gymtwist-websocket-binary",
        ("gymtwist-javascript-int32",),
        0.8,
    ),
    Target("Pong frames / in-process", "pong", "gymtwist", ("inprocess",), 0.9),
    Target("Pong frames / the fastest peer with a server", "pong", "gymtwist", (), ahead=True),
    Target("64 x CartPole / EnvPool in-process", "cartpole-64", "gymtwist", ("envpool", "envpool-1"), ahead=True),
    Target(
        "8 x Pong preprocessed / EnvPool in-process", "pong-84x84-8", "gymtwist", ("envpool", "envpool-1"), ahead=True
    ),
)


@dataclass
class Document:
    """The comparison, as it is written to a file.

    Attributes:
        machine: A sentence about the machine.
        load_before: The load average before it began.
        effort: How much was measured: rounds, seconds, clients.
        packages: Versions of what was installed, by contender and package.
        runs: Every round of every contender, in order.
    """

    machine: str
    load_before: float
    effort: dict[str, Any]
    packages: dict[str, dict[str, str]]
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def read(cls, data: dict[str, Any]) -> Document:
        """Convert the JSON of a file."""
        return cls(**{**data, "runs": [Run(**each) for each in data["runs"]]})

    def series(self) -> list[tuple[str, int]]:
        """List the workloads, each with a number of clients, in the order played."""
        return list(dict.fromkeys((run.workload, run.clients) for run in self.runs))

    def rates(self, contender: str, workload: str, clients: int = 1) -> dict[int, float]:
        """Return steps per second by round."""
        return {
            run.round: run.rate
            for run in self.runs
            if (run.contender, run.workload, run.clients) == (contender, workload, clients) and not run.error
        }

    def client_cpu(self, contender: str, workload: str) -> float:
        """Return the median of the microseconds of processor time that a step takes one client."""
        played = (run for run in self.runs if (run.contender, run.workload, run.clients) == (contender, workload, 1))
        return statistics.median(1e6 * run.cpu / run.steps for run in played if run.steps)

    def failure(self, contender: str, workload: str, clients: int = 1) -> str:
        """Return why a contender has no rate; empty if it has one, or did not take part."""
        errors = [
            run.error
            for run in self.runs
            if (run.contender, run.workload, run.clients) == (contender, workload, clients) and run.error
        ]
        return errors[0] if errors and not self.rates(contender, workload, clients) else ""


def median(rates: dict[int, float]) -> float | None:
    """Return the median; None of nothing."""
    return statistics.median(rates.values()) if rates else None


def rate_text(rate: float | None) -> str:
    """Write steps per second."""
    if rate is None:
        return _DASH
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def ratio_text(value: float | None) -> str:
    """Write a ratio with its significant digits."""
    if value is None:
        return _DASH
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def workload_table(document: Document, contenders: Iterable[Contender], workload: str) -> str:
    """Compare the contenders that played a workload with one client."""
    known = [each for each in contenders if document.rates(each.name, workload)]
    ours = document.rates(OURS, workload)
    limit = next((document.rates(each.name, workload) for each in known if each.kind == "limit"), {})
    head = (
        "",
        "steps per second",
        "lowest to highest",
        "client's us",
        "of in-process",
        "gymtwist is ... times as fast",
    )
    rows = [head]
    for each in sorted(known, key=lambda each: -(median(document.rates(each.name, workload)) or 0)):
        rates = document.rates(each.name, workload)
        title = f"**{each.title}**" if each.name == OURS else each.title
        rows.append(
            (
                title,
                rate_text(median(rates)),
                f"{rate_text(min(rates.values()))} to {rate_text(max(rates.values()))}",
                f"{document.client_cpu(each.name, workload):.1f}",
                ratio_text(median_ratio(rates, limit)),
                _DASH if each.name == OURS else ratio_text(median_ratio(ours, rates)),
            )
        )
    return table(rows, numbers=True)


def clients_table(document: Document, contenders: Iterable[Contender], workload: str) -> str:
    """Show the rates with several clients: steps per second of all together."""
    counts = sorted({clients for name, clients in document.series() if name == workload})
    rows = [("clients at once", *map(str, counts))]
    for each in contenders:
        rates = [median(document.rates(each.name, workload, count)) for count in counts]
        if any(rate is not None for count, rate in zip(counts, rates, strict=True) if count > 1):
            rows.append((each.title, *map(rate_text, rates)))
    return table(rows, numbers=True)


def overheads(document: Document, contender: str) -> dict[int, float]:
    """Return what a contender's step takes longer than in-process, in microseconds, by the length of a step."""
    found = {}
    for workload in COMPUTED:
        middle = median(document.rates(contender, workload.name))
        limit = median(document.rates(LIMIT, workload.name))
        if middle and limit:
            found[workload.computes] = 1e6 / middle - 1e6 / limit
    return found


def overheads_table(document: Document, contenders: Iterable[Contender]) -> str:
    """Show the overheads in microseconds."""
    rows = [("microseconds that a step computes for", *(f"{each.computes:,}" for each in COMPUTED))]
    for each in contenders:
        if each.name != LIMIT and (found := overheads(document, each.name)):
            texts = (f"{found[key.computes]:.1f}" if key.computes in found else _DASH for key in COMPUTED)
            rows.append((f"**{each.title}**" if each.name == OURS else each.title, *texts))
    return table(rows, numbers=True)


def failures(document: Document, contenders: Iterable[Contender]) -> list[str]:
    """List which contenders could not play which workloads, and why."""
    found = []
    for each in contenders:
        for workload, clients in document.series():
            if text := document.failure(each.name, workload, clients):
                found.append(f"- {each.title}, {workload}, {clients} at once: {text}")
    return found


def verdict(document: Document, target: Target, contenders: Iterable[Contender]) -> tuple[str, str, str, str] | None:
    """Judge a target; None if its contenders did not play."""
    one = document.rates(target.contender, target.workload)
    names = target.against or tuple(each.name for each in contenders if each.kind == "network")
    found = [median_ratio(one, document.rates(name, target.workload)) for name in names]
    known = [each for each in found if each is not None]
    if not known:
        return None
    least = min(known)
    met = least > 1 if target.ahead else least >= target.least
    wanted = "ahead" if target.ahead else f"{target.least:g} at least"
    text = f"{least:.3f}" if target.least < 1 else ratio_text(least)
    return target.title, text, wanted, "met" if met else "missed"


def write(document: Document, contenders: Sequence[Contender], images: Mapping[str, str] | None = None) -> str:
    """Write everything as Markdown, with links to plots by the name of a workload, ``clients`` or ``vectors``."""
    effort, links = document.effort, images or {}
    parts = [
        f"{document.machine} Load average before the run: {document.load_before:.2f}. "
        f"{effort['rounds']} rounds of {effort['seconds']:g} seconds each."
    ]
    verdicts = [found for target in TARGETS if (found := verdict(document, target, contenders)) is not None]
    if verdicts:
        head = ("gymtwist, divided by the other", "measured", "target", "")
        parts += ["### What was aimed at", table([head, *verdicts], numbers=True)]

    def show(title: str, rows: str, image: str) -> None:
        parts.extend([f"### {title}", rows])
        if image in links:
            parts.append(f"![{title}]({links[image]})")

    played = document.series()
    for workload in dict.fromkeys(name for name, _ in played if not WORKLOADS[name].computes):
        title = WORKLOADS[workload].title
        if (workload, 1) in played:
            show(title, workload_table(document, contenders, workload), workload)
        if any(name == workload and clients > 1 for name, clients in played):
            rows = clients_table(document, contenders, workload)
            show(f"{title}: several clients at once", rows, "clients")
    if any(WORKLOADS[name].computes for name, _ in played):
        rows = overheads_table(document, contenders)
        show("Microseconds that a step takes longer than in-process", rows, "overheads")
    if "vectors" in links:
        parts += [f"![CartPole, many environments that step together]({links['vectors']})"]
    if missing := failures(document, contenders):
        parts += ["### What did not run", "\n".join(missing)]
    parts += ["### Who took part", participants(document, contenders)]
    return "\n\n".join(parts)


def machines_table(documents: Sequence[Document], contenders: Sequence[Contender]) -> str:
    """Show what was aimed at by machine, side by side.

    Args:
        documents: The results of each machine.
        contenders: The contenders.
    """
    rows = [("gymtwist, divided by the other", *(each.machine.partition(", Linux")[0] for each in documents))]
    for target in TARGETS:
        found = [verdict(each, target, contenders) for each in documents]
        if any(found):
            rows.append((target.title, *(_DASH if each is None else each[1] for each in found)))
    return table(rows, numbers=True)


def participants(document: Document, contenders: Iterable[Contender]) -> str:
    """List the contenders that played, with their notes and versions."""
    lines = []
    for each in contenders:
        if any(document.rates(each.name, workload, clients) for workload, clients in document.series()):
            installed = document.packages.get(each.name, {})
            asked = [re.split(r"[^\w-]", word.lower().replace("_", "-"))[0] for word in each.requirements]
            names = [name for name in dict.fromkeys((*asked, *_LIBRARIES)) if name in installed]
            text = f" ({', '.join(f'{name} {installed[name]}' for name in names)})" if names else ""
            lines.append(f"- **{each.title}**: {NOTES[each.name]}{text}")
    return "\n".join(lines)
