"""The frames: netstrings and Int32, out of a stream of bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gymtwist.errors import LimitExceeded, ProtocolError
from gymtwist.protocol.framing import MAX_FRAME, MAX_OVERHEAD, FrameReader, Framing, frame, header
from gymtwist.protocol.receive_buffer import BUFFER_SIZE
from tests.support.buffer_feeding import feed

NETSTRING, INT32 = Framing.NETSTRING, Framing.INT32
#: Those that delimit frames themselves; those of WebSocket leave it to the transport.
OF_SOCKETS = [Framing.NETSTRING, Framing.INT32]
BOTH = pytest.mark.parametrize("framing", OF_SOCKETS, ids=lambda each: each.value)
#: Payloads, some of which look like frames.
PAYLOADS = [b"x", b"12:", b",", b"0:,", b"\0\0\0\1a", bytes(range(256)), b"x" * 1000]
EACH = pytest.mark.parametrize("payload", PAYLOADS)
FRAMINGS = st.sampled_from(OF_SOCKETS)


def framed(framing: Framing, *payloads: bytes) -> bytes:
    """Return the frames of payloads, joined."""
    return b"".join(b"".join(frame(framing, payload)) for payload in payloads)


def payloads(reader: FrameReader) -> Iterator[bytes]:
    """Take every payload there is."""
    while (payload := reader.next_frame()) is not None:
        yield bytes(payload)


def test_the_frames_are_those_of_their_specifications() -> None:
    """Netstrings as in Bernstein's text, Int32 as Twisted has it."""
    assert framed(NETSTRING, b"hello world!") == b"12:hello world!,"
    assert framed(INT32, b"hello world!") == b"\0\0\0\x0chello world!"


@BOTH
def test_a_payload_is_put_into_a_frame_without_copying_it(framing: Framing) -> None:
    """It is a part of the frame, itself."""
    payload = memoryview(b"payload")
    assert any(part is payload for part in frame(framing, payload))


@BOTH
@EACH
def test_a_frame_is_read_whole(framing: Framing, payload: bytes) -> None:
    """One frame, and none behind it."""
    assert list(payloads(FrameReader(framing, framed(framing, payload)))) == [payload]


@BOTH
@EACH
def test_a_frame_is_read_byte_by_byte(framing: Framing, payload: bytes) -> None:
    """It is incomplete until its last byte has come."""
    reader = FrameReader(framing)
    for byte in framed(framing, payload):
        assert reader.next_frame() is None
        feed(reader, bytes([byte]))
    assert list(payloads(reader)) == [payload]


@BOTH
@EACH
def test_a_frame_is_read_glued_to_the_next(framing: Framing, payload: bytes) -> None:
    """Where it ends the next begins, whichever that is."""
    assert list(payloads(FrameReader(framing, framed(framing, payload, *PAYLOADS)))) == [payload, *PAYLOADS]


@given(FRAMINGS, st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 400)))
def test_frames_do_not_depend_on_how_they_arrive(framing: Framing, sent: list[bytes], places: list[int]) -> None:
    """Cut anywhere, partly with the handshake, they are the same in the same order."""
    whole = framed(framing, *sent)
    cuts = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    first, *others = [whole[start:stop] for start, stop in pairwise(cuts)]
    reader = FrameReader(framing, first)
    read = list(payloads(reader))
    for chunk in others:
        feed(reader, chunk)
        read += payloads(reader)
    assert read == sent


def test_an_empty_netstring_is_a_frame() -> None:
    """Though there is no message in it."""
    assert list(payloads(FrameReader(NETSTRING, b"0:,0:,"))) == [b"", b""]


def test_an_empty_int32_frame_is_refused() -> None:
    """There is no message of no bytes."""
    with pytest.raises(ProtocolError, match="an empty frame"):
        FrameReader(INT32, bytes(4)).next_frame()


@BOTH
@pytest.mark.parametrize("limit", [1, 10, BUFFER_SIZE, MAX_FRAME])
def test_a_frame_at_its_limit_is_read(framing: Framing, limit: int) -> None:
    """The longest there may be; the buffer grows to it and what is around it, and no further."""
    reader = FrameReader(framing, limit=limit)
    for _ in range(2):
        feed(reader, framed(framing, b"x" * limit))
        assert list(payloads(reader)) == [b"x" * limit]
    assert len(reader.space()) <= max(limit + MAX_OVERHEAD, 2 * BUFFER_SIZE)


@BOTH
@pytest.mark.parametrize(("limit", "length"), [(10, 11), (MAX_FRAME, MAX_FRAME + 1), (MAX_FRAME, 999_999_999)])
def test_a_frame_over_its_limit_is_refused_at_once(framing: Framing, limit: int, length: int) -> None:
    """When its length is known and nothing of it has come; nothing is allocated."""
    reader = FrameReader(framing, header(framing, length), limit)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=f"has {length} bytes; at most {limit} are allowed"):
            reader.next_frame()
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_a_frame_of_four_gibibytes_is_refused_at_once() -> None:
    """By the four bytes of its length."""
    with pytest.raises(LimitExceeded, match=f"has {2**32 - 1} bytes"):
        FrameReader(INT32, b"\xff" * 4).next_frame()


