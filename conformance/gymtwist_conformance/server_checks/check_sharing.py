"""Shared memory carries the same as the socket, and the server examines what clients offer as memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.shared_region import (
    IS_POSSIBLE,
    MIN_ROOM,
    REQUESTS,
    ROOM,
    SERVER_POLLS,
    SERVER_WAITS,
    TOKEN_SIZE,
    SharedRegion,
    address_of,
    create_memory,
    send_descriptors,
)
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, expect_same, play, reference

_TOTAL = REQUESTS + 2 * ROOM
_STEPS = 8


def _session(subject: Subject, environment: str = "", **fields: Any) -> Probe:
    """Make an environment without sharing memory yet; skip the check if memory cannot be shared."""
    probe = subject.session(environment, **fields)
    if not probe.made.get("shared_memory"):
        pytest.skip("the server shares no memory: `shared_memory` is false in the reply to make")
    if not IS_POSSIBLE:
        pytest.skip("memory can be shared on Linux on x86-64 only")
    return probe


@contextmanager
def _reachable() -> Iterator[None]:
    """Skip the check if the server's address for memory cannot be reached."""
    try:
        yield
    except ConnectionRefusedError:
        pytest.skip("the server takes memory on another host, or in another network namespace")
    except (BlockingIOError, TimeoutError):
        pytest.skip("others have filled the server's socket for memory")


def _share(probe: Probe, *rooms: int) -> SharedRegion:
    with _reachable():
        return probe.share(*rooms)


def _came(probe: Probe, in_memory: bool, what: str) -> None:
    ways = ("through the socket", "in the memory")
    right = probe.came_in_memory is in_memory
    require(right, f"the reply to {what} came {ways[not in_memory]}; expected it {ways[in_memory]}")


def _wait_for_server(region: SharedRegion) -> None:
    """Wait until the server announces that it waits at its socket; skip the check if it never does."""
    try:
        region.poll_for(lambda: region.word(SERVER_WAITS) == 1, region.client.patience)
    except TimeoutError:
        pytest.skip("the server does not say that it waits at its socket")


def _goes_on(probe: Probe, subject: Subject, what: str) -> None:
    """Play an episode through the socket, then share memory and play one there."""
    actions, expected = reference(subject, 2)
    expect_same(play(probe, actions), expected, f"an episode after {what}")
    _share(probe)
    expect_same(play(probe, actions), expected, f"an episode in memory after {what}")


def test_matches_socket(subject: Subject) -> None:
    """An episode in the memory equals one through the socket, errors included, whether the server polls or not."""
    actions, expected = reference(subject, _STEPS)
    probe = _session(subject)
    region = _share(probe)
    for polls in (0, 1):
        region.set(SERVER_POLLS, polls)
        expect_same(play(probe, actions), expected, "an episode in the memory")
        _came(probe, True, "a step in the memory")
        probe.say("fly")
        probe.expect_error("an unknown operation in the memory", "unknown-operation")
        _came(probe, True, "a wrong request in the memory")


def test_doorbell(subject: Subject) -> None:
    """A request put in the memory while the server waits at its socket is found after a doorbell."""
    probe = _session(subject)
    region = _share(probe)
    first = probe.reset(seed=SEED)[0]
    for _ in range(3):
        _wait_for_server(region)
        region.put_silently(probe.encoded("reset", seed=SEED))
        region.ring()
        expect_same(probe.read_reset()[0], first, "a reset in the memory, after a doorbell")
        _came(probe, True, "a request after a doorbell")


def test_spurious_doorbells(subject: Subject) -> None:
    """Doorbells without a request are skipped, before requests in the memory and before those in the socket."""
    actions, expected = reference(subject, _STEPS)
    probe = _session(subject)
    region = _share(probe)
    for in_memory in (True, False):
        probe.uses_memory = in_memory
        for _ in range(3):
            region.ring()
        expect_same(play(probe, actions), expected, "an episode after spurious doorbells")
        _came(probe, in_memory, "a step after spurious doorbells")


