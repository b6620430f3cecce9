"""The specification says what is so: its examples decode, its session runs, its tables are complete."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

import gymtwist.protocol
from gymtwist import errors
from gymtwist.envs.environment_plan import MAX_PROCESSES
from gymtwist.protocol import (
    agent_messages,
    all_messages,
    codec,
    dynamic_values,
    framing,
    handshake,
    http_head,
    make_messages,
    messages,
    resume_messages,
    websocket,
)
from gymtwist.protocol.codec import MessageCodec, tag_of
from gymtwist.protocol.framing import FrameReader, Framing, ProtocolName
from gymtwist.protocol.handshake import error_message
from gymtwist.spaces import descriptions
from gymtwist.spaces.arrays import MAX_EMPTY
from gymtwist.spaces.descriptions import Description, for_json, layout_of
from gymtwist.spaces.gymnasium_spaces import build, describe, value_codec
from gymtwist.spaces.layout import DTYPES, MAX_DIMENSIONS, MAX_SIZE
from gymtwist.worker.session_codecs import MAX_OBSERVATIONS
from tests.integration.test_recorded_sessions import like
from tests.support.codec_samples import payload_of
from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY, ServerProcess
from tools.vectors.requests import CODECS

DIRECTORY = REPOSITORY / "docs" / "reference" / "protocol"
PAGES = sorted(DIRECTORY.glob("*.md"))

_MARKED = re.compile(r"^<!-- ([\w ]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```(\w+)$", re.MULTILINE)
_HEXDUMP = re.compile(r"((?:[0-9a-f]{2} ?)+)(?: {2}|$)")
_ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)

#: The rows of the table of limits, each with the limit in the code.
LIMITS = {
    "payload of the first frame, bytes": handshake.MAX_MAKE,
    "payload of any later request, bytes (`limits.max_frame`)": framing.MAX_FRAME,
    "payload of any later `make`, bytes": handshake.MAX_MAKE,
    "digits of a netstring's length": framing.MAX_DIGITS,
    "bytes buffered for a connection before its session begins": handshake.MAX_HANDSHAKE,
    "items of the first frame, likewise": handshake.MAX_MAKE_PARTS,
    "items of a request: values at any depth, and map keys": codec.MAX_PARTS,
    "depth of kwargs, options, infos and structured values": dynamic_values.MAX_DEPTH,
    "characters of an id": messages.MAX_ID,
    "characters of a render mode": 64,
    "characters of a token": 1024,
    "snapshots to keep": make_messages.MAX_SNAPSHOTS,
    "characters of a ticket": make_messages.MAX_TICKET,
    "characters of the secret of a session": resume_messages.MAX_SECRET,
    "seconds that a session waits for its client": messages.MAX_RESUME,
    "wrappers around an environment": make_messages.MAX_WRAPPERS,
    "wrappers around a vector environment": make_messages.MAX_WRAPPERS,
    "episodes from one video to the next": messages.MAX_VIDEO_EVERY,
    "environments of a connection": messages.MAX_ENVIRONMENTS,
    "seeds of an environment's own": make_messages.MAX_SEEDS,
    "environments of a connection with `async`": MAX_PROCESSES,
    "agents that one request names": agent_messages.MAX_AGENTS,
    "environments that one reply lists": messages.MAX_LISTED,
    "steps in one request": messages.MAX_STEPS,
    "largest buffer in shared memory, bytes": messages.MAX_ROOM,
    "smallest buffer in shared memory, bytes": messages.MIN_ROOM,
    "bytes of all observations of a step_many or step_ready": MAX_OBSERVATIONS,
    "depth of a space": descriptions.MAX_DEPTH,
    "leaves of a space": descriptions.MAX_LEAVES,
    "dimensions of an array": MAX_DIMENSIONS,
    "bytes of a value": MAX_SIZE,
    "elements of zero bytes in a stacked value": MAX_EMPTY,
}
#: Limits of the code that follow from others, or are the classic protocol's.
_OTHER = {("framing", "MAX_OVERHEAD"), ("classic", "MAX_ID"), ("classic", "MAX_FIELD"), ("classic", "MAX_ERROR")}
_OTHER |= {("http_head", "MAX_HEAD"), ("websocket", "MAX_OVERHEAD"), ("websocket", "MAX_CONTROL")}


class Block(NamedTuple):
    """A marked block of a page."""

    page: str
    marker: str
    text: str


BLOCKS = [Block(page.name, marker, text) for page in PAGES for marker, _, text in _MARKED.findall(page.read_text())]


def marked(marker: str) -> list[Any]:
    """Return the blocks with a marker, as parameters of a test."""
    found = [each for each in BLOCKS if each.marker.startswith(marker)]
    assert found, marker
    return [pytest.param(each, id=f"{each.page}-{number}") for number, each in enumerate(found)]


def hexdump(text: str) -> bytes:
    """Return the bytes of a hexdump, whose comments stand behind two spaces."""
    found = [_HEXDUMP.match(line) for line in text.splitlines()]
    assert all(found), text
    return bytes.fromhex("".join(each.group(1) for each in found if each))


def rows(page: str) -> Iterator[list[str]]:
    """Go through the cells of the rows of a page's tables."""
    for row in _ROW.findall((DIRECTORY / page).read_text()):
        yield [cell.strip() for cell in row.split("|")]