@pytest.mark.parametrize("data", [b"1" * 10, b"1" * 100_000, b"1" * 10 + b":"])
def test_a_netstring_whose_length_is_too_long_is_refused(data: bytes) -> None:
    """However many digits follow: they are neither kept nor counted."""
    assert FrameReader(NETSTRING, b"1" * 9).next_frame() is None
    with pytest.raises(LimitExceeded, match="more than 9 digits"):
        FrameReader(NETSTRING, data).next_frame()


@BOTH
def test_a_length_that_is_only_announced_takes_no_memory(framing: Framing) -> None:
    """The buffer grows with what arrived, not with what was announced."""
    tracemalloc.start()
    try:
        reader = FrameReader(framing, header(framing, MAX_FRAME))
        for arrived in range(0, 16 * BUFFER_SIZE, BUFFER_SIZE):
            assert reader.next_frame() is None
            reader.space()
            assert tracemalloc.get_traced_memory()[0] < 2 * arrived + 3 * BUFFER_SIZE
            feed(reader, bytes(BUFFER_SIZE))
    finally:
        tracemalloc.stop()


@BOTH
def test_the_buffer_is_used_again(framing: Framing) -> None:
    """Frames may come forever, in pieces that end anywhere, and the buffer stays as it was."""
    data = framed(framing, b"1234567")
    reader, count = FrameReader(framing), 0
    stream = data * (10 * BUFFER_SIZE // len(data))
    for start in range(0, len(stream), 1000):
        feed(reader, stream[start : start + 1000])
        count += sum(payload == b"1234567" for payload in payloads(reader))
    assert count == len(stream) // len(data)
    assert len(reader.space()) <= BUFFER_SIZE


@BOTH
@pytest.mark.parametrize("trailing_data", [BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 3 * BUFFER_SIZE])
def test_there_is_always_space(framing: Framing, trailing_data: int) -> None:
    """Even when what came with the handshake fills the buffer, or more than fills it, or is over the limit."""
    data = framed(framing, b"x" * trailing_data)
    reader = FrameReader(framing, data[:trailing_data])
    feed(reader, data[trailing_data:])
    assert list(payloads(reader)) == [b"x" * trailing_data]
    assert FrameReader(framing, data, limit=1).space()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x", "begins with its length"),
        (b":", "begins with its length"),
        (b",", "begins with its length"),
        (b"-1:x,", "begins with its length"),
        (b"+1:x,", "begins with its length"),
        (b" 1:x,", "begins with its length"),
        (b"1 :x,", "begins with its length"),
        (b"1_0:x,", "begins with its length"),
        (b"1;x,", "begins with its length"),
        (b"\xd9\xa1:x,", "begins with its length"),
        (b"01", "leading zeros"),
        (b"00:,", "leading zeros"),
        (b"1:xy", "end it with a comma"),
        (b"1:x\n", "end it with a comma"),
        (b"0:x", "end it with a comma"),
    ],
)
def test_an_invalid_netstring_is_refused(data: bytes, message: str) -> None:
    """As soon as it can be seen; the message says what a netstring is."""
    assert FrameReader(NETSTRING, data[:0]).next_frame() is None
    with pytest.raises(ProtocolError, match=message):
        FrameReader(NETSTRING, data).next_frame()


@BOTH
def test_a_frame_longer_than_any_cannot_be_made(framing: Framing) -> None:
    """The length of an Int32 frame has 32 bits, that of a netstring 9 digits."""
    with pytest.raises(LimitExceeded):
        header(framing, 2**32)


@given(FRAMINGS, st.binary(max_size=200), st.integers(1, 100))
@example(INT32, b"\0\0\0\1", 1)
def test_random_bytes_are_read_or_refused(framing: Framing, data: bytes, limit: int) -> None:
    """Nothing but a protocol error is raised for whatever comes, and nothing over the limit is read."""
    reader = FrameReader(framing, data, limit)
    try:
        assert all(len(payload) <= limit for payload in payloads(reader))
    except ProtocolError:
        return
    feed(reader, b"x")


@given(FRAMINGS, st.lists(st.binary(min_size=1, max_size=30), min_size=1), st.data())
def test_a_mutated_stream_is_read_or_refused(framing: Framing, sent: list[bytes], data: st.DataObject) -> None:
    """One byte of valid frames changed at will, or the rest cut off; the frames before it are read as they were."""
    stream = framed(framing, *sent)
    place = data.draw(st.integers(0, len(stream) - 1))
    mutated = stream[:place] + data.draw(st.binary(max_size=1)) + data.draw(st.sampled_from([b"", stream[place + 1 :]]))
    before = 0
    while len(framed(framing, *sent[: before + 1])) <= place:
        before += 1
    read = []
    try:
        for payload in payloads(FrameReader(framing, mutated)):
            read.append(payload)
    except ProtocolError as error:
        assert str(error)
    assert read[:before] == sent[:before]


def test_ends_of_lines_between_netstrings() -> None:
    """Are passed over: they come from a person at a keyboard."""
    reader = FrameReader(NETSTRING)
    found: list[bytes] = []
    for byte in b"3:abc,\r\n\n5:\nline,\n":
        feed(reader, bytes([byte]))
        found += payloads(reader)
    assert found == [b"abc", b"\nline"]
    feed(reader, b"\n0:,")
    assert list(payloads(reader)) == [b""]
