"""The handshake: which protocol it is of, and which environment it is for."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gymtwist.errors import HandshakeError, MalformedMessage, ProtocolError, RequestError
from gymtwist.protocol import classic
from gymtwist.protocol.handshake import (
    MAX_HANDSHAKE,
    MAX_MAKE_PARTS,
    ProtocolName,
    error_reply,
    read_handshake,
    recognise,
)
from gymtwist.protocol.make_messages import Make
from gymtwist_conformance.reference_client.classic_client import handshake, string
from tests.support.codec_samples import FRAMED, asked, framed

CARTPOLE = handshake("CartPole-v1")
#: An id that can be told from every other protocol: the low byte of its length is not 0.
IDS = st.text(max_size=60).filter(lambda text: not text or len(text.encode()) % 256)
#: What may open a connection, of every protocol.
OPENINGS = [
    CARTPOLE,
    handshake(""),
    handshake("i" * 255),
    *(asked(each, Make("CartPole-v1")) for each in FRAMED),
    *(asked(each, Make("CartPole-v1", {"padding": "x" * 300}, num_envs=4)) for each in FRAMED),
]


def test_a_handshake_is_read_at_once() -> None:
    """It says which protocol the connection speaks and which environment it is for."""
    read = read_handshake(CARTPOLE)
    assert read is not None
    assert read.protocol is ProtocolName.CLASSIC
    assert (read.environment, read.message) == ("CartPole-v1", CARTPOLE)


@pytest.mark.parametrize("text", ["", "CartPole-v1", "größe/Ωmega-v0", "i" * 255])
def test_a_handshake_is_read_byte_by_byte(text: str) -> None:
    """It is incomplete until its last byte, and nothing is wrong with it before."""
    message = handshake(text)
    assert [read_handshake(message[:size]) for size in range(len(message))] == [None] * len(message)
    read = read_handshake(bytearray(message))
    assert read is not None
    assert read.environment == text


@given(IDS, st.binary(max_size=50))
@example("", b"\0\0\0\0\0")
def test_what_follows_a_handshake_is_not_part_of_it(text: str, trailing_data: bytes) -> None:
    """Commands may come with the handshake: they are its surplus, to the byte."""
    read = read_handshake(handshake(text) + trailing_data)
    assert read is not None
    assert (read.environment, read.message) == (text, handshake(text))


def test_an_empty_id_asks_for_no_environment() -> None:
    """It is legal: five zero bytes."""
    read = read_handshake(bytes(5))
    assert read is not None
    assert read.environment == ""


def test_a_handshake_at_its_limit() -> None:
    """The longest id."""
    read = read_handshake(handshake("i" * classic.MAX_ID))
    assert read is not None
    assert len(read.environment) == classic.MAX_ID


@pytest.mark.parametrize("length", [classic.MAX_ID + 2, 2**31 + 1, 2**32 - 1])
def test_a_handshake_over_its_limit(length: int) -> None:
    """It is refused as soon as its length is known; the message says the limit."""
    with pytest.raises(HandshakeError, match=f"has {length} bytes; at most {classic.MAX_ID}"):
        read_handshake(struct.pack("<BI", 0, length))


def test_a_handshake_of_four_gibibytes_allocates_nothing() -> None:
    """Nothing is allocated for a length."""
    message = struct.pack("<BI", 0, 2**32 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(HandshakeError):
            read_handshake(message)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


#: What costs the most to read for a byte of MessagePack.
UNITS = [b"\x80", b"\x91\x90", b"\x81\xa0\x80", b"\1"]


def first_message(unit: bytes, count: int, *, unknown: bool) -> bytes:
    """Return a make message with a keyword argument of many parts, and perhaps a field that there is not."""
    fields = {"op": "make", "id": "x"} | ({"unknown": 1} if unknown else {})
    head = msgspec.msgpack.encode(fields | {"kwargs": {"a": None}})[:-1]
    return framed(ProtocolName.INT32, head + b"\xdd" + count.to_bytes(4, "big") + unit * count)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("unknown", [False, True], ids=["as specified", "with an unknown field"])
def test_a_handshake_of_many_parts_is_refused_before_it_is_read(unit: bytes, *, unknown: bool) -> None:
    """The server serves nobody while it reads one; the client is told what to do."""
    parts = {b"\x91\x90": 2, b"\x81\xa0\x80": 3}.get(unit, 1)
    most = (MAX_MAKE_PARTS - 20) // parts
    assert read_handshake(first_message(unit, most, unknown=unknown)) is not None
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        """Count the calls of functions."""
        nonlocal calls
        calls += event in ("call", "c_call")

    too_many = first_message(unit, min(63_000 // len(unit), 2 * most), unknown=unknown)
    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        with pytest.raises(MalformedMessage, match=f"more than {MAX_MAKE_PARTS} parts; send arrays as bytes"):
            read_handshake(too_many)
    finally:
        sys.setprofile(previous)
    assert calls < 1000


@pytest.mark.parametrize("flags", [1, 2, 128, 255])
def test_flags_other_than_zero_are_refused(flags: int) -> None:
    """By both readers, at the first byte."""
    with pytest.raises(HandshakeError, match="the classic protocol opens with"):
        read_handshake(bytes([flags]))
    with pytest.raises(HandshakeError, match=f"unsupported flags {flags}: the classic protocol opens with flags 0"):
        classic.read_handshake(handshake("CartPole-v1", flags=flags))


@pytest.mark.parametrize(
    "garbage", [b"get / HTTP/1.1\r\n\r\n", b"\x15\x03\x01\x00\x02", b":7", b"/", b"\0\0\0\0\1", b"\xff" * 20]
)
def test_garbage_is_refused(garbage: bytes) -> None:
    """The message shows the first bytes and says what a handshake is."""
    with pytest.raises(HandshakeError) as caught:
        read_handshake(garbage)
    assert json.dumps(garbage[:8].decode("latin-1")) in str(caught.value)
    assert "length of the environment id as uint32" in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"CartPole\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_an_id_that_is_not_utf8_is_refused(data: bytes) -> None:
    """Invalid bytes, a cut character, a surrogate, an overlong form."""
    with pytest.raises(HandshakeError, match="not UTF-8"):
        read_handshake(handshake(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"\0", None),
        (b"\0\0", None),
        (b"\0\0\0\0", None),
        (b"\0\0\0\0\0", True),
        (b"\0\x01", True),
        (b"\0\xff\xff\xff\xff", True),
        (b"\0\0\x01", False),
        (b"\0\0\0\0\x01", False),
        (b"\x01", False),
        (b"5", False),
    ],
)
def test_the_first_bytes_identify_the_classic_protocol(data: bytes, expected: bool | None) -> None:
    """As soon as it can be told, and not before; a length in big-endian order is another protocol's."""
    assert classic.is_handshake(data) is expected


