"""A session that shares memory: how it takes it, what it refuses, and by which way it answers what."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gymtwist.protocol import shared_memory as wire_sharing
from gymtwist_conformance.reference_client import INT32, Failed, FramedClient, SharedRegion, message
from gymtwist_conformance.reference_client.shared_region import (
    REPLY,
    REQUESTS,
    ROOM,
    SERVER_POLLS,
    create_memory,
    send_descriptors,
)
from tests.support.harness import descriptor_count
from tests.support.served_session import Serve, Served
from tests.support.shared_memory_fixtures import Of, answer

pytest_plugins = ("tests.support.shared_memory_fixtures",)
pytestmark = pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")


def held() -> int:
    """Return how many descriptors are held by what is in use."""
    gc.collect()
    return descriptor_count()


def refused(client: FramedClient, **fields: Any) -> Failed:
    """Ask for what is refused; return the error."""
    with pytest.raises(Failed) as caught:
        client.ask("share", **fields)
    return caught.value


def refused_memory(of_client: SharedRegion) -> Failed:
    """Ask a session to take memory that it refuses; return the error."""
    return refused(of_client.client, request_room=of_client.request_room, reply_room=of_client.reply_room)


def test_make_offers_shared_memory(serve: Serve) -> None:
    """And the offer names a socket of the abstract namespace and a token of 16 bytes."""
    client = serve("CartPole-v1")
    assert client.made["shared_memory"] is True
    offer = client.ask("share")
    assert set(offer) == {"address", "token"}
    assert offer["address"].startswith("gymtwist-")
    assert len(bytes.fromhex(offer["token"])) == 16


def test_a_session_goes_on_through_memory(serve: Serve, of: Of) -> None:
    """With the same replies as through the socket, to the last byte."""
    client, other = serve("CartPole-v1"), serve("CartPole-v1")
    shared = of(client).share()
    for op, fields in [("reset", {"seed": 3}), *[("step", {"action": client.actions.dump(1)})] * 12, ("step", {})]:
        assert shared.ask(op, **fields) == answer(other, op, **fields)


def test_the_memory_holds_a_frame(serve: Serve, of: Of, encoding: str) -> None:
    """Exactly as it would be sent."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.say("reset", seed=1)
    shared.poll()
    client.say("reset", seed=1)
    assert shared.frame() == client.read(len(shared.frame()))


def test_a_client_that_waits_is_woken_up(serve: Serve, of: Of, encoding: str) -> None:
    """By a doorbell, which comes after the reply; and so is a session that waits."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    for index in range(300):
        shared.say("reset", seed=index)
        shared.wait()
        assert shared.told()["op"] == "reset"


def test_doorbells_without_a_request_are_ignored(serve: Serve, of: Of) -> None:
    """However many."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    client.send(100 * shared.doorbell)
    assert shared.ask("reset")["op"] == "reset"
    client.send(shared.doorbell + message(client.encoding, "sample") + shared.doorbell)
    assert client.reply("sample")
    assert shared.ask("reset")["op"] == "reset"


def test_a_doorbell_before_memory_is_shared_is_not_a_message(
    serve: Serve, started: list[Served], encoding: str
) -> None:
    """An offer alone changes nothing."""
    client = serve("CartPole-v1")
    client.ask("share")
    client.send(bytes(4) if encoding == INT32 else b"0:,")
    assert client.hear()["op"] == "error"


def test_wrong_datagrams_are_ignored_and_leave_nothing(serve: Serve, of: Of, started: list[Served]) -> None:
    """Everybody on the host can send them, with whatever descriptors."""
    client = serve("CartPole-v1")
    shared = of(client)
    before = held()
    offer = client.ask("share")
    address, token = offer["address"], bytes.fromhex(offer["token"])
    junk = os.open("/dev/null", os.O_RDONLY)
    send_descriptors(address, b"")
    send_descriptors(address, b"", junk)
    send_descriptors(address, token[:15], junk)
    send_descriptors(address, bytes(16), shared.descriptor)
    send_descriptors(address, bytes(16), junk, junk)
    send_descriptors(address, bytes(1000), *[junk] * 20)
    send_descriptors(address, token + b"x", shared.descriptor)
    os.close(junk)
    shared.hand_over(offer)
    assert shared.take_over() == {}
    # The session has the memory by a descriptor of its mapping, and one for processes that go on from a snapshot.
    assert held() == before + 2
    assert shared.ask("reset")["op"] == "reset"


def test_no_memory_at_all_is_refused(serve: Serve, of: Of) -> None:
    """And everything goes on through the socket; the offer is over."""
    client = serve("CartPole-v1")
    before, shared = held(), of(client)
    offer = client.ask("share")
    for _ in range(2):
        error = refused_memory(shared)
        assert (error.code, error.fault, error.reset_needed) == ("sharing-refused", "request", False)
    with pytest.raises(ConnectionRefusedError):
        shared.hand_over(offer)
    assert held() == before + 2  # the test's own: its memory, which is mapped
    client.play()


@pytest.mark.parametrize("count", [0, 2])
def test_a_token_without_its_one_descriptor_is_refused(serve: Serve, of: Of, count: int) -> None:
    """Nothing says which memory is meant; none of it is kept."""
    client = serve("CartPole-v1")
    shared = of(client)
    before, offer = held(), client.ask("share")
    send_descriptors(offer["address"], bytes.fromhex(offer["token"]), *[shared.descriptor] * count)
    assert refused_memory(shared).code == "sharing-refused"
    assert held() == before
    client.play()


