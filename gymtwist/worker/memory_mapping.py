"""Replaces mapped memory with other memory at the same addresses, so that every view of it stays valid."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

#: From <bits/mman-linux.h>.
_MAP_FIXED = 0x10
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
if _libc is not None:
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]


def replace(memory: mmap.mmap, descriptor: int) -> None:
    """Replace memory with the memory of a descriptor, in this process only.

    Args:
        memory: The memory.
        descriptor: The descriptor of the other memory, which is at least as large; -1 for empty private memory.

    Raises:
        OSError: The memory cannot be mapped.
    """
    assert _libc is not None
    kind = mmap.MAP_SHARED if descriptor >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    flags = kind | _MAP_FIXED
    if _libc.mmap(address, len(memory), mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0) != address:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