def test_mixed_transports(subject: Subject) -> None:
    """Requests through the socket after one in the memory are answered after it, through the socket."""
    actions, expected = reference(subject, 4)
    probe = _session(subject)
    _share(probe)
    steps = b"".join(probe.encoded("step", action=probe.actions.dump(action)) for action in actions)
    for _ in range(2):
        probe.say("reset", seed=SEED)
        probe.send(steps)
        expect_same(probe.read_reset()[0], expected[0], "a reset in the memory")
        _came(probe, True, "a reset in the memory")
        expect_same([probe.read_step() for _ in actions], expected[1:], "steps through the socket after it")
        _came(probe, False, "a step through the socket")


def test_oversized_reply(subject: Subject) -> None:
    """A reply that does not fit in the memory comes through the socket, and the next one through the memory again."""
    mode = subject.options.render_mode
    if not mode:
        pytest.skip("no render mode to check, and so no long reply: --render-mode ''")
    subject.optional("render mode of this kind", render_mode=mode)
    probe = _session(subject, render_mode=mode)
    _share(probe, MIN_ROOM, MIN_ROOM)
    first = probe.reset(seed=SEED)[0]
    frame = probe.ask("render").get("frame")
    if probe.came_in_memory:
        pytest.skip("the frame is shorter than the smallest room")
    require(frame is not None, "the frame that does not fit is null")
    expect_same(probe.reset(seed=SEED)[0], first, "a reset after a reply that does not fit")
    _came(probe, True, "a reset after a reply that does not fit")


