"""Values: they fit their spaces, and are the same however they travel."""

from __future__ import annotations

from gymtwist.conformance.report import skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.playing import SEED, actions_of, expect_same, play, reference
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.names import ProtocolName

values = Theme("values")


def _environments(subject: Subject) -> list[str]:
    options = subject.options
    return [each for each in (options.environment, options.continuous, *options.also) if each]


@values
def fit_their_spaces(subject: Subject) -> None:
    """Every observation has the dtype and the shape of the space, and every action that is drawn is in its space."""
    for environment in _environments(subject):
        session = subject.session(environment)
        session.reset(seed=SEED)
        for _ in range(50):
            if session.step(session.sample()).over:
                session.reset()


@values
def as_base64(subject: Subject) -> None:
    """In JSON, values as base64 are the same as nested ones, to the last bit."""
    if not subject.is_json:
        skip("MessagePack carries bytes as they are")
    for environment in _environments(subject):
        actions, expected = reference(subject, 8, environment)
        session = subject.session(environment, values="base64")
        expect_same(play(session, actions), expected, f"{environment}, with values as base64")


@values
def in_both_framings(subject: Subject) -> None:
    """JSON and MessagePack carry the same episode, to the last bit."""
    other = ProtocolName.INT32 if subject.is_json else ProtocolName.NETSTRING
    if other not in subject.options.framings:
        skip(f"the server is not judged in {other.value}")
    for environment in _environments(subject):
        first, second = subject.session(environment), subject.session(environment, protocol=other)
        actions = actions_of(first, 8)
        expect_same(play(first, actions), play(second, actions), f"{environment} in {subject.protocol.value}")
        expect_same(first.made.spec, second.made.spec, f"`spec` of {environment}")