@given(st.binary(max_size=40))
def test_the_identified_classic_protocol_does_not_change(data: bytes) -> None:
    """More bytes never change whose handshake it is."""
    answers = [classic.is_handshake(data[:size]) for size in range(len(data) + 1)]
    told = [answer for answer in answers if answer is not None]
    assert len(set(told)) <= 1
    assert answers == [None] * (len(answers) - len(told)) + told


#: Every class that first bytes can be of, and the protocol that recognises it; None for no protocol, "" for "wait".
FIRST_BYTES: list[tuple[bytes, ProtocolName | str | None]] = [
    (b"", ""),
    *((bytes([byte]), None) for byte in range(1, 256) if not (48 <= byte <= 57 or 65 <= byte <= 90)),
    *((bytes([letter]), ProtocolName.HTTP) for letter in range(65, 91)),
    *((b"%d" % digit, ProtocolName.NETSTRING) for digit in range(10)),
    (b"0\xff", ProtocolName.NETSTRING),
    (b"\0", ""),
    *((bytes([0, low]), ProtocolName.CLASSIC) for low in range(1, 256)),
    (b"\0\0", ""),
    *((bytes([0, 0, high]), ProtocolName.INT32) for high in range(1, 256)),
    (b"\0\0\0", ""),
    *((bytes([0, 0, 0, low]), ProtocolName.INT32) for low in range(1, 256)),
    (b"\0\0\0\0", ""),
    (b"\0\0\0\0\0", ProtocolName.CLASSIC),
    *((bytes([0, 0, 0, 0, byte]), None) for byte in range(1, 256)),
]