def test_a_wrong_token_alone_is_refused(serve: Serve, of: Of) -> None:
    """It is as if nothing had come."""
    client = serve("CartPole-v1")
    shared, offer = of(client), client.ask("share")
    shared.hand_over({**offer, "token": "00" * 16})
    assert refused_memory(shared).code == "sharing-refused"
    client.play()


@pytest.mark.parametrize(
    "descriptor",
    [
        lambda: create_memory(REQUESTS + 2 * ROOM - 1),
        lambda: create_memory(REQUESTS + 2 * ROOM, seals=0),
        lambda: os.open("/dev/zero", os.O_RDWR),
        lambda: socket.socket(socket.AF_UNIX).detach(),
    ],
    ids=["short", "unsealed", "device", "socket"],
)
def test_invalid_memory_is_refused(serve: Serve, of: Of, descriptor: Callable[[], int]) -> None:
    """It is let go of, and other memory can be offered."""
    client = serve("CartPole-v1")
    shared, before = of(client), held()
    offer, opened = client.ask("share"), descriptor()
    send_descriptors(offer["address"], bytes.fromhex(offer["token"]), opened)
    os.close(opened)
    assert refused_memory(shared).code == "sharing-refused"
    assert held() == before
    client.play()
    assert shared.share().ask("reset")["op"] == "reset"


@pytest.mark.parametrize("rooms", [(4095, ROOM), (ROOM, 4095), (ROOM, None), (0, 0), (2**27 + 1, ROOM), (-1, ROOM)])
def test_rooms_that_cannot_be_are_invalid_fields(serve: Serve, rooms: tuple[int, int | None]) -> None:
    """One without the other, too."""
    client = serve("CartPole-v1")
    client.ask("share")
    fields = {name: room for name, room in zip(("request_room", "reply_room"), rooms, strict=True) if room is not None}
    assert refused(client, **fields).code == "invalid-field"
    client.play()


def test_rooms_need_not_be_whole_pages(serve: Serve, of: Of) -> None:
    """Replies then begin anywhere."""
    client = serve("CartPole-v1")
    shared = of(client, 4099, 5003).share()
    assert shared.ask("reset")["op"] == "reset"
    assert shared.ask("step", action=client.actions.dump(0))["op"] == "step"


def test_another_offer_takes_the_place_of_the_first(serve: Serve, of: Of) -> None:
    """Nobody can use the first any more."""
    client = serve("CartPole-v1")
    shared, first = of(client), client.ask("share")
    second = client.ask("share")
    assert first != second
    with pytest.raises(ConnectionRefusedError):
        shared.hand_over(first)
    shared.hand_over(second)
    assert shared.take_over() == {}
    assert shared.ask("reset")["op"] == "reset"


@pytest.mark.parametrize("through_memory", [False, True], ids=["socket", "memory"])
def test_memory_can_be_shared_anew(serve: Serve, of: Of, through_memory: bool) -> None:
    """The session then leaves the old alone, whichever way it was asked."""
    client = serve("CartPole-v1")
    old, new = of(client).share(), of(client, 8192, ROOM)
    assert old.ask("reset")["op"] == "reset"
    if through_memory:
        new.hand_over(old.ask("share"))
        assert old.ask("share", request_room=8192, reply_room=ROOM) == {"op": "share"}
    else:
        new.share()
    assert new.ask("reset")["op"] == "reset"
    replied = old.number
    old.say("reset")
    client.send(old.doorbell)
    assert new.ask("sample")["op"] == "sample"
    assert old.word(REPLY) == replied


def test_memory_that_is_refused_leaves_the_old_in_use(serve: Serve, of: Of) -> None:
    """It goes on as if nothing had been asked."""
    client = serve("CartPole-v1")
    shared = of(client).share()
    client.ask("share")
    assert refused_memory(shared).code == "sharing-refused"
    assert shared.ask("reset")["op"] == "reset"


def test_an_operator_can_forbid_it(serve: Serve) -> None:
    """Make tells, and who asks nevertheless is refused."""
    client = serve("CartPole-v1", options={"shared_memory": False})
    assert not client.made.get("shared_memory")
    for fields in ({}, {"request_room": ROOM, "reply_room": ROOM}):
        error = refused(client, **fields)
        assert (error.code, error.fault) == ("sharing-refused", "request")
    client.play()


@pytest.mark.parametrize("poll", [0.0, 1e-3])
@pytest.mark.parametrize("wished", [0, 1])
def test_a_session_polls_or_waits(serve: Serve, of: Of, poll: float, wished: int) -> None:
    """As the operator and the client wish; either way it finds what is asked."""
    client = serve("CartPole-v1", options={"poll": poll})
    shared = of(client).share()
    shared.set(SERVER_POLLS, wished)
    for _ in range(50):
        assert shared.ask("reset")["op"] == "reset"


def test_the_end_of_a_session_that_shared_leaves_nothing(serve: Serve, of: Of, started: list[Served]) -> None:
    """Neither its own descriptors nor an offer that nobody took."""
    before = held()
    client = serve("CartPole-v1")
    shared = of(client).share()
    shared.ask("reset")
    client.ask("share")
    assert started[0].end() == "the client left"
    shared.close()
    started.pop().status.close()
    assert held() == before
