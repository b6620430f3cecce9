"""Say why an idle session takes the memory that it does: ``python benchmarks/copies.py``, as root.

A child is forked, and so shares the memory of the fork server until one of the two writes to a page; then the kernel
copies that. This tells which pages a session's process has copies of, and what in them differs from what the fork
server has. It goes by the frame of memory that a page lies in (``/proc/PID/pagemap``), which Linux tells root alone.
"""

from __future__ import annotations

import collections
import re
import struct
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

import classic
import pages
from server import Server

#: Sessions that idle, of which one is looked at; steps that each has taken; and bytes of a page.
_SESSIONS, _STEPS, _PAGE = 10, 100, 4096
#: In an entry of pagemap: whether the page is in memory, and where.
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1
#: The greatest change of a word that is taken for one of a count of references.
_COUNTED = 1000
_WORD = struct.Struct("<Q")
#: "7f0000-7f2000 rw-p 00000000 00:00 0   [heap]"
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .w.p \S+ \S+ \d+ *(.*)")


class Region(NamedTuple):
    """A part of a process's memory that it may write to.

    Attributes:
        start: Its first address.
        end: The address behind it.
        is_anonymous: Whether no file is behind it: there Python's objects are.
    """

    start: int
    end: int
    is_anonymous: bool


def regions(pid: int) -> list[Region]:
    """List the parts of a process's memory that it may write to, and that are its own."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if match := _MAPPING.fullmatch(line):
            found.append(Region(int(match[1], 16), int(match[2], 16), match[3] in ("", "[heap]", "[stack]")))
    return found


def kind_of(ours: bytes, theirs: bytes) -> str:
    """Say how a page differs from the one that it is a copy of.

    Args:
        ours: What is in it.
        theirs: What is in the other.
    """
    if ours == theirs:
        return "the same: counted up, and down again"
    words = zip(_WORD.iter_unpack(ours), _WORD.iter_unpack(theirs), strict=True)
    changed = [abs(one - other) for (one,), (other,) in words if one != other]
    if max(changed) < _COUNTED:
        return "counts of references alone"
    return "up to 16 words of 512" if len(changed) <= 16 else "more than that"


def copies(child: int, parent: int) -> collections.Counter[str]:
    """Count the pages of a child that are not its parent's, by what is in them."""
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
        raise PermissionError("Linux tells root alone where pages lie (CAP_SYS_ADMIN): run this as root")
    return entries


def _page(memory: BinaryIO, address: int) -> bytes:
    memory.seek(address)
    return memory.read(_PAGE)


def main() -> None:
    """Is the program."""
    commands = [classic.step_command(action) for action in classic.random_actions(2, _STEPS)]
    with Server() as server:
        clients = [classic.Client(server.port, "CartPole-v1") for _ in range(_SESSIONS)]
        for client in clients:
            client.reset()
            client.play(commands)
        found = copies(server.session_process(clients[-1].port), server.fork_server())
        for client in clients:
            client.close()
    rows = [("pages that a session has for itself", "pages", "kB")]
    rows += [(kind, str(count), str(count * _PAGE // 1000)) for kind, count in found.most_common()]
    rows.append(("together", str(sum(found.values())), str(sum(found.values()) * _PAGE // 1000)))
    print(pages.table(rows))


if __name__ == "__main__":
    try:
        main()
    except PermissionError as error:
        sys.exit(f"copies: {error}")
