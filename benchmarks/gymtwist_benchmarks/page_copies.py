"""Explain the memory of an idle session: ``python benchmarks page-copies``, as root.

A worker is forked, and shares the memory of the fork server until one of them writes to a page; then the kernel copies
it. This counts the pages that a session's process has copies of, by how they differ from those of the fork server.
Pages are compared by their frame of physical memory (``/proc/PID/pagemap``), which Linux shows to root alone.
"""

from __future__ import annotations

import argparse
import collections
import re
import struct
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gymtwist_benchmarks.markdown_report import table
from gymtwist_benchmarks.protocol_clients import LeanClassicClient, random_actions
from gymtwist_benchmarks.server_launcher import gymtwist_server

#: The number of idle sessions, of which one is examined; the steps that each has taken; and the bytes of a page.
_SESSIONS, _STEPS, _PAGE = 10, 100, 4096
#: Bits of an entry of pagemap: whether the page is in memory, and its frame.
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1
#: A word that changes by less is taken for a reference count.
_MAX_COUNT_CHANGE = 1000
_WORD = struct.Struct("<Q")
#: "7f0000-7f2000 rw-p 00000000 00:00 0   [heap]"
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .w.p \S+ \S+ \d+ *(.*)")


class Region(NamedTuple):
    """A writable part of a process's memory."""

    start: int
    #: The address behind it.
    end: int
    #: Whether it is not mapped from a file: Python's objects are in such parts.
    is_anonymous: bool


def regions(pid: int) -> list[Region]:
    """List the writable and private parts of a process's memory."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if match := _MAPPING.fullmatch(line):
            found.append(Region(int(match[1], 16), int(match[2], 16), match[3] in ("", "[heap]", "[stack]")))
    return found


def kind_of(ours: bytes, theirs: bytes) -> str:
    """Name the difference between a page and the one that it is a copy of."""
    if ours == theirs:
        return "the same: counted up, and down again"
    words = zip(_WORD.iter_unpack(ours), _WORD.iter_unpack(theirs), strict=True)
    changed = [abs(one - other) for (one,), (other,) in words if one != other]
    if max(changed) < _MAX_COUNT_CHANGE:
        return "counts of references alone"
    return "up to 16 words of 512" if len(changed) <= 16 else "more than that"


def copies(child: int, parent: int) -> collections.Counter[str]:
    """Count the pages of a child process that are not its parent's, by their difference."""
    found: collections.Counter[str] = collections.Counter()
    with (
        open(f"/proc/{child}/mem", "rb") as ours,
        open(f"/proc/{parent}/mem", "rb") as theirs,
        open(f"/proc/{child}/pagemap", "rb") as our_map,
        open(f"/proc/{parent}/pagemap", "rb") as their_map,
    ):
        for region in regions(child):
            entries = zip(_entries(our_map, region), _entries(their_map, region), strict=True)
            for address, (one, other) in zip(range(region.start, region.end, _PAGE), entries, strict=False):
                if not one & _PRESENT or (other & _PRESENT and one & _FRAME == other & _FRAME):
                    continue
                if not region.is_anonymous:
                    found["of libraries: their variables"] += 1
                elif not other & _PRESENT:
                    found["new"] += 1
                else:
                    found[kind_of(_page(ours, address), _page(theirs, address))] += 1
    return found


def _entries(pagemap: BinaryIO, region: Region) -> list[int]:
    pagemap.seek(region.start // _PAGE * _WORD.size)
    data = pagemap.read((region.end - region.start) // _PAGE * _WORD.size)
    entries = [entry for (entry,) in _WORD.iter_unpack(data)]
    if any(entry & _PRESENT and not entry & _FRAME for entry in entries):
        raise PermissionError("Linux shows the frames of pages to root alone (CAP_SYS_ADMIN): run this as root")
    return entries


def _page(memory: BinaryIO, address: int) -> bytes:
    memory.seek(address)
    return memory.read(_PAGE)


def _examine() -> collections.Counter[str]:
    """Let sessions idle, and examine one of them."""
    with gymtwist_server() as server:
        clients = [LeanClassicClient(server.port, "CartPole-v1") for _ in range(_SESSIONS)]
        for client in clients:
            client.begin()
            client.play(random_actions(2, _STEPS))
        found = copies(server.session_process(clients[-1].port), server.fork_server())
        for client in clients:
            client.close()
    return found


def main() -> None:
    """Run the command."""
    argparse.ArgumentParser(description="Explain the memory of an idle session; needs root.").parse_args()
    try:
        found = _examine()
    except PermissionError as error:
        sys.exit(f"page-copies: {error}")
    rows = [("pages that a session has for itself", "pages", "kB")]
    rows += [(kind, str(count), str(count * _PAGE // 1000)) for kind, count in found.most_common()]
    rows.append(("together", str(sum(found.values())), str(sum(found.values()) * _PAGE // 1000)))
    print(table(rows))
