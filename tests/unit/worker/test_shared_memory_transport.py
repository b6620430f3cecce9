"""A session that shares memory: by which way it answers what, and what it does with what is wrong."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.protocol import shared_memory as wire_sharing
from gymtwist_conformance.reference_client import INT32, message
from gymtwist_conformance.reference_client.shared_region import (
    REPLY,
    REPLY_AT,
    REPLY_LENGTH,
    REPLY_MOST,
    REQUESTS,
    ROOM,
    SERVER_POLLS,
    SERVER_WAITS,
)
from tests.support.echo_environments import Observing
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.served_session import Counting, Serve, Served
from tests.support.shared_memory_fixtures import Of, answer

pytest_plugins = ("tests.support.shared_memory_fixtures",)
pytestmark = pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")


class Wide(Observing):
    """Observes as many bytes as its action says the reply must be long; the space is of the largest."""

    def __init__(self, render_mode: str | None = None) -> None:
        """Have bytes."""
        super().__init__(spaces.Box(0, 255, (100_000,), np.uint8), np.arange(100_000).astype(np.uint8), render_mode)


# What goes wrong


@pytest.mark.parametrize("length", [0, ROOM + 1, 2**32 - 1])
def test_a_length_that_cannot_be_ends_the_session(serve: Serve, of: Of, started: list[Served], length: int) -> None:
    """Once the client was told why."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.put(message(client.encoding, "reset"), length)
    shared.poll()
    told = shared.told()
    assert (told["op"], told["code"], told["fault"]) == ("error", "protocol-error", "protocol")
    assert str(length) in told["message"]
    assert client.read_to_end() in (b"", shared.doorbell)
    assert str(length) in started[0].end()


@pytest.mark.parametrize(("at", "most"), [(ROOM, 1), (1, ROOM), (2**32 - 1, 2**32 - 1)])
def test_a_place_that_cannot_be_ends_the_session(
    serve: Serve, of: Of, started: list[Served], at: int, most: int
) -> None:
    """Once the client was told why, where its room begins."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.set(REPLY_AT, at)
    shared.set(REPLY_MOST, most)
    told = shared.ask("reset")
    assert (told["op"], told["code"], told["fault"]) == ("error", "protocol-error", "protocol")
    assert f"at byte {at}" in told["message"] and f"{most} bytes" in told["message"]
    assert client.read_to_end() in (b"", shared.doorbell)
    assert str(at) in started[0].end()


@pytest.mark.parametrize("environment", [Wide, "CartPole-v1"])
def test_a_reply_is_written_to_its_slot(serve: Serve, of: Of, environment: Any) -> None:
    """Small or large, and so does an error; and in the whole room again, if none is named any more."""
    client, other = serve(environment, values="base64"), serve(environment, values="base64")
    room = 1 << 20
    shared = of(client, ROOM, room).share()
    for at, most in [(1 << 19, 1 << 18), (77, 1 << 18), (5, 0), (77, 1 << 18)]:
        begin = REQUESTS + ROOM
        shared.map[begin:] = b"\xee" * room
        shared.set(REPLY_AT, at)
        shared.set(REPLY_MOST, most)
        place = at if most else 0
        for asked in ("reset", "fly", "reset"):
            fields = {"seed": 1} if asked == "reset" else {}
            shared.say(asked, **fields)
            shared.poll()
            other.say(asked, **fields)
            length = shared.word(REPLY_LENGTH)
            assert shared.map[begin + place : begin + place + length] == other.read(length)
        longest = place + (most or room)
        assert shared.map[begin : begin + place] == b"\xee" * place
        assert shared.map[begin + longest :] == b"\xee" * (room - longest)


def test_a_reply_that_does_not_fit_its_place_comes_through_the_socket(serve: Serve, of: Of) -> None:
    """Although the room were long enough."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.ask("reset", seed=1)
    length = shared.word(REPLY_LENGTH)
    for most, fits in ((length, True), (length - 1, False), (length, True)):
        shared.set(REPLY_AT, 64)
        shared.set(REPLY_MOST, most)
        shared.say("reset", seed=1)
        shared.poll()
        assert shared.word(REPLY_LENGTH) == (length if fits else 0)
        if not fits:
            client.read_reset()


