"""The page on shared memory says what is so: its words, its seals, and its example, to the last byte."""

from __future__ import annotations

import os
import re

import pytest

from gymtwist.errors import SharingRefused
from gymtwist.protocol import shared_memory
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist.protocol.messages import MIN_ROOM, Step, Stepped
from gymtwist.protocol.shared_memory import REQUESTS, SharedMemory
from tests.repository.test_protocol_pages import BLOCKS, DIRECTORY, hexdump, rows
from tools.vectors.requests import CODECS

PAGE = "sharing.md"
#: The words, in the order of the page's table.
WORDS = (
    *("REQUEST", "REQUEST_LENGTH", "REPLY_AT", "REPLY_MOST", "REPLY", "REPLY_LENGTH"),
    *("CLIENT_WAITS", "SERVER_WAITS", "SERVER_POLLS"),
)

_PLACE = re.compile(r"  at (\d+):")
_possible = pytest.mark.skipif(not shared_memory.IS_POSSIBLE, reason="no memory can be shared on this system")


def test_the_table_of_words_is_that_of_the_code() -> None:
    """Each with the byte at which it lies."""
    told = [(int(cells[0]), int(cells[1])) for cells in rows(PAGE) if cells[0].isdigit()]
    assert told == [(getattr(shared_memory, name), 4 * getattr(shared_memory, name)) for name in WORDS]


def test_no_word_overlaps_the_beginning_of_a_request() -> None:
    """Requests begin behind all of them, where the page says."""
    assert max(getattr(shared_memory, name) for name in WORDS) * 4 < REQUESTS
    assert f"The request begins at byte {REQUESTS}" in (DIRECTORY / PAGE).read_text()


def test_no_two_sides_write_to_one_line() -> None:
    """Of the processor's cache, which has 64 bytes."""
    writers = [(int(cells[1]) // 64, cells[2]) for cells in rows(PAGE) if cells[0].isdigit()]
    assert len({line for line, _ in writers}) == len(set(writers))


def test_the_example_equals_the_shared_memory() -> None:
    """A request and its reply, each a whole frame of as many bytes as its word says."""
    (block,) = (each for each in BLOCKS if each.marker == "memory")
    memory, place = bytearray(REQUESTS + 2 * MIN_ROOM), 0
    for line in block.text.splitlines():
        found, data = _PLACE.search(line), hexdump(line)
        place = int(found.group(1)) if found else place
        memory[place : place + len(data)] = data
        place += len(data)
    words = memoryview(memory)[:REQUESTS].cast("I")
    assert [words[getattr(shared_memory, name)] for name in WORDS] == [1, 30, 0, 0, 1, 74, 0, 1, 0]
    codec = CODECS["int32"]
    for start, length, kind in ((REQUESTS, 30, Step), (REQUESTS + MIN_ROOM, 74, Stepped)):
        reader = FrameReader(Framing.INT32, bytes(memory[start : start + length]))
        payload = reader.next_frame()
        assert payload is not None and reader.pending[0] == reader.pending[1]
        message = codec.decode_request(payload) if kind is Step else codec.decode_reply(payload)
        assert type(message) is kind


def test_the_doorbells_on_the_page_are_those_of_the_code() -> None:
    """In both framings."""
    text = " ".join((DIRECTORY / PAGE).read_text().split())
    int32, netstring = (shared_memory.doorbell(framing) for framing in (Framing.INT32, Framing.NETSTRING))
    assert f"`{int32.hex(' ')}`, or `{netstring.decode()}`" in text


@_possible
@pytest.mark.parametrize("seal", ["F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL"])
def test_the_client_seals_memory_as_the_page_says(seal: str) -> None:
    """By each of the seals that are named there."""
    import fcntl

    descriptor = shared_memory.create(MIN_ROOM, MIN_ROOM)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & getattr(fcntl, seal)
    finally:
        os.close(descriptor)
    assert f"`{seal}`" in (DIRECTORY / PAGE).read_text()


@_possible
@pytest.mark.parametrize("rooms", [(MIN_ROOM, 2 * MIN_ROOM), (MIN_ROOM - 1, MIN_ROOM)], ids=["longer", "shorter"])
def test_memory_of_another_size_than_its_rooms_say_is_refused(rooms: tuple[int, int]) -> None:
    """By whichever side maps it."""
    descriptor = shared_memory.create(MIN_ROOM, MIN_ROOM)
    try:
        with pytest.raises(SharingRefused, match="as its rooms say"):
            SharedMemory(descriptor, *rooms)
    finally:
        os.close(descriptor)
