"""Shared memory: how it is made, what is refused, and that nobody who waits is forgotten."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gymtwist.errors import SharingRefused
from gymtwist.protocol import shared_memory
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist.protocol.messages import MAX_ROOM, MIN_ROOM
from gymtwist.protocol.shared_memory import REPLY, REQUEST, REQUESTS, SharedMemory
from gymtwist_conformance.reference_client.shared_region import create_memory
from tests.support.patience import PATIENCE

REPOSITORY = Path(__file__).resolve().parents[3]
ROOMS = (4096, 8192)
SIZE = REQUESTS + sum(ROOMS)

pytestmark = pytest.mark.skipif(not shared_memory.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")

Descriptor = Callable[[], int]


@pytest.fixture
def shared() -> SharedMemory:
    """Memory as it must be."""
    descriptor = shared_memory.create(*ROOMS)
    try:
        return SharedMemory(descriptor, *ROOMS)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("sizes", [(None, None), (8, 33_600), (0, 0), (1, 5000), (1 << 40, 1 << 40)])
def test_rooms_are_whole_pages_with_room_to_spare(sizes: tuple[int | None, int | None]) -> None:
    """What a space fixes has room, and an info beside it, unless that would be more than may be."""
    for room, size in zip(shared_memory.rooms(*sizes), sizes, strict=True):
        assert room % 4096 == 0
        assert MIN_ROOM <= room <= MAX_ROOM
        assert room >= min((size or 0) + (1 << 16), MAX_ROOM)


def test_memory_is_sealed() -> None:
    """It has its size, and nobody can change that, nor the seals; it is not inherited."""
    descriptor = shared_memory.create(*ROOMS)
    try:
        assert os.fstat(descriptor).st_size == SIZE
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == seals
        for size in (SIZE - 1, SIZE + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_both_sides_see_the_same(shared: SharedMemory) -> None:
    """Words at the places that the protocol says, and bytes where requests and replies begin."""
    descriptor = shared_memory.create(*ROOMS)
    one, other = SharedMemory(descriptor, *ROOMS), SharedMemory(descriptor, *ROOMS)
    os.close(descriptor)
    one.words[REPLY] = 0xDEADBEEF
    assert other.words[REPLY] == 0xDEADBEEF
    assert other.memory[64:68] == (0xDEADBEEF).to_bytes(4, sys.byteorder)
    one.memory[one.replies : one.replies + 3] = b"abc"
    assert bytes(other.view[REQUESTS + ROOMS[0] :][:3]) == b"abc"
    assert len(other.memory) == SIZE


def test_words_begin_at_zero(shared: SharedMemory) -> None:
    """Nothing was asked yet, nobody waits, and nobody is to poll."""
    assert not any(shared.words)


def ordinary() -> int:
    """Return a descriptor of a file of the right size."""
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        return os.dup(file.fileno())


def read_only() -> int:
    """Return a descriptor of memory that nobody may write to."""
    return create_memory(SIZE, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)


def a_socket() -> int:
    """Return a descriptor of a socket."""
    return socket.socket(socket.AF_UNIX).detach()


@pytest.mark.parametrize(
    ("descriptor", "says"),
    [
        (lambda: create_memory(SIZE - 1), f"has {SIZE - 1} bytes: expected {SIZE}"),
        (lambda: create_memory(SIZE + 4096), f"has {SIZE + 4096} bytes: expected {SIZE}"),
        (lambda: create_memory(0), "has 0 bytes"),
        (lambda: create_memory(SIZE, seals=0), "F_SEAL_SHRINK"),
        (lambda: create_memory(SIZE, seals=fcntl.F_SEAL_GROW), "F_SEAL_SHRINK"),
        (ordinary, "F_SEAL_SHRINK"),
        (read_only, "cannot be mapped"),
        (lambda: os.open("/", os.O_RDONLY), "could be shortened|bytes: expected"),
        (lambda: os.open("/dev/zero", os.O_RDWR), "could be shortened|has 0 bytes"),
        (a_socket, "could be shortened|has 0 bytes"),
    ],
    ids=["short", "long", "empty", "unsealed", "may-shrink", "file", "read-only", "directory", "device", "socket"],
)
def test_invalid_memory_is_refused(descriptor: Descriptor, says: str) -> None:
    """A side that could shorten the memory could kill the other."""
    opened = descriptor()
    try:
        with pytest.raises(SharingRefused, match=says):
            SharedMemory(opened, *ROOMS)
    finally:
        os.close(opened)


def test_a_number_that_is_there_appears_at_once(shared: SharedMemory) -> None:
    """Even if there is no time to wait."""
    shared.words[REQUEST] = 7
    assert shared_memory.poll_word(shared.words, REQUEST, 7, 0.0)


def test_a_number_that_does_not_come_is_not_polled_for_ever(shared: SharedMemory) -> None:
    """Another number is not the one."""
    shared.words[REQUEST] = 6
    assert not shared_memory.poll_word(shared.words, REQUEST, 7, 0.001)


def test_a_number_that_comes_late_appears(shared: SharedMemory) -> None:
    """While it is polled for."""

    def write() -> None:
        shared.words[REQUEST] = 7

    timer = threading.Timer(0.01, write)
    timer.start()
    assert shared_memory.poll_word(shared.words, REQUEST, 7, PATIENCE)
    timer.join()


def test_a_fence_is_never_waited_for() -> None:
    """An interrupt between its two halves, after which only the first was done, does no harm to the next."""
    before, after = shared_memory.fence()
    for _ in range(3):
        before(), after()
    before()
    for _ in range(3):
        before(), after()


@pytest.mark.parametrize("framing", [Framing.NETSTRING, Framing.INT32])
def test_a_doorbell_is_an_empty_frame(framing: Framing) -> None:
    """So that it can come among others."""
    reader = FrameReader(framing, 2 * shared_memory.doorbell(framing))
    reader.least = 0
    frames: Iterator[memoryview | None] = iter(reader.next_frame, None)
    assert [bytes(frame or b"?") for frame in frames] == [b"?", b"?"]


@pytest.mark.parametrize("count", [5_000, pytest.param(200_000, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("ways", ["wait wait", "poll wait", "wait poll", "poll poll"])
@pytest.mark.parametrize("kind", ["numbers", "frames"])
def test_two_processes_that_wait_for_each_other_never_both_wait(kind: str, ways: str, count: int) -> None:
    """Thousands of numbers pass, each side waiting at its socket, or polling for a moment before that."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.shared_memory_race", kind, str(count), *ways.split()],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == f"{count}\n"