def test_the_overview_has_a_row_for_each_request() -> None:
    """In the order of the messages."""
    ops = [each.__struct_config__.tag for each in get_args(all_messages.Request)]
    listed = [cells[0] for cells in rows("index.md")]
    assert listed[listed.index("request") + 2 :][: len(ops)] == [f"`{op}`" for op in ops]


# Examples


def test_every_block_is_checked() -> None:
    """Those of JSON, of bytes and of commands are marked; of the rest there is the diagram alone."""
    for page in PAGES:
        marked_here = len([each for each in BLOCKS if each.page == page.name])
        assert len(_FENCE.findall(page.read_text())) - marked_here == (page.name == "session.md"), page.name
    kinds = {"session", "typed", "request", "reply", "space", "hexdump", "example", "memory", "other", "websocket"}
    assert {each.marker.split()[0] for each in BLOCKS} == kinds


@pytest.mark.parametrize("block", marked("request"))
def test_a_request_on_a_page_is_read_by_the_server(block: Block) -> None:
    """And written as it stands there, by the client."""
    codec = CODECS["netstring"]
    for line in block.text.splitlines():
        request = codec.decode_request(line.encode())
        assert payload_of(codec.encode_request(request)) == line.encode()


@pytest.mark.parametrize("block", marked("other"))
def test_a_request_in_another_form_is_read_by_the_server(block: Block) -> None:
    """Without a note."""
    noted: list[str] = []
    codec = MessageCodec(ProtocolName.NETSTRING, note=noted.extend)
    for line in block.text.splitlines():
        codec.decode_request(line.encode())
    assert not noted


@pytest.mark.parametrize("block", marked("reply"))
def test_a_reply_on_a_page_is_read_by_the_client(block: Block) -> None:
    """And written as it stands there, by the server."""
    codec = CODECS["netstring"]
    for line in block.text.splitlines():
        reply = codec.decode_reply(line.encode())
        assert payload_of(codec.encode_reply(reply)) == line.encode()


@pytest.mark.parametrize("block", marked("hexdump"))
def test_a_frame_on_a_page_is_one(block: Block) -> None:
    """To the last byte, its length among them."""
    _, kind, which = block.marker.split()
    data, codec = hexdump(block.text), CODECS[kind]
    found = framing.locate(Framing(kind), data, 0, len(data), len(data))
    assert found is not None and found[2] == len(data)
    payload = data[found[0] : found[1]]
    if which == "request":
        assert b"".join(codec.encode_request(codec.decode_request(payload))) == data
    else:
        assert b"".join(codec.encode_reply(codec.decode_reply(payload))) == data


@pytest.mark.parametrize("block", marked("websocket"))
def test_the_example_of_websocket_is_read_by_the_server(block: Block) -> None:
    """The request, the response and the first message."""
    request, response, frame = (part.replace("client ", " " * 7) for part in block.text.strip("\n").split("\n\n"))
    read = [line.strip() for line in request.splitlines()]
    head = http_head.read_head("\r\n".join([*read, "", ""]).encode())
    assert head is not None
    assert websocket.upgrade_problem(head) is None
    told = [line.removeprefix("server").strip() for line in response.splitlines()]
    assert websocket.upgrade_response(head) == "\r\n".join([*told, "", ""]).encode()
    first, payload = frame.splitlines()
    header = bytes.fromhex(first.strip().partition("   ")[0])
    reader = websocket.WebSocketReader(lambda *control: None, header + payload.strip().encode())
    message = reader.next_frame()
    assert message is not None
    assert isinstance(CODECS["netstring"].decode_request(message), make_messages.Make)
    assert "zeros" in first


