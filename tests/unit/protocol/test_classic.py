"""The classic protocol: the client's bytes to commands."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.errors import LimitExceeded, ProtocolError
from gymtwist.protocol import classic
from gymtwist.protocol.classic import MAX_FIELD, Command, CommandReader
from gymtwist.protocol.receive_buffer import BUFFER_SIZE
from gymtwist_conformance.reference_client.classic_client import string
from tests.support.buffer_feeding import feed

#: Every command as a client sends it, and what it is.
COMMANDS: dict[str, tuple[bytes, Command]] = {
    "reset": (b"\0", classic.Reset()),
    "step": (b"\1\0" + string("[1, -2.5]"), classic.Step([1, -2.5])),
    "space of actions": (b"\2\0", classic.GetSpace(False)),
    "space of observations": (b"\2\1", classic.GetSpace(True)),
    "sample": (b"\3", classic.SampleAction()),
    "monitor": (b"\4\1\0\1" + string("/größe"), classic.Monitor(True, False, True, "/größe")),
    "monitor, forced": (b"\4\0\1\0" + string(""), classic.Monitor(False, True, False, "")),
    "render": (b"\5", classic.Render()),
    "upload": (b"\6" + string("/x") + string("key") + string(""), classic.Upload("/x", "key", "")),
    "universe configure": (b"\7" + string("{}"), classic.UniverseConfigure("{}")),
    "universe wrap": (b"\x08" + string("Vision") + string("{}"), classic.UniverseWrap("Vision", "{}")),
}
ALL = b"".join(data for data, _ in COMMANDS.values())
EACH = pytest.mark.parametrize(("data", "command"), COMMANDS.values(), ids=COMMANDS)
#: A stream of valid commands, with others in other orders.
STREAMS = st.lists(st.sampled_from(list(COMMANDS.values())), max_size=8)


def commands(reader: CommandReader) -> Iterable[Command]:
    """Take every command there is."""
    while (command := reader.next_command()) is not None:
        yield command


@EACH
def test_a_command_is_read_whole(data: bytes, command: Command) -> None:
    """One command, and none behind it."""
    assert list(commands(CommandReader(data))) == [command]


@EACH
def test_a_command_is_read_byte_by_byte(data: bytes, command: Command) -> None:
    """It is incomplete until its last byte has come."""
    reader = CommandReader()
    for byte in data:
        assert reader.next_command() is None
        feed(reader, bytes([byte]))
    assert list(commands(reader)) == [command]


@EACH
def test_a_command_is_read_glued_to_the_next(data: bytes, command: Command) -> None:
    """Where it ends the next begins, whichever that is."""
    assert list(commands(CommandReader(data + ALL))) == [command, *(each for _, each in COMMANDS.values())]


@given(STREAMS, st.lists(st.integers(0, 200)))
def test_commands_do_not_depend_on_how_they_arrive(stream: list[tuple[bytes, Command]], places: list[int]) -> None:
    """Cut anywhere, partly with the handshake, they are the same in the same order."""
    whole = b"".join(data for data, _ in stream)
    cuts = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    first, *others = [whole[start:stop] for start, stop in pairwise(cuts)]
    reader = CommandReader(first)
    read = list(commands(reader))
    for chunk in others:
        feed(reader, chunk)
        read += commands(reader)
    assert read == [command for _, command in stream]


@pytest.mark.parametrize(
    "before",
    [
        b"\1\0",
        b"\4\0\0\0",
        *(b"\6" + string("x") * count for count in range(3)),
        b"\7",
        *(b"\x08" + string("x") * count for count in range(2)),
    ],
)
@pytest.mark.parametrize("length", [MAX_FIELD + 1, 2**32 - 1])
def test_a_field_over_its_limit_is_refused_at_once(before: bytes, length: int) -> None:
    """When its length is known and nothing of it has come; nothing is allocated, be it 4 GiB."""
    reader = CommandReader(before + struct.pack("<I", length))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=f"has {length} bytes; at most {MAX_FIELD} are allowed"):
            reader.next_command()
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_an_action_at_its_limit_is_read() -> None:
    """The longest action there may be."""
    reader = CommandReader(b"\1\0" + string(b" " * (MAX_FIELD - 1) + b"7"))
    assert reader.next_command() == classic.Step(7)


def test_strings_at_their_limit_take_no_more_than_they_need() -> None:
    """The longest command there is, three of the longest strings, fits into 64 MiB of buffer."""
    longest = string(b"x" * MAX_FIELD)
    reader = CommandReader()
    feed(reader, b"\6" + 3 * longest)
    assert reader.next_command() == classic.Upload(*["x" * MAX_FIELD] * 3)
    assert len(reader.space()) <= 64 * 1024 * 1024


def test_a_length_that_is_only_announced_takes_no_memory() -> None:
    """The buffer grows with what arrived, not with what was announced."""
    tracemalloc.start()
    try:
        reader = CommandReader(b"\1\0" + struct.pack("<I", MAX_FIELD))
        for arrived in range(0, 16 * BUFFER_SIZE, BUFFER_SIZE):
            assert reader.next_command() is None
            reader.space()
            assert tracemalloc.get_traced_memory()[0] < 2 * arrived + 3 * BUFFER_SIZE
            feed(reader, bytes(BUFFER_SIZE))
    finally:
        tracemalloc.stop()


def test_the_buffer_is_used_again() -> None:
    """Commands may come forever, in pieces that end anywhere, and the buffer stays as it was."""
    data = b"\1\0" + string("1234567")
    reader, count = CommandReader(), 0
    stream = data * (10 * BUFFER_SIZE // len(data))
    for start in range(0, len(stream), 1000):
        feed(reader, stream[start : start + 1000])
        for command in commands(reader):
            assert command == classic.Step(1234567)
            count += 1
    assert count == len(stream) // len(data)
    assert len(reader.space()) <= BUFFER_SIZE


@pytest.mark.parametrize("trailing_data", [BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1])
def test_there_is_always_space(trailing_data: int) -> None:
    """Even when what came with the handshake fills the buffer, or more than fills it."""
    data = b"\7" + string(b"x" * trailing_data)
    reader = CommandReader(data[:trailing_data])
    feed(reader, data[trailing_data:])
    assert reader.next_command() == classic.UniverseConfigure("x" * trailing_data)


@pytest.mark.parametrize("kind", [9, 10, 127, 255])
def test_an_unknown_packet_type_is_refused(kind: int) -> None:
    """By its first byte; the message says which there are."""
    with pytest.raises(ProtocolError, match=f"unknown packet type {kind}; the types are 0 to 8"):
        CommandReader(bytes([kind])).next_command()


@pytest.mark.parametrize("kind", [1, 2, 255])
def test_an_unknown_action_type_is_refused(kind: int) -> None:
    """There is none but JSON."""
    with pytest.raises(ProtocolError, match=f"unknown action type {kind}; only 0"):
        CommandReader(bytes([1, kind]) + string("1")).next_command()


@pytest.mark.parametrize("data", [b"\2\2", b"\2\xff", b"\4\2", b"\4\0\2", b"\4\0\0\2"])
def test_a_bool_that_is_neither_0_nor_1_is_refused(data: bytes) -> None:
    """As soon as it has come; the message says the byte."""
    with pytest.raises(ProtocolError, match=f"byte {data[-1]} in .*; it takes 0 or 1"):
        CommandReader(data).next_command()


@pytest.mark.parametrize("data", [b"\4\0\0\0", b"\6" + 2 * string(""), b"\7", b"\x08" + string("")])
def test_a_string_that_is_not_utf8_is_refused(data: bytes) -> None:
    """The message names the command."""
    with pytest.raises(ProtocolError, match=r"a string of \w+ is not UTF-8"):
        CommandReader(data + string(b"/\xff")).next_command()


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1 2", "01", "[1,]", "[1", '"', "nul", "True", "'1'", "{1: 2}", "\ufeff1", "1e400", "[NaN]"),
        *("Infinity", "-", '"\\ud800"', b"\xff", b'"\xed\xa0\x80"', "[" * 100_000, "[" * 100_000 + "]" * 100_000),
    ],
)
def test_an_action_that_is_not_json_is_refused(text: str | bytes) -> None:
    """Strictly, and to any depth."""
    with pytest.raises(ProtocolError, match="the action is not valid JSON"):
        CommandReader(b"\1\0" + string(text)).next_command()


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("-0", 0),
        ("9" * 30, int("9" * 30)),
        (" [ 1 ]\n", [1]),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("1e308", 1e308),
        ("18446744073709551616", 2**64),
        ('"\\ud83d\\ude00"', "😀"),
        ("null", None),
    ],
)
def test_an_action_may_be_any_json(text: str, action: object) -> None:
    """Integers have no limit, and of two equal keys the last counts."""
    assert CommandReader(b"\1\0" + string(text)).next_command() == classic.Step(action)


@pytest.mark.parametrize("data", [b"\x09", b"\1\1....", b"\1\0" + string("x"), b"\2\2", b"\7" + string(b"\xff")])
def test_an_error_stays(data: bytes) -> None:
    """What is behind it is never taken for a command."""
    reader = CommandReader(data + ALL)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            reader.next_command()


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a protocol error is raised, and the buffer does not grow."""
    reader = CommandReader()
    try:
        feed(reader, data)
        list(commands(reader))
    except ProtocolError:
        pass
    assert 0 < len(reader.space()) <= BUFFER_SIZE


