"""Shared memory: what passes through it is the same as through the socket, and what is handed over is looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from gymtwist.conformance.report import expect, skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.memory import ROOM, SharingConnection, create, send_memory
from gymtwist.conformance.server.playing import SEED, expect_same, play, reference
from gymtwist.conformance.server.session import Session
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol import shared_memory as memory
from gymtwist.protocol.messages import MIN_ROOM, Made, Rendered
from gymtwist.protocol.shared_memory import REQUESTS, SERVER_POLLS

sharing = Theme("sharing")

_TOTAL = REQUESTS + 2 * ROOM
_STEPS = 8


def _connection(subject: Subject, environment: str = "", **fields: Any) -> tuple[SharingConnection, Session]:
    """Make an environment, and share nothing yet; skips the check where that cannot be."""
    options = subject.options
    connection = subject.keep(SharingConnection(options.address, subject.protocol, options.patience))
    connection.say("make", **subject.fields(environment, **fields))
    made = connection.expect(Made, "make")
    if not made.shared_memory:
        skip("the server shares no memory: `shared_memory` is false in the reply to make")
    if not memory.IS_POSSIBLE:
        skip("no memory can be shared from here: that takes Linux on x86-64")
    return connection, Session(connection, made)


def _came(connection: SharingConnection, in_memory: bool, what: str) -> None:
    ways = ("through the socket", "in the memory")
    expect(
        connection.came_in_memory is in_memory,
        f"the reply to {what} came {ways[not in_memory]}; expected it {ways[in_memory]}",
    )


def _goes_on(connection: SharingConnection, session: Session, subject: Subject, what: str) -> None:
    """Find that an episode can be played through the socket, and memory be shared after all."""
    actions, expected = reference(subject, 2)
    expect_same(play(session, actions), expected, f"an episode behind {what}")
    connection.share()
    expect_same(play(session, actions), expected, f"an episode in memory behind {what}")


@sharing
def steps_as_through_the_socket(subject: Subject) -> None:
    """An episode in the memory is the same as one through the socket, errors included, whether the server polls."""
    actions, expected = reference(subject, _STEPS)
    connection, session = _connection(subject)
    words = connection.share().words
    for polls in (0, 1):
        words[SERVER_POLLS] = polls
        expect_same(play(session, actions), expected, "an episode in the memory")
        _came(connection, True, "a step in the memory")
        connection.say("fly")
        connection.expect_error("an unknown operation in the memory", "unknown-operation")
        _came(connection, True, "a wrong request in the memory")


@sharing
def a_bell(subject: Subject) -> None:
    """A request that is put in the memory while the server waits at its socket is found when a bell has come."""
    connection, session = _connection(subject)
    connection.share()
    first = session.reset(seed=SEED)
    for _ in range(3):
        connection.wait_until_it_waits()
        connection.put(connection.encoded("reset", seed=SEED))
        connection.ring()
        expect_same(session.read_reset(), first, "a reset in the memory, behind a bell")
        _came(connection, True, "a request behind a bell")


@sharing
def bells_for_nothing(subject: Subject) -> None:
    """Bells that ring for nothing are passed over, before requests in the memory and before those in the socket."""
    actions, expected = reference(subject, _STEPS)
    connection, session = _connection(subject)
    connection.share()
    for in_memory in (True, False):
        connection.in_memory = in_memory
        for _ in range(3):
            connection.ring()
        expect_same(play(session, actions), expected, "an episode behind bells for nothing")
        _came(connection, in_memory, "a step behind bells for nothing")


@sharing
def either_way(subject: Subject) -> None:
    """Requests sent behind one in the memory are answered behind it, through the socket, and then it is used again."""
    actions, expected = reference(subject, 4)
    connection, session = _connection(subject)
    connection.share()
    encoded = [connection.encoded("step", action=session.actions.dump(action)) for action in actions]
    for _ in range(2):
        connection.in_memory = True
        connection.say("reset", seed=SEED)
        connection.in_memory = False
        connection.send(b"".join(encoded))
        expect_same(session.read_reset(), expected.first, "a reset in the memory")
        _came(connection, True, "a reset in the memory")
        expect_same([session.read_step() for _ in actions], expected.steps, "steps through the socket behind it")
        _came(connection, False, "a step through the socket")


@sharing
def a_reply_that_does_not_fit(subject: Subject) -> None:
    """A reply that has no room in the memory comes through the socket, and the next one in the memory again."""
    mode = subject.options.render_mode
    if not mode:
        skip("there is no render mode to judge, so no reply that is long: --render-mode ''")
    subject.optional("render mode of this kind", render_mode=mode)
    connection, session = _connection(subject, render_mode=mode)
    connection.share(MIN_ROOM, MIN_ROOM)
    first = session.reset(seed=SEED)
    connection.say("render")
    frame = connection.expect(Rendered, "render").frame
    if connection.came_in_memory:
        skip(f"the frame is shorter than the smallest room: {type(frame).__name__}")
    expect(frame is not None, "the frame that does not fit is null")
    expect_same(session.reset(seed=SEED), first, "a reset behind a reply that does not fit")
    _came(connection, True, "a reset behind a reply that does not fit")


@sharing
def a_place_for_the_reply(subject: Subject) -> None:
    """Replies lie where the client wishes, with nothing written beside them; one that has no room there is sent."""
    actions, expected = reference(subject, _STEPS)
    connection, session = _connection(subject)
    shared = connection.share(ROOM, 2 * ROOM)
    room = slice(shared.replies, shared.replies + shared.reply_room)
    for at in (ROOM, ROOM // 2 + 1):
        blank = b"\xee" * shared.reply_room
        shared.memory[room] = blank
        connection.place(at, ROOM // 2)
        expect_same(play(session, actions), expected, "an episode whose replies have a place")
        _came(connection, True, "a step whose reply has a place")
        found = shared.memory[room]
        end = at + ROOM // 2
        expect(
            found[:at] == blank[:at] and found[end:] == blank[end:],
            f"something was written beside the {ROOM // 2} bytes from {at} on that the client has named for replies",
        )
    for most, in_memory in ((8, False), (0, True)):
        connection.place(0, most)
        expect_same(play(session, actions), expected, f"an episode whose replies have {most or 'all'} bytes of room")
        _came(connection, in_memory, f"a step whose reply may have {most or 'all'} bytes")


@sharing
def a_place_outside_the_room(subject: Subject) -> None:
    """A place for the reply that is not within its room gets an error of the protocol, and the server closes."""
    for at, most in ((ROOM, 1), (1, ROOM), (2**32 - 1, 2**32 - 1)):
        connection, _ = _connection(subject)
        connection.share()
        connection.place(at, most)
        connection.put(connection.encoded("reset"))
        connection.ring()
        what = f"a reply that is to have {most} bytes from {at} of its room on, which has {ROOM}"
        connection.expect_error(what, fault="protocol")
        connection.expect_end(what)


@sharing
def a_length_that_is_none(subject: Subject) -> None:
    """A request of no bytes, or of more than its room, gets an error of the protocol, and the server closes."""
    for length in (0, ROOM + 1):
        connection, _ = _connection(subject)
        connection.share()
        request = connection.encoded("reset")
        connection.put(request, length)
        connection.ring()
        connection.expect_error(f"a request in the memory of {length} bytes", fault="protocol")
        connection.expect_end(f"a request in the memory of {length} bytes")


@sharing
def sharing_anew(subject: Subject) -> None:
    """Memory can be shared anew, by a request through either way; numbers begin with 1 again."""
    actions, expected = reference(subject, 2)
    connection, session = _connection(subject)
    for in_memory in (True, True, False):
        connection.in_memory = in_memory
        connection.share()
        connection.in_memory = True
        expect_same(play(session, actions), expected, "an episode in memory that was shared anew")
        _came(connection, True, "a step in memory that was shared anew")


# What is refused


def _refused(subject: Subject, make: Callable[[], int], what: str) -> None:
    """Find that something is refused in place of memory.

    Args:
        subject: The server.
        make: Makes it, and returns its descriptor.
        what: It is.
    """
    connection, session = _connection(subject)
    address, token = connection.offered()
    descriptor = make()
    try:
        send_memory(address, token, descriptor)
    finally:
        os.close(descriptor)
    connection.ask_for(ROOM, ROOM)
    connection.expect_error(what, "sharing-refused")
    _goes_on(connection, session, subject, what)


@sharing
def unsealed_memory(subject: Subject) -> None:
    """Memory that could be shortened is refused; the connection goes on, and memory that is sealed is taken."""
    _refused(subject, partial(create, _TOTAL), "memory that is not sealed")


@sharing
def memory_of_another_size(subject: Subject) -> None:
    """Memory that is shorter than its rooms, or longer, is refused; the connection goes on."""
    for room in (ROOM - MIN_ROOM, ROOM + MIN_ROOM):
        _refused(subject, partial(memory.create, ROOM, room), f"memory of {REQUESTS + ROOM + room} bytes, not {_TOTAL}")


@sharing
def no_memory_at_all(subject: Subject) -> None:
    """A file that is no memory is refused, and the connection goes on."""
    _refused(subject, lambda: os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), "a file in place of memory")


@sharing
def rooms_without_a_handover(subject: Subject) -> None:
    """Rooms are refused where nothing was offered, or nothing was handed over; the connection goes on."""
    connection, session = _connection(subject)
    connection.ask_for(ROOM, ROOM)
    connection.expect_error("rooms before an offer", "sharing-refused")
    connection.offered()
    connection.ask_for(ROOM, ROOM)
    connection.expect_error("rooms without memory", "sharing-refused")
    connection.ask_for(ROOM, ROOM)
    connection.expect_error("rooms behind an offer that was used", "sharing-refused")
    _goes_on(connection, session, subject, "rooms without a handover")


@sharing
def another_token(subject: Subject) -> None:
    """What comes without the token is passed over, and does not stand in the way of what comes with it."""
    actions, expected = reference(subject, 2)
    connection, session = _connection(subject)
    connection.share(decoy=bytes(memory.TOKEN_SIZE))
    expect_same(play(session, actions), expected, "an episode in the memory")
    connection, session = _connection(subject)
    address, token = connection.offered()
    descriptor = memory.create(ROOM, ROOM)
    try:
        send_memory(address, bytes(reversed(token)), descriptor)
    finally:
        os.close(descriptor)
    connection.ask_for(ROOM, ROOM)
    connection.expect_error("memory with another token", "sharing-refused")
    _goes_on(connection, session, subject, "memory with another token")


# What happens if a process dies


@sharing
def of_a_process_that_dies(subject: Subject) -> None:
    """Where a request in the memory ends its process, the error comes through the socket, and memory is shared anew."""
    if not subject.options.dying:
        skip("no environment that ends its process is known: --dying ID")
    connection, session = _connection(subject, subject.options.dying)
    action = session.actions.dump(session.sample())
    for in_memory in (True, False):
        connection.share()
        connection.in_memory = True
        first = session.reset(seed=SEED)
        connection.in_memory = in_memory
        connection.say("step", action=action)
        what = "a step of an environment that ends its process"
        connection.expect_error(what, fault="environment", reset_needed=True)
        _came(connection, False, what)
        connection.memory = None
        # Bells for the process that has died are passed over by the next.
        connection.ring()
        expect_same(session.reset(seed=SEED), first, f"a reset behind {what}")
