"""Tables in Markdown, and the places in pages where results stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def table(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Write a table.

    Args:
        rows: The first is the head.
        numbers: Whether all columns but the first are numbers, which stand on the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        rest = [cell.rjust(width) if numbers else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        return "| " + " | ".join([row[0].ljust(widths[0]), *rest[1:]]) + " |"

    rule = ["-" * (width + 1) + (":" if numbers and column else "-") for column, width in enumerate(widths)]
    head, *body = map(line, rows)
    return "\n".join([head, "|" + "|".join(rule) + "|", *body])


def replace(page: Path, mark: str, text: str) -> None:
    """Put a result into a page, between the two comments that mark its place.

    Args:
        page: The file.
        mark: The word of the comments: ``<!-- measured: begin -->`` and ``<!-- measured: end -->``.
        text: What stands there afterwards.

    Raises:
        ValueError: The page has no such place.
    """
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    pattern = re.compile(rf"({begin}\n).*({end})", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page.read_text())
    if not count:
        raise ValueError(f"{page} has no lines {begin} and {end}")
    page.write_text(replaced)
