"""The pages whose tables are made of the results: ``environments.md`` and ``snapshot-environments.md``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.packages.listed import PACKAGES, Package
from tools.packages.snapshot_check import EQUAL

_REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGE, SNAPSHOT_PAGE = _REFERENCE / "environments.md", _REFERENCE / "snapshot-environments.md"
BEGIN, END = "<!-- written by make packages -->\n", "<!-- end of what make packages writes -->\n"
#: The most differences that a row names.
MOST_NAMED = 3


def write_page(cache: Path) -> None:
    """Replace the tables of the pages by those of what is known; a package without a result keeps its rows."""
    results = {
        package: json.loads(path.read_text())
        for package in sorted(PACKAGES, key=lambda each: each.name.lower())
        if (path := cache / package.name / "result.json").exists()
    }
    lines = ["| package | the server needs | framed | classic | notes |", "|---|---|---|---|---|"]
    lines += _rows(PAGE, {package.name: row(package, told) for package, told in results.items()})
    for package in sorted(PACKAGES, key=lambda each: each.name.lower()):
        if package.setup:
            lines += ["", f"## {package.name}", "", "```text", package.setup.strip(), "```"]
    _replace(PAGE, lines)
    told_of = {package.name: snapshot_row(package, told) for package, told in results.items()}
    rows = _rows(SNAPSHOT_PAGE, {name: each for name, each in told_of.items() if each})
    _replace(SNAPSHOT_PAGE, ["| package | the same follows | otherwise |", "|---|---|---|", *rows])


def _rows(page: Path, new: dict[str, str]) -> list[str]:
    """Return the rows of a page's table, of which some are new."""
    old = page.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = {line.split("`")[1]: line for line in old.splitlines() if line.startswith("| `")} | new
    return [rows[name] for name in sorted((each.name for each in PACKAGES), key=str.lower) if name in rows]


def _replace(page: Path, lines: list[str]) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("".join([before, BEGIN, "\n", "\n".join(lines), "\n\n", END, after]))


def snapshot_row(package: Package, told: dict[str, Any]) -> str:
    """Return the row of what follows snapshots of a package's environments; empty if none was taken."""
    tried = {each["id"]: each["snapshot"] for each in told["ids"] if each.get("snapshot")}
    if not tried:
        return ""
    good = sum(each == EQUAL for each in tried.values())
    others: dict[str, str] = {}
    for name, text in tried.items():
        if text != EQUAL:
            others.setdefault(_cell(text), name)
    notes = ". ".join(f"`{name}`: {text}" for text, name in list(others.items())[:MOST_NAMED])
    return f"| `{package.name}` {package.version} | {good} of {len(tried)} | {notes} |"


def row(package: Package, told: dict[str, Any]) -> str:
    """Return the row of a package: what the server needs, how many ids play as they do in-process, and remarks."""
    name = f"`{package.name}` {package.version}"
    if told.get("refused"):
        return f"| {name} | | none | none | cannot be installed beside gymtwist: {_cell(told['refused'])} |"
    needs = [f"`{shlex.join(package.server_options)}`"] if package.server_options else []
    needs += [f"`--setup` with [these lines](#{package.name.lower()})"] if package.setup else []
    needs += [f"`{each}`" for each in package.also if "<" in each]
    ids = told["ids"]
    framed, classic = _count(ids, ("netstring", "int32")), _count(ids, ("classic",))
    notes = ". ".join(f"{each[:1].upper()}{each[1:]}" for each in _notes(package, told))
    return f"| {name} | {', '.join(needs) or 'nothing'} | {framed} | {classic} | {notes} |"


def _count(ids: list[dict[str, Any]], protocols: tuple[str, ...]) -> str:
    """Count the ids that are as in-process over all of these protocols."""
    having = [each for each in ids if not (each["vector"] and "classic" in protocols)]
    good = [
        each
        for each in having
        if each["here"] is None
        and not any(each["sides"][name]["error"] or each["sides"][name]["differences"] for name in protocols)
    ]
    return f"{len(good)} of {len(having)}"


def _notes(package: Package, told: dict[str, Any]) -> Iterator[str]:
    ids = told["ids"]
    if package.no_deps:
        yield "installed without the versions it asks for"
    if package.remark:
        yield package.remark
    if told.get("error"):
        yield f"not played to the end: {_cell(told['error'])}"
    named: dict[str, str] = {}
    for each in ids:
        if each["here"] is not None:
            named.setdefault(f"in-process, too: {_cell(each['here'])}", each["id"])
            continue
        for fault in _faults(each):
            named.setdefault(_cell(fault), each["id"])
    for text, name in list(named.items())[:MOST_NAMED]:
        yield f"`{name}`: {text}"
    if count := sum(not each["steady"] for each in ids):
        apart = sum(each.get("steady_moments") == 0 for each in ids if not each["steady"])
        text = f"with one seed, {count} of {len(ids)} play differently each time, in-process, too"
        yield f"{text}; {apart} of them from the first reset on, so that no results were compared" if apart else text


def _faults(told: dict[str, Any]) -> Iterator[str]:
    """Yield what is not as in-process, with the protocols that have it."""
    found: dict[str, list[str]] = {}
    for side, each in told["sides"].items():
        for text in [each["error"]] if each["error"] else each["differences"]:
            found.setdefault(text, []).append(side)
    for text, sides in found.items():
        yield text if len(sides) == len(told["sides"]) else f"{text} ({', '.join(sides)})"


def _cell(text: str) -> str:
    # Where the package was installed does not matter.
    text = re.sub(r"/\S+/site-packages/", "", text)
    return re.sub(r"[|<>`*_\[\]]", lambda found: f"\\{found[0]}", text.replace("\n", " "))