@pytest.mark.parametrize("following", [b"", b"\0", b"\xff\xff", b"12:"])
def test_every_class_of_first_bytes_is_identified(following: bytes) -> None:
    """As soon as it can be told, and whatever comes next changes nothing about it."""
    for data, protocol in FIRST_BYTES:
        if protocol is None:
            with pytest.raises(HandshakeError, match="these bytes open no protocol"):
                recognise(data + following)
        elif protocol == "":
            assert recognise(data) is None
        else:
            assert recognise(data + following) is protocol


@given(st.binary(max_size=12) | st.builds(lambda rest: b"\0\0" + rest, st.binary(max_size=12)))
def test_exactly_one_protocol_recognises_any_first_bytes(data: bytes) -> None:
    """Or none does; each is asked what itself would make of them, and five bytes are enough to tell."""
    netstring = data[:1].isdigit()
    int32 = len(data) >= 4 and 0 < int.from_bytes(data[:4], "big") < 64 * 1024
    recognisers = {
        ProtocolName.NETSTRING: netstring,
        ProtocolName.INT32: int32 or (data[:2] == b"\0\0" and len(data) == 3 and data[2] > 0),
        ProtocolName.CLASSIC: classic.is_handshake(data) is True,
        ProtocolName.HTTP: data[:1].isalpha() and data[:1].isupper(),
    }
    recognised = [name for name, does in recognisers.items() if does]
    assert len(recognised) <= 1
    try:
        told = recognise(data)
    except HandshakeError:
        assert not recognised
    else:
        assert recognised == ([] if told is None else [told])
        assert told is not None or len(data) < 5


@given(st.sampled_from(OPENINGS), st.binary(max_size=10))
def test_the_identified_protocol_does_not_change(message: bytes, more: bytes) -> None:
    """More bytes never change whose handshake it is."""
    data = message[:10] + more
    told = [protocol for size in range(len(data) + 1) if (protocol := recognise(data[:size])) is not None]
    assert len(set(told)) == 1


@given(
    st.binary(max_size=2 * MAX_HANDSHAKE // 1024)
    | st.builds(lambda rest: b"\0\x05\0\0\0" + rest, st.binary())
    | st.builds(framed, st.sampled_from(FRAMED), st.binary(min_size=1))
)
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but gymtwist's own errors is raised for whatever comes; what is read is what came."""
    try:
        read = read_handshake(data)
    except (ProtocolError, RequestError):
        return
    if read is not None:
        assert data.startswith(read.message)


@given(IDS.map(handshake) | st.sampled_from(OPENINGS), st.data())
def test_a_mutated_handshake_is_read_or_refused(message: bytes, data: st.DataObject) -> None:
    """One byte of a valid handshake changed at will."""
    place = data.draw(st.integers(0, min(len(message), 100) - 1))
    mutated = message[:place] + bytes([data.draw(st.integers(0, 255))]) + message[place + 1 :]
    try:
        read = read_handshake(mutated)
    except (ProtocolError, RequestError):
        return
    assert read is None or mutated.startswith(read.message)


@pytest.mark.parametrize("protocol", [None, ProtocolName.CLASSIC])
def test_a_refusal_is_an_error_string(protocol: ProtocolName | None) -> None:
    """In the classic protocol, and where no protocol could be told: a person can read it most easily."""
    assert error_reply(protocol, HandshakeError("größer")) == string("größer")
