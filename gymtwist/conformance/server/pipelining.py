"""Requests that are sent before the replies to those before them: they are answered in order."""

from __future__ import annotations

from gymtwist.conformance.report import expect
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.connection import of_kind
from gymtwist.conformance.server.playing import SEED, actions_of, expect_same, reference
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.messages import ResetDone, Sampled

pipelining = Theme("pipelining")


@pipelining
def in_order(subject: Subject) -> None:
    """Steps that are sent at once are answered one after another, in the order in which they were sent."""
    actions, expected = reference(subject, 8)
    session = subject.session()
    said = [session.connection.encoded("step", action=session.actions.dump(action)) for action in actions]
    for _ in range(4):
        session.connection.send(session.connection.encoded("reset", seed=SEED) + b"".join(said))
    for _ in range(4):
        expect_same(session.read_reset(), expected.first, "the first observation, pipelined")
        expect_same([session.read_step() for _ in said], expected.steps, "pipelined steps")


@pipelining
def of_all_kinds(subject: Subject) -> None:
    """Requests of several kinds that are sent at once are answered in order, errors among them."""
    actions, expected = reference(subject, 2)
    session = subject.session()
    encoded = session.connection.encoded
    steps = [encoded("step", action=session.actions.dump(action)) for action in actions]
    session.connection.send(
        encoded("sample", seed=SEED)
        + encoded("reset", seed=SEED)
        + b"".join(encoded("fly") + step + encoded("sample") for step in steps)
    )
    session.connection.expect(Sampled, "sample, the first of several requests,")
    first = session.connection.expect(ResetDone, "reset, the second of several requests,").observation
    expect_same(session.observation(first, "reset"), expected.first, "the first observation, pipelined")
    for index, step in enumerate(expected.steps):
        error = session.connection.expect_error("the operation fly, between others,", "unknown-operation")
        expect(error.message, "an error without a message")
        expect_same(session.read_step(), step, f"step {index + 1} between other requests")
        of_kind(session.connection.hear(), Sampled, "sample, between other requests,")


@pipelining
def without_reading(subject: Subject) -> None:
    """A thousand requests whose replies are read only afterwards are answered."""
    session = subject.session()
    session.connection.send(session.connection.encoded("sample") * 1000)
    for index in range(1000):
        session.connection.expect(Sampled, f"sample number {index + 1} of a thousand")


@pipelining
def before_the_environment_is_made(subject: Subject) -> None:
    """What is sent behind make, before its reply has come, is answered."""
    probe = subject.session()
    actions = actions_of(probe, 1)
    connection = subject.connect()
    connection.send(
        connection.encoded("make", **subject.fields())
        + connection.encoded("reset", seed=SEED)
        + connection.encoded("step", action=probe.actions.dump(actions[0]))
    )
    expect_same(connection.hear().__class__, probe.made.__class__, "the reply to make")
    probe.connection.say("reset", seed=SEED)
    expected = probe.read_reset()
    told = connection.expect(ResetDone, "reset, behind make,").observation
    expect_same(probe.observation(told, "reset"), expected, "the first observation, behind make")
    expect_same(probe.observed(connection.hear()), probe.step(actions[0]), "a step behind make")


@pipelining
def two_connections(subject: Subject) -> None:
    """Two connections whose steps alternate play an episode each."""
    actions, expected = reference(subject, 6)
    sessions = [subject.session() for _ in range(2)]
    for session in sessions:
        expect_same(session.reset(seed=SEED), expected.first, "the first observation, of one of two")
    for action, step in zip(actions, expected.steps, strict=True):
        for session in sessions:
            expect_same(session.step(action), step, "a step of one of two connections")