def test_the_codes_of_websocket_are_on_its_page() -> None:
    """All that a server sends, and no others."""
    told = {cells[0] for cells in rows("websocket.md") if cells[0].isdigit() and len(cells[0]) == 4}
    assert told == {str(int(code)) for code in websocket.CloseCode if code is not websocket.CloseCode.NO_STATUS}


@pytest.mark.parametrize("block", marked("space"))
def test_a_description_on_a_page_is_of_a_space(block: Block) -> None:
    """It builds a space, which is described so."""
    for line in block.text.splitlines():
        described: Any = msgspec.json.decode(line, type=Description)
        assert msgspec.json.encode(for_json(describe(build(described)))).decode() == line


def test_the_example_of_a_layout_is_right() -> None:
    """The space has the layout, and the value the bytes, in both directions."""
    example = {each.marker.split()[1]: each.text for each in BLOCKS if each.marker.startswith("example")}
    described: Any = msgspec.json.decode(example["space"], type=Description)
    assert msgspec.json.encode(layout_of(described)).decode() == example["layout"].strip()
    codec = value_codec(build(described), name="value")
    value, data = codec.from_json(json.loads(example["value"])), hexdump(example["bytes"])
    assert bytes(codec.pack(value)) == data
    assert codec.to_json(codec.unpack(data)) == json.loads(example["value"])


# The session


def typed_session() -> tuple[bytes, list[Any]]:
    """Return the lines that are typed in the session by hand, and what is in the replies."""
    (block,) = (each for each in BLOCKS if each.marker == "typed")
    lines = [line.encode() for line in block.text.splitlines()]
    typed, shown = lines[::2], lines[1::2]
    return b"".join(line + b"\n" for line in typed), payloads(b"".join(shown))


def payloads(data: bytes) -> list[Any]:
    """Return what is in netstrings that lie behind one another, and are whole."""
    reader, found = FrameReader(Framing.NETSTRING, data), []
    while (payload := reader.next_frame()) is not None:
        found.append(json.loads(bytes(payload)))
    begin, end = reader.pending
    assert begin == end, data[begin:]
    return found


def test_the_session_by_hand_is_as_it_is_shown(module_server: ServerProcess) -> None:
    """Typed as it stands there, with the ends of its lines; floats to four digits."""
    typed, shown = typed_session()
    with module_server.connect() as client:
        client.socket.sendall(typed)
        heard = payloads(client.socket.makefile("rb").read())
    assert like(heard, shown), heard


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_stands_in_for_netcat(module_server: ServerProcess) -> None:
    """With the command that is shown, at a keyboard that is a pipe."""
    typed, shown = typed_session()
    (block,) = (each for each in BLOCKS if each.marker == "session")
    command = block.text.replace("/5001", f"/{module_server.port}")
    ended = subprocess.run(["bash", "-c", command], input=typed, capture_output=True, timeout=PATIENCE, check=True)
    assert like(payloads(ended.stdout), shown), ended.stdout
    assert not ended.stderr


def test_an_invalid_input_does_not_end_the_program(module_server: ServerProcess) -> None:
    """What the page names as examples gets an error each, and the session goes on."""
    wrong = re.findall(r"`(\d+:.*?,)`", (DIRECTORY / "index.md").read_text())
    with module_server.connect() as client:
        client.socket.sendall("\n".join(wrong).encode() + b"\n" + typed_session()[0])
        told = payloads(client.socket.makefile("rb").read())
    assert [each["op"] for each in told[: len(wrong) + 1]] == [*["error"] * len(wrong), "make"]
    assert len(wrong) == 2


#: Parts of texts on the pages that are those of an example: an operation or place, an environment's own words.
_OF_EXAMPLES = {"reset", "environment 1", "environment 2", "no such door", "action is 2"}
_BETWEEN_PARTS = re.compile("[:;] ")


def written() -> tuple[set[str], re.Pattern[str]]:
    """Return the parts of the texts in the code that say something: those that are constant, a pattern of others."""
    texts = set()
    for path in (REPOSITORY / "gymtwist").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            values = node.values if isinstance(node, ast.JoinedStr) else [node]
            literal = [each.value if isinstance(each, ast.Constant) else "\0" for each in values]
            if all(isinstance(each, str) for each in literal):
                texts.add("".join(map(str, literal)))
    parts = {part for text in texts for part in _BETWEEN_PARTS.split(text)}
    parts = {part for part in parts if len(part.replace("\0", "")) > 8}
    patterns = [re.escape(part).replace("\0", ".+") for part in parts if "\0" in part]
    return parts, re.compile("|".join(patterns))