@pytest.mark.parametrize("data", [b"5", b"5:abc", b"x:abc,", b"5:abcdef"])
def test_an_invalid_netstring_ends_the_session(started: list[Served], of: Of, data: bytes) -> None:
    """As it does in a socket; but nothing more can come."""
    started.append(Served("netstring", message("netstring", "make", id="CartPole-v1")))
    client = started[0].client
    client.reply("make")
    shared = of(client).share()
    shared.put(data)
    shared.poll()
    assert shared.told()["fault"] == "protocol"
    assert client.read_to_end() in (b"", shared.doorbell)


@pytest.mark.parametrize("data", [bytes(1), bytes(4), bytes(5), b"\xc1" * 40])
def test_invalid_messagepack_is_refused(started: list[Served], of: Of, data: bytes) -> None:
    """As it is in a socket."""
    started.append(Served(INT32, message(INT32, "make", id="CartPole-v1")))
    client = started[0].client
    client.reply("make")
    shared = of(client).share()
    shared.put(data)
    shared.poll()
    assert shared.told()["op"] == "error"


def test_a_message_over_the_limit_is_refused(serve: Serve, of: Of) -> None:
    """More room does not mean longer messages: the limit that make tells is that of the socket."""
    client = serve("CartPole-v1")
    most = client.made["limits"]["max_frame"]
    shared = of(client, most + 8192, ROOM).share()
    shared.say("reset", options={"fill": "x" * most})
    shared.poll()
    told = shared.told()
    assert (told["op"], told["code"], told["fault"]) == ("error", "limit-exceeded", "protocol")


def test_errors_come_by_the_way_of_their_request(serve: Serve, of: Of) -> None:
    """The session goes on, whichever side was at fault."""
    failing: list[str] = []
    client = serve(partial(Counting, failing), num_envs=None)
    shared = of(client).share()
    assert shared.ask("step", action=client.actions.dump(0))["code"] == "reset-needed"
    assert shared.ask("reset")["op"] == "reset"
    assert shared.ask("nonsense")["code"] == "unknown-operation"
    assert shared.ask("step")["code"] == "invalid-field"
    assert shared.ask("step", action=client.actions.dump(77))["code"] == "invalid-action"
    assert shared.ask("make", id="CartPole-v1")["code"] == "environment-made"
    failing.append("step")
    told = shared.ask("step", action=client.actions.dump(0))
    assert (told["code"], told["reset_needed"]) == ("environment-fault", True)
    failing.clear()
    assert shared.ask("reset")["op"] == "reset"
    assert shared.ask("step", action=client.actions.dump(0))["op"] == "step"


def test_to_close_is_answered_there_too(serve: Serve, of: Of, started: list[Served]) -> None:
    """It is the last request."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    assert shared.ask("close") == {"op": "close"}
    assert client.read_to_end() in (b"", shared.doorbell)
    assert started[0].end() == "the client left"


# By which way


def test_requests_behind_one_in_memory_are_answered_in_order(serve: Serve, of: Of) -> None:
    """Each by its way, and in order: the episode shows it."""
    client, other = serve("CartPole-v1"), serve("CartPole-v1")
    shared = of(client).share()
    step = {"action": client.actions.dump(1)}
    for seed in range(200):
        shared.say("reset", seed=seed)
        client.send(4 * message(client.encoding, "step", **step))
        shared.poll()
        assert shared.told() == answer(other, "reset", seed=seed)
        for _ in range(4):
            assert client.hear() == answer(other, "step", **step)


def test_half_a_frame_behind_a_request_in_memory_waits_for_the_rest(serve: Serve, of: Of) -> None:
    """The reply in the memory comes meanwhile."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    frame = message(client.encoding, "sample")
    for seed in range(20):
        shared.say("reset", seed=seed)
        client.send(frame[:7])
        shared.poll()
        assert shared.told()["op"] == "reset"
        client.send(frame[7:])
        assert client.reply("sample")


