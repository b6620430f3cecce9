"""The garbage collector and large lists of numbers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.errors import MalformedMessage
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import ProtocolName
from gymtwist.spaces.large_lists import MANY_NUMBERS, without_collection
from gymtwist.spaces.nested_lists import ListReader
from gymtwist.spaces.numbers import jsonable
from gymtwist.spaces.space_codecs import CodecContext, Form

FRAME = np.zeros((210, 160, 3), np.uint8)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count no threads that other tests have left to this process."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.fixture
def collections(alone: None) -> Iterator[list[str]]:
    """The collections that were begun."""
    found: list[str] = []

    def note(phase: str, about: dict[str, int]) -> None:
        found.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def test_a_frame_becomes_lists_without_a_collection(collections: list[str]) -> None:
    """Lists of numbers have no cycles, and a collection would visit them all."""
    without_collection(FRAME.tolist)
    assert collections == []
    FRAME.tolist()
    assert collections  # as there are otherwise


def test_a_frame_in_json_is_written_and_read_with_few_collections(collections: list[str]) -> None:
    """There are dozens otherwise, of each third of this."""
    lists = jsonable(FRAME)
    codec = MessageCodec(ProtocolName.NETSTRING)
    payload = b'{"op": "reset", "observation": %s, "info": {}}' % msgspec.json.encode(lists)
    reader = ListReader(FRAME.dtype, FRAME.shape, CodecContext(("observation",), Form.LISTS, spaces))
    observation: Any = codec.decode_reply(payload)
    assert not reader.read(observation.observation).any()
    assert collections.count("start") <= 6


def test_other_threads_never_find_the_collector_disabled() -> None:
    """They could fork meanwhile, or keep the state that they find."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert without_collection(gc.isenabled)
    finally:
        done.set()
        other.join()


def test_an_interrupt_leaves_the_collector_enabled(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs the handler of a signal as soon as a function in C has returned."""
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "disable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        without_collection(FRAME.tolist)
    assert gc.isenabled()


@pytest.mark.parametrize("size", [1, MANY_NUMBERS])
@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(alone: None, size: int, enabled: bool) -> None:
    """Whatever the size of a message, and whether it can be read."""
    (gc.enable if enabled else gc.disable)()
    try:
        jsonable(np.zeros((size, 2)))
        with pytest.raises(MalformedMessage, match="not as the protocol says"):
            MessageCodec(ProtocolName.NETSTRING).decode_reply(b'{"op": "reset", "observation": [' + size * b"1, ")
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
