"""The golden vectors against a real server: the recorded sessions, and everything that is refused."""

from __future__ import annotations

import base64
import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gymtwist.protocol.handshake import MAX_MAKE
from tests.support.server_process import ServerProcess
from tools.vectors.__main__ import DIRECTORY
from tools.vectors.notation import Entry, read
from tools.vectors.requests import INT32, NETSTRING, decoded, encoded
from tools.vectors.vector_recordings import SCRIPT, Exchange, file_name, script

FRAMINGS = (NETSTRING, INT32)
#: What the physics of an environment may differ by between machines and versions.
TOLERANCE = 1e-4
#: The fields of a reply to make that are the environment's and the server's own words.
FREE = {"metadata", "server"}
#: Those that depend on the system that the server runs on, and may be missing.
OPTIONAL = {"shared_memory"}

_REFUSED: list[Entry] = json.loads((DIRECTORY / "refused.json").read_text())["refused"]
_NO_OPENINGS: list[Entry] = json.loads((DIRECTORY / "opening.json").read_text())["refused"]
_BROKEN: list[Entry] = json.loads((DIRECTORY / "framing.json").read_text())["broken"]
#: What somebody types who ends every frame with a line.
_TYPED = [
    b'21:{"op":"make","id":""},\n',
    b'32:{"op":"make","id":"CartPole-v1"},\r\n\n',
    b'23:{"op":"reset","seed":1},\n',
    b"4:what,\n",
    b'14:{"op":"close"},\n',
]