def test_texts_on_the_pages_are_those_of_the_code() -> None:
    """A reader may look for what a server has written."""
    constant, others = written()
    for block in (each for each in BLOCKS if each.marker == "reply"):
        for line in block.text.splitlines():
            reply = json.loads(line)
            for text in [reply.get("message", ""), *reply.get("warnings", ())]:
                for part in set(_BETWEEN_PARTS.split(text)) - _OF_EXAMPLES - {""}:
                    is_said = part in constant or others.fullmatch(part)
                    assert is_said, f"{block.page}: no code says {part!r}"


# Tables


def every(kind: type[errors.GymtwistError]) -> Iterator[type[errors.GymtwistError]]:
    """Go through a class of errors and those below it, of gymtwist.errors alone."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from every(each)


def test_the_table_of_codes_is_complete() -> None:
    """In both directions, and with the fault of each."""
    made = {each: each.__new__(each) for each in every(errors.GymtwistError)}
    faults = {each.code: error_message(error).fault for each, error in made.items()}
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("errors.md") if len(cells) == 4}
    told.pop("code")
    told.pop("---")
    assert told == faults


def test_the_table_of_faults_is_complete() -> None:
    """Each is explained."""
    told = {cells[0].strip("`") for cells in rows("errors.md") if len(cells) == 3}
    assert told - {"fault", "---"} == set(get_args(messages.Fault))


def test_the_table_of_limits_is_complete() -> None:
    """In both directions."""
    told = {cells[0]: cells[1] for cells in rows("limits.md") if cells[1].isdigit()}
    assert told == {name: str(limit) for name, limit in LIMITS.items()}


def test_every_limit_of_the_code_is_in_the_table() -> None:
    """Whatever a module of the wire calls a greatest number."""
    found = set()
    for module in pkgutil.iter_modules([*gymtwist.protocol.__path__]):
        loaded = importlib.import_module(f"gymtwist.protocol.{module.name}")
        source = REPOSITORY / "gymtwist" / "protocol" / f"{module.name}.py"
        for name in re.findall(r"^(MAX_\w+) =", source.read_text(), re.MULTILINE):
            if (module.name, name) not in _OTHER:
                found.add(getattr(loaded, name))
    assert found <= set(LIMITS.values())


def test_the_limits_of_strings_are_those_of_make() -> None:
    """Which stand in the types of its fields."""
    schema = msgspec.json.schema(make_messages.Make)["$defs"]["Make"]["properties"]
    lengths = {
        name: part["maxLength"]
        for name, field in schema.items()
        for part in field.get("anyOf", [field])
        if "maxLength" in part
    }
    assert lengths == {
        "id": LIMITS["characters of an id"],
        "render_mode": LIMITS["characters of a render mode"],
        "token": LIMITS["characters of a token"],
        "branch": LIMITS["characters of a ticket"],
    }


@pytest.mark.parametrize(
    "kind", [*get_args(all_messages.Request), *get_args(all_messages.Reply)], ids=lambda each: each.__name__
)
def test_every_field_is_on_a_page_of_messages(kind: Any) -> None:
    """In the section of its operation."""
    pages = "messages", "agents", "snapshots", "resuming"
    text = "".join((DIRECTORY / f"{name}.md").read_text() for name in pages)
    section = text.partition(f"\n## {kind.__struct_config__.tag}\n")[2].partition("\n## ")[0]
    assert section
    for field in kind.__struct_fields__:
        assert f"`{field}`" in section, field


def test_every_dtype_is_named() -> None:
    """In the table of what a leaf has."""
    (row,) = (cells for cells in rows("values.md") if cells[0] == "`dtype`")
    assert set(re.findall(r"`(\w+)`", row[2])) == set(DTYPES)


def test_every_kind_of_space_has_a_section() -> None:
    """And its fields are in it."""
    text = (DIRECTORY / "spaces.md").read_text()
    for kind in get_args(Description):
        section = text.partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
        assert section, kind
        for field in kind.__struct_fields__:
            assert f"`{field}`" in section, (kind, field)
    for page in (DIRECTORY / "values.md", DIRECTORY.parent / "classic-protocol.md"):
        first_cells = " ".join(line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("|"))
        for kind in get_args(Description):
            assert re.search(rf"\b{kind.__name__}\b", first_cells), (page, kind)


def test_every_reply_answers_a_request_and_has_warnings() -> None:
    """Without a field for warnings, the first one would end the session."""
    operations = {tag_of(each) for each in get_args(all_messages.Request)} | {"queued", "moved", "error"}
    for reply in get_args(all_messages.Reply):
        assert tag_of(reply) in operations, reply
        assert "warnings" in reply.__struct_fields__, reply
