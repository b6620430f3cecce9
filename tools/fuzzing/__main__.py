"""``make fuzz``: an input may only be read, or be refused with an error of gymtwist's own, within a second."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import random
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gymtwist.errors import GymtwistError
from gymtwist.protocol import classic, make_messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist.protocol.handshake import Handshake, ProtocolName
from gymtwist.protocol.http_head import Head
from gymtwist.protocol.websocket import WebSocketReader, upgrade_problem
from gymtwist.server.handshake_reader import HandshakeReader, Refusal
from tools.fuzzing.mutations import mutated
from tools.fuzzing.web_bodies import WebBodies

_ROOT = Path(__file__).parents[2]
_VECTORS = _ROOT / "docs" / "reference" / "protocol" / "vectors"
_CORPUS, _BODIES = (Path(__file__).parent / name for name in ("corpus", "bodies"))
#: Seconds that an input may take.
_SLOW = 1.0
#: Inputs after which memory is measured first, and how many bytes it may grow from then on.
_WARM, _GROWTH = 20_000, 64 << 20
_CODECS = {name: MessageCodec(name) for name in (ProtocolName.NETSTRING, ProtocolName.INT32)}


def seeds() -> list[bytes]:
    """Return the inputs to begin with: the golden vectors, the corpus, and bodies of requests."""
    paths = [*sorted(_CORPUS.iterdir()), *sorted(_BODIES.iterdir())]
    found = [path.read_bytes() for path in paths if path.suffix != ".md"]
    for path in sorted(_VECTORS.glob("*.json")):
        found += _bytes_in(json.loads(path.read_text()))
    return [each for each in found if each]


def _bytes_in(value: Any) -> Iterator[bytes]:
    """Yield the bytes that are somewhere in a file of vectors."""
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), str):
            yield bytes.fromhex(value["bytes"])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _bytes_in(each)


def read(data: bytes) -> None:
    """Read a connection as the server and a worker do: its opening, and what follows.

    Raises:
        GymtwistError: It is refused.
    """
    opening = HandshakeReader(lambda handshake: None, lambda answer: None)
    opening.received += data
    while (found := opening.next()) is not None:
        if isinstance(found, Handshake):
            if opening.speaks_websocket:
                _read_websocket(bytes(opening.received))
            else:
                _read_session(found.protocol, bytes(opening.received))
            return
        if isinstance(found, Head):
            if not found.asks_for_websocket or upgrade_problem(found) is not None:
                return
            opening.upgrade(found)
        elif not isinstance(found, Refusal) or found.is_final:
            return


def _read_session(protocol: ProtocolName, data: bytes) -> None:
    if protocol is ProtocolName.CLASSIC:
        commands = classic.CommandReader(data)
        while commands.next_command() is not None:
            pass
    elif protocol in _CODECS:
        frames = FrameReader(Framing(protocol.value), data)
        while (payload := frames.next_frame()) is not None:
            _CODECS[protocol].decode_request(payload)


def _read_websocket(data: bytes) -> None:
    messages = WebSocketReader(lambda opcode, payload: None, data)
    while (payload := messages.next_frame()) is not None:
        _CODECS[ProtocolName.INT32].decode_request(payload)


def read_every_way(data: bytes) -> None:
    """Read an input as a connection, as frames of WebSocket, as requests and replies without a frame, and as a body.

    A body is an object or a list at least in its first byte: what is none is refused there.
    """
    ways: list[Any] = [read, _read_websocket]
    ways += [way for codec in _CODECS.values() for way in (codec.decode_request, codec.decode_reply)]
    if _is_body(data):
        ways.append(_web_bodies().read)
    for way in ways:
        with contextlib.suppress(GymtwistError):
            way(data)


def _is_body(data: bytes) -> bool:
    return data[:1] in (b"{", b"[")


def _place(data: bytes) -> Path:
    return (_BODIES if _is_body(data) else _CORPUS).relative_to(_ROOT)


@functools.cache
def _web_bodies() -> WebBodies:
    """Make the sites once."""
    made = {}
    for name, codec in _CODECS.items():
        reply = bytes.fromhex(
            json.loads((_VECTORS / f"session-{name.value}.json").read_text())["exchanges"][0]["reply"]["bytes"]
        )
        payload = FrameReader(Framing(name.value), reply).next_frame()
        assert payload is not None
        found = codec.decode_reply(payload)
        assert isinstance(found, make_messages.Made)
        made[name] = found
    return WebBodies(made)


def main() -> int:
    """Run; return 1 if an input was not refused as it should be, or memory has grown."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzzing", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="how many inputs; %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn; %(default)s")
    given = parser.parse_args()
    try:
        return _run(given)
    finally:
        if _web_bodies.cache_info().currsize:
            _web_bodies().close()
            _web_bodies.cache_clear()


def _run(given: argparse.Namespace) -> int:
    source, known = random.Random(given.seed), seeds()
    begin, slowest, before = time.monotonic(), 0.0, 0
    for number in range(given.runs):
        data = known[number] if number < len(known) else mutated(known, source)
        start = time.perf_counter()
        try:
            read_every_way(data)
        except Exception:
            traceback.print_exc()
            print(f"input {number}, to be saved in {_place(data)}: {data.hex()}")
            return 1
        taken = time.perf_counter() - start
        if taken > _SLOW:
            print(f"input {number} took {taken:.1f} s, to be saved in {_place(data)}: {data.hex()}")
            return 1
        slowest = max(slowest, taken)
        if number == _WARM:
            before = _memory()
    grown = _memory() - before if before else 0
    print(
        f"{given.runs} inputs from {len(known)} seeds in {time.monotonic() - begin:.0f} s: none was read wrongly; the "
        f"slowest took {1e3 * slowest:.1f} ms, and memory has grown by {grown >> 20} MiB"
    )
    return 1 if grown > _GROWTH else 0


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
