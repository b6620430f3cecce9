"""Memory in one piece for what the fork server imports, and huge pages of it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist.worker import huge_pages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux alone")

_PROGRAM = """
import re
from gymtwist.worker import huge_pages

huge_pages.reserve()
objects = [bytes(400) for _ in range(30_000)]  # 12 MB, of which arenas of their own would be elsewhere
pieces = re.findall(r"^(\\w+)-(\\w+) rw-p \\S+ \\S+ 0 *$", open("/proc/self/maps").read(), re.MULTILINE)
print(max(int(end, 16) - int(begin, 16) for begin, end in pieces))
huge_pages.collapse()
assert all(each == bytes(400) for each in objects)
print(1024 * int(re.search(r"AnonHugePages: *(\\d+)", open("/proc/self/smaps_rollup").read())[1]))
"""


@pytest.fixture(scope="module")
def sizes() -> tuple[int, int]:
    """The bytes of the largest piece of memory, and those in huge pages, of a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    largest, huge = map(int, done.stdout.split())
    return largest, huge


def test_arenas_are_in_one_piece(sizes: tuple[int, int]) -> None:
    """Those that are there before the imports, between which libraries are loaded."""
    assert sizes[0] >= 16 * 2**20


@pytest.mark.skipif(tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 1), reason="needs Linux 6.1")
def test_what_is_in_one_piece_has_huge_pages(sizes: tuple[int, int]) -> None:
    """Where Linux has some; what is in them stays as it is."""
    assert sizes[1] == 0 or sizes[1] >= 8 * 2**20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another setting for a process")
def test_there_are_none_where_the_machine_is_to_have_none(tmp_path: Path) -> None:
    """The kernel would make them nevertheless."""
    setting = tmp_path / "enabled"
    setting.write_text("always madvise [never]\n")
    mount = f"mount --bind {setting} {huge_pages._SETTING} && exec '{sys.executable}' -c \"$0\""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, _PROGRAM], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a mount is not possible here: {done.stderr[-200:]}")
    assert done.stdout.split()[1] == "0"


def test_memory_that_has_a_name_is_found() -> None:
    """Allocators name theirs where the kernel lets them; that of files, or that nobody writes to, stays as it is."""
    found = [
        "55d0c0000000-55d0c0400000 rw-p 00000000 00:00 0                          [heap]",
        "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 ",
        "7f0000400000-7f0000600000 rw-p 00000000 00:00 0                          [anon:cpython:pymalloc]",
    ]
    others = [
        "7f0000800000-7f0000a00000 r--p 00000000 00:00 0 ",
        "7f0000c00000-7f0000e00000 rw-p 00001000 08:01 1234                       /usr/lib/libc.so.6",
        "7f0001000000-7f0001200000 rw-s 00000000 00:01 77                         /memfd:shared (deleted)",
        "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
    ]
    text = "".join(f"{line}\n" for pair in zip(others, [*found, ""], strict=True) for line in pair)
    begins = [begin.decode() for begin, _ in huge_pages._ANONYMOUS.findall(text.encode())]
    assert begins == [line[:12] for line in found]