def like(told: Any, recorded: Any) -> bool:
    """Tell whether a reply has the structure of a recorded one, and about its numbers."""
    if isinstance(recorded, dict):
        return (
            type(told) is dict
            and told.keys() - OPTIONAL == recorded.keys() - OPTIONAL
            and all(key in FREE | OPTIONAL or like(told[key], each) for key, each in recorded.items())
        )
    if isinstance(recorded, list):
        return type(told) is list and len(told) == len(recorded) and all(map(like, told, recorded))
    if isinstance(recorded, float):
        return type(told) is float and math.isclose(told, recorded, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(told) is type(recorded) and bool(told == recorded)


def numbers(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the bytes of CartPole's observations and rewards as numbers."""
    dtypes = {"observation": "<f4", "observations": "<f4", "rewards": "<f8"}
    return {
        key: np.frombuffer(each, dtypes[key]).tolist() if key in dtypes and isinstance(each, bytes) else each
        for key, each in message.items()
    }


@pytest.fixture(params=FRAMINGS)
def framing(request: pytest.FixtureRequest) -> str:
    """One framing after the other."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def exchange(module_server: ServerProcess, framing: str) -> Iterator[Exchange]:
    """A connection to the server."""
    made = Exchange(("127.0.0.1", module_server.port), framing)
    yield made
    made.close()


def test_a_recorded_session_is_replayed(exchange: Exchange, framing: str) -> None:
    """Exactly in its structure, its flags, its errors and its spaces; in its floats to four digits."""
    recorded = json.loads((DIRECTORY / file_name(framing)).read_text())
    assert [read(each["request"]["meaning"]) for each in recorded["exchanges"]] == script(framing)
    for each in recorded["exchanges"]:
        request, reply = each["request"], each["reply"]
        assert decoded(framing, reply["bytes"]) == read(reply["meaning"])
        told = decoded(framing, exchange.ask(bytes.fromhex(request["bytes"])).hex())
        assert like(numbers(told), numbers(read(reply["meaning"]))), (told, reply["meaning"])
    assert exchange.at_end()


def test_a_recorded_session_can_be_pipelined(exchange: Exchange, framing: str) -> None:
    """All requests at once get the same replies, in order."""
    recorded = json.loads((DIRECTORY / file_name(framing)).read_text())["exchanges"]
    ahead = b"".join(bytes.fromhex(each["request"]["bytes"]) for each in recorded)
    for each in recorded:
        told = decoded(framing, exchange.ask(ahead).hex())
        assert like(numbers(told), numbers(read(each["reply"]["meaning"])))
        ahead = b""
    assert exchange.at_end()


def test_both_sessions_ask_the_same() -> None:
    """So that one can be read beside the other."""
    assert [each["op"] for each in script(INT32)] == [each["op"] for each in SCRIPT]
    action = next(each["action"] for each in script(INT32) if each["op"] == "step")
    assert base64.b64encode(action).decode() == "AQAAAAAAAAA="


def ask(exchange: Exchange, framing: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ask for something; return the reply, or the error."""
    told: dict[str, Any] = decoded(framing, exchange.ask(bytes.fromhex(encoded(framing, request))).hex())
    return told


def make(exchange: Exchange, framing: str) -> None:
    """Make an environment."""
    assert ask(exchange, framing, {"op": "make", "id": "CartPole-v1"})["op"] == "make"


def refused(exchange: Exchange, entry: Entry) -> None:
    """Send what is refused, and check how."""
    told = decoded(entry["framing"], exchange.ask(bytes.fromhex(entry["bytes"])).hex())
    assert (told["op"], told["code"], told["fault"]) == ("error", entry["code"], entry["fault"])


def named(entry: Entry) -> str:
    """Names a vector."""
    return f"{entry['name']} {entry['framing'] or 'none'}"


@pytest.mark.parametrize("entry", [*_REFUSED, *_BROKEN], ids=named)
def test_a_refusal_has_its_code_and_fault(module_server: ServerProcess, entry: Entry) -> None:
    """And the connection goes on where the fault is the request's, and ends where it is the protocol's."""
    exchange, framing = Exchange(("127.0.0.1", module_server.port), entry["framing"]), entry["framing"]
    make(exchange, framing)
    refused(exchange, entry)
    if entry["fault"] == "request":
        assert ask(exchange, framing, {"op": "sample"})["op"] == "sample"
    else:
        assert exchange.at_end()
    exchange.close()


@pytest.mark.parametrize("entry", _NO_OPENINGS, ids=named)
def test_an_invalid_handshake_gets_its_code_and_fault(module_server: ServerProcess, entry: Entry) -> None:
    """In its own framing, or as the classic protocol's error string if there is none.

    Another one may be sent where the fault is the request's; the connection ends where it is the protocol's.
    """
    if entry["framing"] is None:
        with module_server.connect() as client:
            client.socket.sendall(bytes.fromhex(entry["bytes"]))
            told = client.socket.makefile("rb").read()
        assert int.from_bytes(told[:4], "little") == len(told) - 4
        assert b"open no protocol" in told
        return
    exchange, framing = Exchange(("127.0.0.1", module_server.port), entry["framing"]), entry["framing"]
    refused(exchange, entry)
    if entry["fault"] == "request":
        make(exchange, framing)
    else:
        assert exchange.at_end()
    exchange.close()


@pytest.mark.parametrize("entry", [each for each in _NO_OPENINGS if each["framing"]], ids=named)
def test_a_refusal_reaches_a_client_that_sends_no_more(module_server: ServerProcess, entry: Entry) -> None:
    """It has shut down its sending side, and is not taken for gone."""
    with module_server.connect() as client:
        client.socket.sendall(bytes.fromhex(entry["bytes"]))
        client.socket.shutdown(socket.SHUT_WR)
        told = decoded(entry["framing"], client.socket.makefile("rb").read().hex())
    assert (told["code"], told["fault"]) == (entry["code"], entry["fault"])


def test_lines_between_frames_are_passed_over(module_server: ServerProcess) -> None:
    """As somebody types them, behind every frame; also behind a make that is refused."""
    exchange = Exchange(("127.0.0.1", module_server.port), NETSTRING)
    codes = [decoded(NETSTRING, exchange.ask(typed).hex()).get("code") for typed in _TYPED]
    assert codes == ["invalid-field", None, None, "malformed-message", None]
    assert exchange.at_end()
    exchange.close()


def test_a_later_make_is_not_longer_than_the_first(module_server: ServerProcess, framing: str) -> None:
    """Though other requests may be: once a process has the connection, it is refused as a request."""
    exchange = Exchange(("127.0.0.1", module_server.port), framing)
    unknown = {"op": "make", "id": "CartPole-v999"}
    assert ask(exchange, framing, unknown)["code"] == "unknown-environment"
    assert ask(exchange, framing, {**unknown, "kwargs": {"x": "y" * MAX_MAKE}})["code"] == "invalid-field"
    make(exchange, framing)
    exchange.close()