def test_a_reply_that_does_not_fit_comes_through_the_socket(serve: Serve, of: Of) -> None:
    """The length in the memory is then 0; what fits comes there, before and after."""
    client = serve(Wide, values="base64")
    shared = of(client).share()
    for _ in range(3):
        shared.say("reset")
        shared.poll()
        assert shared.word(REPLY_LENGTH) == 0
        observation, _ = client.read_reset()
        assert observation.tobytes() == np.arange(100_000).astype(np.uint8).tobytes()
        assert shared.ask("sample")["op"] == "sample"


def test_a_reply_that_just_fits_comes_there(serve: Serve, of: Of) -> None:
    """One byte less of room, and it does not."""
    client = serve(Wide, values="base64")
    large = of(client, ROOM, 2**20).share()
    large.ask("reset")
    length = large.word(REPLY_LENGTH)
    exact = of(client, ROOM, length).share()
    exact.ask("reset")
    assert exact.word(REPLY_LENGTH) == length
    assert exact.frame() == large.frame()
    short = of(client, ROOM, length - 1).share()
    short.say("reset")
    short.poll()
    assert short.word(REPLY_LENGTH) == 0
    client.read_reset()


def test_a_small_reply_that_does_not_fit_comes_through_the_socket(serve: Serve, of: Of) -> None:
    """As of a step whose info is long: it is made and sent in one piece."""

    class Telling(Observing):
        def act(self, action: Any) -> dict[str, Any]:
            return {"told": "x" * 6000}

    client = serve(partial(Telling, spaces.Discrete(3), 1))
    shared = of(client, ROOM, 4096).share()
    shared.ask("reset")
    for _ in range(3):
        shared.say("step", action=client.actions.dump(0))
        shared.poll()
        assert shared.word(REPLY_LENGTH) == 0
        assert client.read_step().info == {"told": "x" * 6000}


def test_a_request_that_is_changed_after_it_was_sent_does_no_harm(serve: Serve, of: Of) -> None:
    """The session answers something, and goes on or ends, but has no error of its own."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.ask("reset")
    frame = message(client.encoding, "step", action=client.actions.dump(1))
    drawn = random.Random(5)
    for _ in range(150):
        shared.put(frame)
        while shared.word(REPLY) != shared.number:
            shared.map[REQUESTS + drawn.randrange(len(frame))] = drawn.randrange(256)
        told = shared.told()
        assert told["op"] in ("step", "error")
        assert "gymtwist itself" not in told.get("message", "")
        if told.get("fault") == "protocol":
            assert client.read_to_end() in (b"", shared.doorbell)
            return
        shared.put(message(client.encoding, "reset"))
        shared.poll()


def test_words_that_only_the_session_writes_can_be_spoilt(serve: Serve, of: Of, started: list[Served]) -> None:
    """It is the client that does not find its replies then; the session ends when its client leaves."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.ask("reset")
    for place in range(0, REQUESTS, 4):
        shared.set(place, 0xFFFFFFFF)
    client.send(shared.doorbell + message(client.encoding, "sample"))
    assert client.reply("sample")
    assert started[0].end() == "the client left"


def test_a_client_that_leaves_while_it_is_waited_for_ends_the_session(
    serve: Serve, of: Of, started: list[Served]
) -> None:
    """Whether the session polls or waits."""
    client = serve("CartPole-v1", options={"poll": 0.01})
    shared = of(client).share()
    shared.set(SERVER_POLLS, 1)
    shared.ask("reset")
    shared.say("sample")
    assert started[0].end() == "the client left"


def test_a_session_says_that_it_waits(serve: Serve, of: Of) -> None:
    """And takes it back: a client need not ring each time."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.set(SERVER_POLLS, 0)
    shared.ask("reset")
    eventually(lambda: shared.word(SERVER_WAITS) == 1, PATIENCE)
    client.say("sample")
    assert client.reply("sample")
    eventually(lambda: shared.word(SERVER_WAITS) == 1, PATIENCE)
