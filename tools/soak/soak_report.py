"""The report of a soak: what held, what happened, and charts over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gymtwist_benchmarks.markdown_report import table
from tools.soak.journal import records
from tools.soak.line_charts import Chart, draw

#: How much memory may grow from the first lull to the last.
_GROWTH = 0.05
_MB = 1e6
#: The processes of the server that last, by their names in the journal.
_PROCESSES = {"parent": "server", "fork_server": "fork server"}
_MEMORY = {"rss": "resident", "pss": "proportional (PSS)", "anonymous": "proportional, not of files"}


class SoakReport:
    """What the journal of a soak says.

    Args:
        journal: The file.
    """

    def __init__(self, journal: Path) -> None:
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for record in records(journal):
            by_kind.setdefault(record["kind"], []).append(record)
        self._by_kind = by_kind

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return self._by_kind.get(kind, [])

    def failures(self) -> list[str]:
        """Name everything that should have held and did not."""
        found = [f"{each['kind']} of {each['what']}: {each['text']}" for each in self._of("fault") + self._of("loss")]
        for lull in self._of("lull"):
            if not lull["quiet"]:
                found.append(f"something was left after {lull['at'] / 60:.0f} min: {lull['left']}")
        if len(lulls := self._of("lull")) < 2:
            found.append("the soak was too short to compare anything")
        else:
            found += _growth(lulls[0], lulls[-1])
        end = (self._of("end") or [{"outlived": "unknown: it did not end"}])[-1]
        found += [f"{name}: {end[name]}" for name in ("complaints", "outlived", "marked", "scratch") if end.get(name)]
        return found

    def markdown(self, picture: str) -> str:
        """Return the figures as Markdown; `picture` is the path of the charts."""
        begin, lasted = self._of("begin")[0], (self._of("lull") or self._of("sample"))[-1]["at"] / 60
        samples = self._of("sample")
        used = sum(each["used"] for each in samples) / max(1, sum(each["used"] > 0 for each in samples))
        busy = sorted(each["machine_load"] for each in samples)
        about = (
            f"{begin['machine']} Commit {begin['commit']}, {lasted:.0f} minutes, seed {begin['seed']}. The server, its "
            f"workers and all clients together used {used:.2f} of a core on average; the load average of the machine "
            f"was {busy[len(busy) // 2]:.1f} (median; {busy[0]:.1f} to {busy[-1]:.1f})."
        )
        parts = [about, f"![Memory, descriptors, processes and latencies over time]({picture})", self._compared()]
        return "\n\n".join([*parts, self._happened(), self._latencies()])

    def _compared(self) -> str:
        """Compare the first lull with the last, and with the most of all."""
        lulls = self._of("lull")
        first, last = lulls[0], lulls[-1]
        ended = f"after {last['at'] / 60:.0f} min"
        after = f"after {first['at'] / 60:.0f} min"
        rows: list[Sequence[str]] = [
            ("without clients, but for two sessions that last", after, ended, "most in a lull", "change")
        ]
        for process, title in _PROCESSES.items():
            for name, kind in _MEMORY.items():
                sizes = [lull[process][name] / _MB for lull in lulls]
                change = f"{100 * (sizes[-1] / sizes[0] - 1):+.1f} %"
                row = (f"{title}, memory {kind}, MB", *(f"{each:.1f}" for each in (sizes[0], sizes[-1], max(sizes))))
                rows.append((*row, change))
            counts = [lull[process]["descriptors"] for lull in lulls]
            rows.append((f"{title}, descriptors", *map(str, (counts[0], counts[-1], max(counts))), ""))
        for name, title in (("marked", "processes, wherever they are"), ("scratch", "directories of sessions")):
            rows.append((title, *map(str, (first[name], last[name], max(lull[name] for lull in lulls))), ""))
        return table(rows, numbers=True)

    def _happened(self) -> str:
        """Say what clients did and what the server counted."""
        crowd, witnesses = self._counts("crowd"), self._counts("witnesses")
        last = self._of("lull")[-1]
        crowd.pop("faults", None)
        rows = [("what happened", "number")]
        rows += [(f"clients that {_SAID.get(name, name)}", f"{count:,}") for name, count in crowd.most_common()]
        for what in ("sessions", "steps"):
            counts = {name: each for name, each in witnesses.items() if name.startswith(f"{what} by")}
            rows.append((f"{what} of witnesses, each observation compared", f"{sum(counts.values()):,}"))
        rows.append(("witnesses that lost something", f"{len(self._of('loss')):,}"))
        rows.append(("wrong answers to others", f"{len(self._of('fault')):,}"))
        for name, title in _COUNTED.items():
            rows.append((title, f"{last[name]:,.0f}"))
        return table(rows, numbers=True)

    def _counts(self, kind: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for record in self._of(kind):
            found.update(record["counts"])
        return found

    def _latencies(self) -> str:
        """Say how long steps and new sessions took, for parts of the time."""
        records_ = self._of("witnesses")
        end = max((each["at"] for each in records_), default=0.0)
        rows = [("minutes", "step: median", "99 %", "new session: median", "99 %", "ms")]
        parts = 6
        for number in range(parts):
            low, high = end * number / parts, end * (number + 1) / parts
            chosen = [each["seconds"] for each in records_ if low < each["at"] <= high]
            cells = [_typical([each[name] for each in chosen if name in each]) for name in ("step", "session")]
            rows.append((f"{low / 60:.0f} to {high / 60:.0f}", *cells[0], *cells[1], ""))
        return table([row[:-1] for row in rows], numbers=True)

    def charts(self) -> str:
        """Draw everything over time; return an SVG."""
        samples = sorted(self._of("sample") + self._of("lull"), key=lambda each: float(each["at"]))
        witnesses = self._of("witnesses")

        def line(*names: str) -> list[tuple[float, float]]:
            found = []
            for each in samples:
                value: Any = each
                for name in names:
                    value = value[name]
                found.append((each["at"] / 60, value / (_MB if names[-1] in _MEMORY else 1)))
            return found

        def latency(name: str, quantile: str) -> list[tuple[float, float]]:
            found = [(each["at"], each["seconds"].get(name)) for each in witnesses]
            return [(at / 60, 1e3 * seconds[quantile]) for at, seconds in found if seconds]

        memory = {
            f"{title}, {name.upper()}": line(process, name)
            for process, title in _PROCESSES.items()
            for name in ("rss", "pss")
        }
        charts = [Chart("Memory in MB", memory)]
        opened = {title: line(process, "descriptors") for process, title in _PROCESSES.items()}
        charts.append(Chart("Open descriptors", opened))
        numbers = {"processes": line("processes"), "sessions": line("sessions"), "connections": line("connections")}
        charts.append(Chart("Processes, sessions and connections", numbers))
        for name, title in (
            ("step", "A step of a witness in ms"),
            ("session", "From connect to the first observation in ms"),
        ):
            lines = {"median": latency(name, "median"), "99 %": latency(name, "p99"), "longest": latency(name, "most")}
            charts.append(Chart(title, lines, is_logarithmic=True))
        return draw(charts)


#: What clients did, by the name of the function.
_SAID = {
    "play": "played, each observation compared",
    "crash": "let their environment fail or crash",
    "crash_a_classic_client": "did so by the classic protocol",
    "hang": "let their environment hang",
    "vanish": "vanished",
    "come_back": "lost their connection, and came back",
    "go_back": "went back to a snapshot, or branched off one",
    "flood": "opened 300 connections at once",
    "burst": "began 12 sessions at once",
    "speak_rubbish": "sent mutated messages",
    "say_nothing_more": "fell silent",
    "leave_processes": "left processes, threads or files behind",
    "watch": "watched by the web page's requests",
}
_COUNTED = {
    "steps_total": "steps",
    "sessions_ended_total": "sessions that ended",
    "refusals_total": "refused clients",
    "worker_crashes_total": "workers that crashed or were killed",
    "session_resumptions_total": "sessions that another worker resumed",
}


def _growth(first: dict[str, Any], last: dict[str, Any]) -> list[str]:
    """Name what grew too much from the first lull to the last."""
    found = []
    for process, title in _PROCESSES.items():
        before, after = first[process], last[process]
        for name in ("rss", "anonymous"):  # other programs change how much there is of what files back
            if after[name] > before[name] * (1 + _GROWTH):
                found.append(f"{title}: {name} grew from {before[name] / _MB:.1f} to {after[name] / _MB:.1f} MB")
        if after["descriptors"] != before["descriptors"]:
            found.append(f"{title}: {before['descriptors']} descriptors became {after['descriptors']}")
    return found


def _typical(found: Sequence[dict[str, float]]) -> tuple[str, str]:
    """Return the median of the medians, and of the 99th percentiles, in milliseconds."""
    cells = []
    for name in ("median", "p99"):
        ordered = sorted(each[name] for each in found)
        cells.append(f"{1e3 * ordered[len(ordered) // 2]:.2f} ms" if ordered else "")
    return cells[0], cells[1]