def test_reply_slot(subject: Subject) -> None:
    """Replies are written where the client chooses, and nothing beside them; one that does not fit there is sent."""
    actions, expected = reference(subject, _STEPS)
    probe = _session(subject)
    region = _share(probe, ROOM, 2 * ROOM)
    room = slice(region.replies, region.replies + region.reply_room)
    for at in (ROOM, ROOM // 2 + 1):
        blank = b"\xee" * region.reply_room
        region.map[room] = blank
        region.place(at, ROOM // 2)
        expect_same(play(probe, actions), expected, "an episode whose replies have a slot")
        _came(probe, True, "a step whose reply has a slot")
        found, end = region.map[room], at + ROOM // 2
        untouched = found[:at] == blank[:at] and found[end:] == blank[end:]
        require(untouched, f"bytes were written beside the slot of {ROOM // 2} bytes from {at} on")
    for most, in_memory in ((8, False), (0, True)):
        region.place(0, most)
        expect_same(play(probe, actions), expected, f"an episode whose replies have {most or 'all'} bytes of room")
        _came(probe, in_memory, f"a step whose reply may have {most or 'all'} bytes")


def _ends_connection(probe: Probe, region: SharedRegion, what: str, length: int | None = None) -> None:
    region.put_silently(probe.encoded("reset"), length)
    region.ring()
    probe.expect_error(what, fault="protocol")
    probe.expect_end(what)


def test_slot_out_of_bounds(subject: Subject) -> None:
    """A slot outside the room is a protocol error, and ends the connection."""
    for at, most in ((ROOM, 1), (1, ROOM), (2**32 - 1, 2**32 - 1)):
        probe = _session(subject)
        region = _share(probe)
        region.place(at, most)
        _ends_connection(probe, region, f"a reply slot of {most} bytes from {at} on in a room of {ROOM}")


def test_invalid_length(subject: Subject) -> None:
    """A request that is empty, or larger than its room, is a protocol error, and ends the connection."""
    for length in (0, ROOM + 1):
        probe = _session(subject)
        region = _share(probe)
        _ends_connection(probe, region, f"a request in the memory of {length} bytes", length)


def test_share_again(subject: Subject) -> None:
    """Memory can be shared again, by requests through either transport, and numbers start with 1 again."""
    actions, expected = reference(subject, 2)
    probe = _session(subject)
    for in_memory in (True, True, False):
        probe.uses_memory = in_memory
        _share(probe)
        probe.uses_memory = True
        expect_same(play(probe, actions), expected, "an episode in memory that was shared again")
        _came(probe, True, "a step in memory that was shared again")


def _is_refused(subject: Subject, make: Callable[[], int], what: str) -> None:
    """Offer a descriptor that must be refused.

    Args:
        subject: The server.
        make: Opens the descriptor.
        what: What it is, for the report.
    """
    probe = _session(subject)
    address, token = address_of(probe.ask("share"))
    _send(address, token, make())
    _is_refused_with_rooms(probe, what)
    _goes_on(probe, subject, what)


def _send(address: str, token: bytes, descriptor: int) -> None:
    try:
        with _reachable():
            send_descriptors(address, token, descriptor, timeout=0.0)
    finally:
        os.close(descriptor)


def _is_refused_with_rooms(probe: Probe, what: str) -> None:
    probe.say("share", request_room=ROOM, reply_room=ROOM)
    probe.expect_error(what, "sharing-refused")


def test_unsealed_memory(subject: Subject) -> None:
    """Memory that could be shortened is refused, and the connection stays open."""
    _is_refused(subject, lambda: create_memory(_TOTAL, 0), "memory that is not sealed")


def test_memory_of_wrong_size(subject: Subject) -> None:
    """Memory that is shorter or longer than its rooms is refused, and the connection stays open."""
    for size in (_TOTAL - MIN_ROOM, _TOTAL + MIN_ROOM):
        _is_refused(subject, partial(create_memory, size), f"memory of {size} bytes, not {_TOTAL}")


def test_not_memory(subject: Subject) -> None:
    """A file that is not memory is refused, and the connection stays open."""
    _is_refused(subject, lambda: os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), "a file in place of memory")


def test_rooms_without_memory(subject: Subject) -> None:
    """Rooms are refused if no memory was offered, or none was handed over, and the connection stays open."""
    probe = _session(subject)
    _is_refused_with_rooms(probe, "rooms before an offer")
    probe.ask("share")
    _is_refused_with_rooms(probe, "rooms without memory")
    _is_refused_with_rooms(probe, "rooms after an offer that was used")
    _goes_on(probe, subject, "rooms without memory")


def test_wrong_token(subject: Subject) -> None:
    """Memory without the right token is ignored, and memory with it is accepted nevertheless."""
    actions, expected = reference(subject, 2)
    probe = _session(subject)
    address, token = address_of(probe.ask("share"))
    _send(address, bytes(TOKEN_SIZE), create_memory(REQUESTS + 2 * MIN_ROOM))
    region = SharedRegion(probe)
    _send(address, token, os.dup(region.descriptor))
    probe.use(region)
    expect_same(play(probe, actions), expected, "an episode in the memory")
    probe = _session(subject)
    address, token = address_of(probe.ask("share"))
    _send(address, token[::-1], create_memory(_TOTAL))
    _is_refused_with_rooms(probe, "memory with another token")
    _goes_on(probe, subject, "memory with another token")


def test_worker_death(subject: Subject) -> None:
    """If a request in the memory ends the process, the error comes through the socket, and memory is shared again."""
    if not subject.options.dying:
        pytest.skip("no environment that ends its process is known: --dying ID")
    probe, what = _session(subject, subject.options.dying), "a step of an environment that ends its process"
    action = probe.actions.dump(probe.sample())
    for in_memory in (True, False):
        region = _share(probe)
        first = probe.reset(seed=SEED)[0]
        probe.uses_memory = in_memory
        probe.say("step", action=action)
        probe.expect_error(what, fault="environment", reset_needed=True)
        _came(probe, False, what)
        # The next process must skip doorbells meant for the one that has died.
        region.ring()
        probe.forget()
        probe.uses_memory = True
        expect_same(probe.reset(seed=SEED)[0], first, f"a reset after {what}")
