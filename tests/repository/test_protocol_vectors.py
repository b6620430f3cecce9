"""The golden vectors: the files are what the program writes, and true in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from gymtwist.errors import GymtwistError
from gymtwist.protocol import all_messages, messages, websocket
from gymtwist.protocol.framing import FrameReader, Framing, ProtocolName
from gymtwist.protocol.handshake import after_refusal, error_message, read_handshake, recognise
from gymtwist.protocol.websocket import CloseCode, Opcode, WebSocketError, WebSocketReader
from gymtwist.spaces.descriptions import Description
from tests.support.golden_vectors import entries, in_order, load, name_of, payload, same
from tests.support.words_of_languages import words_of_python
from tools.vectors.__main__ import DIRECTORY, FILES
from tools.vectors.notation import Entry, read, text_of
from tools.vectors.replies import encoded as encoded_reply
from tools.vectors.requests import CODECS, INT32, NETSTRING, decoded, encoded

# The files


@pytest.mark.parametrize("name", FILES)
def test_the_program_writes_each_file_as_committed(name: str) -> None:
    """To the last byte: run `python -m tools.vectors` after a change."""
    assert (DIRECTORY / name).read_text() == text_of(FILES[name]())


def test_the_directory_holds_no_other_files() -> None:
    """Every one is written by the program, or recorded."""
    recorded = {"session-netstring.json", "session-int32.json"}
    assert {path.name for path in DIRECTORY.iterdir()} == {*FILES, *recorded}


@pytest.mark.parametrize("name", FILES)
def test_no_two_vectors_have_one_name(name: str) -> None:
    """A report names the vector."""
    for each in load(name).values():
        names = [name_of(entry) for entry in each]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("framing", [NETSTRING, INT32])
@pytest.mark.parametrize(
    "kind", [*get_args(all_messages.Request), *get_args(all_messages.Reply)], ids=lambda each: each.__name__
)
def test_every_field_of_every_message_is_in_a_vector(framing: str, kind: Any) -> None:
    """In both encodings, so that a client that passes has met all of them."""
    name = "requests.json" if kind in get_args(all_messages.Request) else "replies.json"
    tag = kind.__struct_config__.tag
    found = [each["meaning"] for each in load(name)["canonical"] if each["framing"] == framing]
    met = {field for meaning in found if meaning["op"] == tag for field in meaning}
    assert met == {"op", *kind.__struct_fields__}


def test_every_kind_of_space_is_in_a_vector() -> None:
    """All of them, and a description of each field."""
    kinds = {each["meaning"]["kind"] for each in load("spaces.json")["spaces"]}
    assert kinds == {each.__name__ for each in get_args(Description)}


# Messages


@pytest.mark.parametrize("entry", [*entries("requests.json", "canonical"), *entries("replies.json", "canonical")])
def test_a_decoder_that_knows_nothing_of_gymtwist_finds_the_meaning(entry: Entry) -> None:
    """The bytes are JSON or MessagePack, in a frame."""
    assert same(in_order(decoded(entry["framing"], entry["bytes"])), in_order(read(entry["meaning"])))


@pytest.mark.parametrize("entry", entries("requests.json", "canonical"))
def test_the_client_sends_and_the_server_reads_each_request(entry: Entry) -> None:
    """In both directions."""
    meaning = read(entry["meaning"])
    assert encoded(entry["framing"], meaning) == entry["bytes"]
    request = CODECS[entry["framing"]].decode_request(payload(entry))
    again = b"".join(CODECS[entry["framing"]].encode_request(request)).hex()
    assert again == entry["bytes"]


@pytest.mark.parametrize("entry", entries("replies.json", "canonical"))
def test_the_server_sends_and_the_client_reads_each_reply(entry: Entry) -> None:
    """In both directions."""
    meaning = read(entry["meaning"])
    assert encoded_reply(entry["framing"], meaning) == entry["bytes"]
    reply = CODECS[entry["framing"]].decode_reply(payload(entry))
    assert reply.__struct_config__.tag == meaning["op"]
    again = b"".join(bytes(part) for part in CODECS[entry["framing"]].encode_reply(reply)).hex()
    # What JSON lacks is made of numbers again; all else stays.
    assert again == entry["bytes"]


@pytest.mark.parametrize("entry", entries("requests.json", "ways"))
def test_a_request_may_be_written_in_other_ways(entry: Entry) -> None:
    """The server reads the same message."""
    codec = CODECS[entry["framing"]]
    (canonical,) = (each for each in load("requests.json")["canonical"] if is_like(each, entry))
    assert entry["bytes"] != canonical["bytes"]
    given, meant = codec.decode_request(payload(entry)), codec.decode_request(payload(canonical))
    if isinstance(given, messages.Step) and isinstance(meant, messages.Step):
        # The space of an action tells what its numbers are; the sign of a zero counts.
        given, meant = (messages.Step(as_floats(each.action)) for each in (given, meant))
    assert same(given, meant)


def as_floats(value: Any) -> Any:
    """Return an action with floats for its numbers."""
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if isinstance(value, int) else value


@pytest.mark.parametrize("entry", entries("replies.json", "ways"))
def test_a_reply_may_be_written_in_other_ways(entry: Entry) -> None:
    """The client reads the same message."""
    codec = CODECS[entry["framing"]]
    (canonical,) = (each for each in load("replies.json")["canonical"] if is_like(each, entry))
    assert entry["bytes"] != canonical["bytes"]
    assert codec.decode_reply(payload(entry)) == codec.decode_reply(payload(canonical))


def is_like(canonical: Entry, entry: Entry) -> bool:
    """Tell whether a vector is another way to write a canonical one."""
    return bool(canonical["name"] == entry["same_as"] and canonical["framing"] == entry["framing"])


@pytest.mark.parametrize("entry", entries("refused.json", "refused"))
def test_a_request_that_is_wrong_is_refused_with_the_code(entry: Entry) -> None:
    """With the fault, and in words of no language."""
    with pytest.raises(GymtwistError) as refusal:
        CODECS[entry["framing"]].decode_request(payload(entry))
    error = error_message(refusal.value)
    assert (error.code, error.fault) == (entry["code"], entry["fault"])
    assert not words_of_python(error.message), error.message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('field `op` is a list, ["None", true]: send a string or null', []),
        ("send an integer from 0 to 1, a float or bytes; the array has the shape [2]", []),
        ("Expected `list`, got `int`", ["`list`", "int"]),
        ("is None: send True", ["None", "True"]),
        ("is b'x' of shape (2,), not nan", ["b'x'", "(2,)", "nan"]),
        ("is <class 'x'>, <a.B object at 0x7f>, array([1])", ["<class ", "'x'", "<a.B object", "array("]),
    ],
)
def test_the_rule_for_the_words_of_errors(text: str, found: list[str]) -> None:
    """Words of English, and values as JSON has them; what a client sent is in quotes."""
    assert words_of_python(text) == found


# Frames


def frames(reader: FrameReader) -> Iterator[bytes]:
    """Go through the frames that are whole."""
    while (found := reader.next_frame()) is not None:
        yield bytes(found)


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("entry", [*entries("framing.json", "whole"), *entries("framing.json", "lines")])
def test_frames_are_cut_out_of_the_received_bytes(entry: Entry, step: int) -> None:
    """Byte by byte as well as at once; ends of lines between netstrings are passed over."""
    reader, data, found = FrameReader(Framing(entry["framing"])), bytes.fromhex(entry["bytes"]), []
    for start in range(0, len(data), step):
        part = data[start : start + step]
        reader.space()[: len(part)] = part
        reader.received(len(part))
        found += [each.hex() for each in frames(reader)]
    assert found == entry["payloads"]
    begin, end = reader.pending
    assert end - begin == entry["left"]


@pytest.mark.parametrize("entry", entries("framing.json", "broken"))
def test_an_invalid_frame_is_refused_with_the_code(entry: Entry) -> None:
    """However much came behind it."""
    reader = FrameReader(Framing(entry["framing"]), bytes.fromhex(entry["bytes"]))
    with pytest.raises(GymtwistError) as refusal:
        list(frames(reader))
    error = error_message(refusal.value)
    assert (error.code, error.fault) == (entry["code"], entry["fault"])
    assert not words_of_python(error.message), error.message


@pytest.mark.parametrize("entry", entries("opening.json", "told"))
def test_the_first_bytes_identify_the_protocol(entry: Entry) -> None:
    """Or leave it open."""
    found = recognise(bytes.fromhex(entry["bytes"]))
    assert (None if found is None else found.value) == entry["protocol"]


@pytest.mark.parametrize("entry", entries("opening.json", "refused"))
def test_an_invalid_handshake_is_refused_with_the_code(entry: Entry) -> None:
    """In the framing that its first bytes tell, if they tell one; what is behind its frame can be read."""
    data = bytes.fromhex(entry["bytes"])
    with pytest.raises(GymtwistError) as refusal:
        read_handshake(data)
    error = error_message(refusal.value)
    assert (error.code, error.fault) == (entry["code"], entry["fault"])
    assert not words_of_python(error.message), error.message
    if entry["framing"] is None:
        with pytest.raises(GymtwistError):
            recognise(data)
    else:
        assert recognise(data) is ProtocolName(entry["framing"])
    if entry["fault"] == "request":
        assert after_refusal(data + data) == len(data)


# WebSocket


def read_websocket(entry: Entry, opcode: Opcode) -> tuple[list[str], str, str | None]:
    """Read bytes of a client; return the messages, the answers, and the frame that closes the connection."""
    answers: list[bytes] = []
    messages_: list[str] = []
    reader = WebSocketReader(
        lambda kind, content: answers.append(websocket.pong(content)) if kind is Opcode.PING else None, opcode=opcode
    )
    reader.add(bytes.fromhex(entry["bytes"]))
    closing = None
    try:
        while (message := reader.next_frame()) is not None:
            messages_.append(bytes(message).hex())
        if reader.closed is not None:
            closing = websocket.close_frame(reader.closed[0]).hex()
    except WebSocketError as error:
        closing = websocket.close_frame(error.close_code).hex()
    return messages_, b"".join(answers).hex(), closing


@pytest.mark.parametrize("entry", entries("websocket.json", "messages"))
def test_messages_of_websocket_are_read(entry: Entry) -> None:
    """With an answer to each ping."""
    found = read_websocket(entry, Opcode[entry["kind"].upper()])
    assert found == (entry["messages"], entry["answer"], None)


@pytest.mark.parametrize("entry", entries("websocket.json", "closing"))
def test_a_websocket_is_closed_with_the_code(entry: Entry) -> None:
    """That of the client, or what it did wrong."""
    code = CloseCode.NO_STATUS if entry["code"] is None else entry["code"]
    assert read_websocket(entry, Opcode.TEXT) == ([], "", websocket.close_frame(code).hex())


@pytest.mark.parametrize("entry", entries("websocket.json", "keys"))
def test_a_websocket_is_accepted(entry: Entry) -> None:
    """By what only a server of WebSocket knows."""
    assert websocket.accept_key(entry["key"]) == entry["accept"]
