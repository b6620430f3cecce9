"""What came out, and how it is written down: medians, ratios, tables."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pages

from compare.contender import Contender, Run
from compare.targets import TARGETS, Target
from compare.workloads import WORKLOADS

#: Whom the others are compared with.
OURS = "gymtwist"
#: Where there is no number.
_DASH = "-"
#: What decides how fast something is, besides what a contender asks for by name.
_LIBRARIES = ("gymtwist", "gymnasium", "ale-py", "mujoco", "numpy", "msgspec", "twisted", "grpcio", "protobuf")


@dataclass
class Document:
    """One run of the comparison, as it is kept in a file.

    Attributes:
        machine: A sentence about the machine.
        load_before: How many processes wanted to run before it began.
        effort: How much was measured: rounds, seconds, clients.
        packages: Versions of what was installed, by contender and package.
        runs: Every single play, in the order in which they were made.
    """

    machine: str
    load_before: float
    effort: dict[str, Any]
    packages: dict[str, dict[str, str]]
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def read(cls, data: dict[str, Any]) -> Document:
        """Make one of what was read from a file."""
        return cls(**{**data, "runs": [Run(**each) for each in data["runs"]]})

    def series(self) -> list[tuple[str, int]]:
        """List what was played, each with how many clients, in that order."""
        return list(dict.fromkeys((run.workload, run.clients) for run in self.runs))

    def rates(self, contender: str, workload: str, clients: int = 1) -> dict[int, float]:
        """Return steps per second, by the number of the round."""
        return {
            run.round: run.rate
            for run in self.runs
            if (run.contender, run.workload, run.clients) == (contender, workload, clients) and not run.error
        }

    def failure(self, contender: str, workload: str, clients: int = 1) -> str:
        """Return why a contender has no rate; empty if it has, or did not take part."""
        errors = [
            run.error
            for run in self.runs
            if (run.contender, run.workload, run.clients) == (contender, workload, clients) and run.error
        ]
        return errors[0] if errors and not self.rates(contender, workload, clients) else ""


def median(rates: dict[int, float]) -> float | None:
    """Return the median; None of nothing."""
    return statistics.median(rates.values()) if rates else None


def ratio(one: dict[int, float], other: dict[int, float]) -> float | None:
    """Divide round by round, and return the median: what slows down a whole round is not in it; None of nothing."""
    found = [one[number] / other[number] for number in one if other.get(number)]
    return statistics.median(found) if found else None


def rate_text(rate: float | None) -> str:
    """Write steps per second."""
    if rate is None:
        return _DASH
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def ratio_text(value: float | None) -> str:
    """Write a ratio with as many digits as mean something."""
    if value is None:
        return _DASH
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def workload_table(document: Document, contenders: Iterable[Contender], workload: str) -> str:
    """Compare everybody who played a workload with one client."""
    known = [each for each in contenders if document.rates(each.name, workload)]
    ours = document.rates(OURS, workload)
    limit = next((document.rates(each.name, workload) for each in known if each.kind == "limit"), {})
    rows = [("", "steps per second", "lowest to highest", "of in-process", "gymtwist is ... times as fast")]
    for each in sorted(known, key=lambda each: -(median(document.rates(each.name, workload)) or 0)):
        rates = document.rates(each.name, workload)
        title = f"**{each.title}**" if each.name == OURS else each.title
        rows.append(
            (
                title,
                rate_text(median(rates)),
                f"{rate_text(min(rates.values()))} to {rate_text(max(rates.values()))}",
                ratio_text(ratio(rates, limit)),
                _DASH if each.name == OURS else ratio_text(ratio(ours, rates)),
            )
        )
    return pages.table(rows, numbers=True)


def clients_table(document: Document, contenders: Iterable[Contender], workload: str) -> str:
    """Show how everybody fares with more clients: steps per second of all of them together."""
    counts = sorted({clients for name, clients in document.series() if name == workload})
    rows = [("clients at once", *map(str, counts))]
    for each in contenders:
        rates = [median(document.rates(each.name, workload, count)) for count in counts]
        if any(rate is not None for count, rate in zip(counts, rates, strict=True) if count > 1):
            rows.append((each.title, *map(rate_text, rates)))
    return pages.table(rows, numbers=True)


def failures(document: Document, contenders: Iterable[Contender]) -> list[str]:
    """List who could not play what, and why."""
    found = []
    for each in contenders:
        for workload, clients in document.series():
            if text := document.failure(each.name, workload, clients):
                found.append(f"- {each.title}, {workload}, {clients} at once: {text}")
    return found


def verdict(document: Document, target: Target, contenders: Iterable[Contender]) -> tuple[str, str, str, str] | None:
    """Say whether a target is met; None if who it is about did not play."""
    one = document.rates(target.contender, target.workload)
    names = target.against or tuple(each.name for each in contenders if each.kind == "network")
    found = [ratio(one, document.rates(name, target.workload)) for name in names]
    known = [each for each in found if each is not None]
    if not known:
        return None
    least = min(known)
    met = least > 1 if target.ahead else least >= target.least
    wanted = "ahead" if target.ahead else f"{target.least:g} at least"
    return target.title, ratio_text(least), wanted, "met" if met else "missed"


def write(document: Document, contenders: Sequence[Contender], images: Mapping[str, str] | None = None) -> str:
    """Write everything as Markdown.

    Args:
        document: What came out.
        contenders: Everybody.
        images: Links to plots, by the name of a workload, ``clients`` or ``vectors``.
    """
    effort, links = document.effort, images or {}
    parts = [
        f"{document.machine} Load average before the run: {document.load_before:.2f}. "
        f"{effort['rounds']} rounds of {effort['seconds']:g} seconds each."
    ]
    verdicts = [found for target in TARGETS if (found := verdict(document, target, contenders)) is not None]
    if verdicts:
        head = ("gymtwist, divided by the other", "measured", "target", "")
        parts += ["### What was aimed at", pages.table([head, *verdicts], numbers=True)]

    def show(title: str, rows: str, image: str) -> None:
        parts.extend([f"### {title}", rows])
        if image in links:
            parts.append(f"![{title}]({links[image]})")

    played = document.series()
    for workload in dict.fromkeys(name for name, _ in played):
        title = WORKLOADS[workload].title
        if (workload, 1) in played:
            show(title, workload_table(document, contenders, workload), workload)
        if any(name == workload and clients > 1 for name, clients in played):
            rows = clients_table(document, contenders, workload)
            show(f"{title}: several clients at once", rows, "clients")
    if "vectors" in links:
        parts += [f"![CartPole, many environments that step together]({links['vectors']})"]
    if missing := failures(document, contenders):
        parts += ["### What did not run", "\n".join(missing)]
    parts += ["### Who took part", participants(document, contenders)]
    return "\n\n".join(parts)


def participants(document: Document, contenders: Iterable[Contender]) -> str:
    """List who played: what it does differently, and its versions."""
    lines = []
    for each in contenders:
        if any(document.rates(each.name, workload, clients) for workload, clients in document.series()):
            installed = document.packages.get(each.name, {})
            asked = [re.split(r"[^\w-]", word.lower().replace("_", "-"))[0] for word in each.requirements]
            names = [name for name in dict.fromkeys((*asked, *_LIBRARIES)) if name in installed]
            text = f" ({', '.join(f'{name} {installed[name]}' for name in names)})" if names else ""
            lines.append(f"- **{each.title}**: {each.note}{text}")
    return "\n".join(lines)
