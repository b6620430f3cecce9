"""Requests that are sent before the replies to earlier ones are answered in order."""

from __future__ import annotations

from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Subject, actions_of, expect_same, play, reference


def test_steps_in_order(subject: Subject) -> None:
    """Steps that are sent together are answered in the order in which they were sent."""
    actions, expected = reference(subject, 8)
    probe = subject.session()
    steps = b"".join(probe.encoded("step", action=probe.actions.dump(action)) for action in actions)
    for _ in range(4):
        probe.send(probe.encoded("reset", seed=SEED) + steps)
    for _ in range(4):
        found = [probe.read_reset()[0], *(probe.read_step() for _ in actions)]
        expect_same(found, expected, "a pipelined episode")


def test_mixed_requests(subject: Subject) -> None:
    """Requests of several kinds that are sent together are answered in order, including errors."""
    actions, expected = reference(subject, 2)
    probe = subject.session()
    encoded = probe.encoded
    steps = [encoded("step", action=probe.actions.dump(action)) for action in actions]
    between = b"".join(encoded("fly") + step + encoded("sample") for step in steps)
    probe.send(encoded("sample", seed=SEED) + encoded("reset", seed=SEED) + between)
    probe.reply("sample")
    expect_same(probe.read_reset()[0], expected[0], "the first observation, pipelined")
    for index, step in enumerate(expected[1:]):
        error = probe.expect_error("the operation fly, between others,", "unknown-operation")
        require(error.message, "an error without a message")
        expect_same(probe.read_step(), step, f"step {index + 1} between other requests")
        probe.reply("sample")


def test_unread_replies(subject: Subject) -> None:
    """A thousand requests whose replies are read only afterwards are answered."""
    probe = subject.session()
    probe.send(probe.encoded("sample") * 1000)
    for _ in range(1000):
        probe.reply("sample")


def test_requests_behind_make(subject: Subject) -> None:
    """Requests that are sent right after make are answered."""
    other = subject.session()
    (action,) = actions_of(other, 1)
    probe = subject.connect()
    probe.send(
        probe.encoded("make", **subject.fields())
        + probe.encoded("reset", seed=SEED)
        + probe.encoded("step", action=other.actions.dump(action))
    )
    probe.read_made()
    expect_same([probe.read_reset()[0], probe.read_step()], play(other, [action]), "an episode right behind make")


def test_two_connections(subject: Subject) -> None:
    """Two connections whose steps alternate play one episode each."""
    actions, expected = reference(subject, 6)
    probes = [subject.session() for _ in range(2)]
    for probe in probes:
        expect_same(probe.reset(seed=SEED)[0], expected[0], "the first observation, of one of two")
    for action, step in zip(actions, expected[1:], strict=True):
        for probe in probes:
            expect_same(probe.step(action), step, "a step of one of two connections")