@given(STREAMS, st.data())
def test_a_truncated_stream_has_the_commands_that_are_whole(
    stream: list[tuple[bytes, Command]], data: st.DataObject
) -> None:
    """And is not an error."""
    whole = b"".join(each for each, _ in stream)
    read = list(commands(CommandReader(whole[: data.draw(st.integers(0, len(whole)))])))
    assert read == [command for _, command in stream][: len(read)]


@given(STREAMS.filter(bool), st.data())
def test_a_mutated_stream_is_read_or_refused(stream: list[tuple[bytes, Command]], data: st.DataObject) -> None:
    """A piece of a valid stream changed, taken out or put in: the commands before it are what they were."""
    whole = b"".join(each for each, _ in stream)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    mutated = whole[:start] + data.draw(st.binary(max_size=8)) + whole[stop:]
    untouched = list(commands(CommandReader(whole[:start])))
    reader, read = CommandReader(mutated), []
    try:
        for command in commands(reader):
            read.append(command)
    except ProtocolError:
        pass
    assert read[: len(untouched)] == untouched
    assert 0 < len(reader.space()) <= BUFFER_SIZE


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each)))
def test_an_action_is_what_was_sent(action: object) -> None:
    """Whatever the value is, and however it is spaced."""
    for text in (json.dumps(action), json.dumps(action, indent=1, ensure_ascii=False).encode(errors="replace")):
        expected = json.loads(text)
        assert CommandReader(b"\1\0" + string(text)).next_command() == classic.Step(expected)
