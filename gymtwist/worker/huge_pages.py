"""Huge pages for what the fork server has imported, which each worker and each snapshot shares with it.

To fork, the kernel copies an entry of the page tables for each page of four kibibytes that was written to. There are
more than ten thousand, which are most of what a fork costs. A page of two mebibytes has one entry.

Huge pages need memory in one piece. Python asks for its small objects in arenas of one mebibyte, between which the
kernel maps the libraries that are loaded meanwhile. So :func:`reserve` has Python ask for them before the imports, and
:func:`collapse` makes huge pages of all after them. Linux 6.1 or later can; elsewhere nothing changes but the order.
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
#: A little less than what the imports need beyond the first ones: what is left over would be each worker's own.
_RESERVED = 20 * 1024 * 1024
#: The content of an object that takes 512 bytes, the largest size that comes from an arena; and how many of them
#: there are from one that stays to the next, so that each arena has one.
_SIZE, _BLOCK, _SKIPPED = 512 - 40, 512, 900
#: Whether the machine's administrator wants huge pages.
_SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"
#: Writable private memory that is no file's, as a line of /proc/self/maps; allocators may name theirs.
_ANONYMOUS = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\]|\[anon:.*\])?$", re.MULTILINE)

#: An arena is given back once it is empty.
_kept: list[bytes] = []


def reserve() -> None:
    """Have Python ask for the memory of its small objects in one piece; call it before most imports."""
    if not sys.platform.startswith("linux"):
        return
    blocks = [b""] * (_RESERVED // _BLOCK)  # of its final size: it would leave gaps as it grows
    for index in range(len(blocks)):
        blocks[index] = bytes(_SIZE)
    _kept.extend(blocks[::_SKIPPED])


def collapse() -> None:
    """Make huge pages of all memory that can have them, unless the machine's setting is that there are none."""
    if not sys.platform.startswith("linux"):
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    maps = b""
    with contextlib.suppress(OSError):  # without /proc and /sys, the server starts as well
        if b"[never]" not in process_control.read(_SETTING):  # which the call itself does not heed
            maps = process_control.read("/proc/self/maps")
    for begin, end in _ANONYMOUS.findall(maps):
        first, last = -(-int(begin, 16) // _HUGE), int(end, 16) // _HUGE
        if last > first:
            madvise(first * _HUGE, (last - first) * _HUGE, _MADV_COLLAPSE)
