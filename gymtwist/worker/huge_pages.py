"""Huge pages for the fork server's imports, whose memory each worker and each snapshot shares.

A fork copies a page table entry for each 4 KiB page that was written to. There are more than ten thousand of these,
which make up most of the cost of a fork. A page of 2 MiB has one entry.

Huge pages need contiguous memory. Python allocates its small objects in arenas of 1 MiB, and the kernel maps the
libraries loaded meanwhile between them. So :func:`reserve` has Python allocate the arenas before the imports, and
:func:`collapse` turns all of that memory into huge pages after them. This needs Linux 6.1 or later; elsewhere, only the
layout of the memory changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys

from gymtwist.worker import process_control

#: From <bits/mman-linux.h> and <linux/mman.h>.
_MADV_COLLAPSE = 25
_HUGE = 2 * 1024 * 1024
#: A little less than the imports need beyond the first arenas: any excess would become each worker's own memory.
_RESERVED = 20 * 1024 * 1024
#: The content of an object that takes 512 bytes, the largest size allocated in an arena; its full size; and how many
#: such objects lie between two that are kept, so that every arena holds one.
_SIZE, _BLOCK, _SKIPPED = 512 - 40, 512, 900
#: Whether the machine's administrator allows huge pages.
_SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"
#: Writable private memory not backed by a file, as a line of /proc/self/maps; allocators may name theirs.
_ANONYMOUS = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\]|\[anon:.*\])?$", re.MULTILINE)

#: Objects that keep the arenas: an empty arena is freed.
_kept: list[bytes] = []


def reserve() -> None:
    """Have Python allocate the memory of its small objects in one piece; call it before most imports."""
    if not sys.platform.startswith("linux"):
        return
    blocks = [b""] * (_RESERVED // _BLOCK)  # of its final size: growing would leave gaps
    for index in range(len(blocks)):
        blocks[index] = bytes(_SIZE)
    _kept.extend(blocks[::_SKIPPED])


def collapse() -> None:
    """Turn all eligible memory into huge pages, unless the machine's setting is ``never``."""
    if not sys.platform.startswith("linux"):
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    maps = b""
    with contextlib.suppress(OSError):  # the server also starts without /proc and /sys
        if b"[never]" not in process_control.read(_SETTING):  # which the call itself ignores
            maps = process_control.read("/proc/self/maps")
    for begin, end in _ANONYMOUS.findall(maps):
        first, last = -(-int(begin, 16) // _HUGE), int(end, 16) // _HUGE
        if last > first:
            madvise(first * _HUGE, (last - first) * _HUGE, _MADV_COLLAPSE)
