"""What two sessions play alike: checks compare a session with one that nothing unusual was done to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gymtwist.conformance.report import Violation, expect, skip
from gymtwist.conformance.server.session import Observed, Session, same
from gymtwist.conformance.server.subject import Subject
from gymtwist.spaces.bounds import range_of
from gymtwist.spaces.descriptions import Discrete

#: The seed of everything that is played.
SEED = 42
#: After how many steps an episode is taken not to end.
ENDLESS = 10_000


class Played(NamedTuple):
    """What was played: the first observation, and the steps."""

    first: Any
    steps: list[Observed]


def actions_of(session: Session, count: int) -> list[Any]:
    """Choose actions that are not all alike: those of a Discrete in turns, others as the server draws them."""
    space = session.made.action_space
    if isinstance(space, Discrete):
        first, last = range_of(space)
        return [first + index // 2 % (last - first + 1) for index in range(count)]
    return [session.sample(seed=SEED) if not index else session.sample() for index in range(count)]


def play(session: Session, actions: Sequence[Any], seed: int = SEED) -> Played:
    """Begin an episode with a seed, and take steps to its end at most."""
    return Played(session.reset(seed=seed), session.steps(actions))


def reference(subject: Subject, count: int, environment: str = "") -> tuple[list[Any], Played]:
    """Play an episode in a session of its own: the actions, and what was told."""
    with subject.session(environment) as session:
        actions = actions_of(session, count)
        played = play(session, actions)
        return actions[: len(played.steps)], played


def expect_same(found: Any, expected: Any, what: str) -> None:
    """Find a violation unless two things that were told are the same to the last bit."""
    if isinstance(found, list) and isinstance(expected, list):
        expect(len(found) == len(expected), f"{what}: {len(found)} steps, expected {len(expected)}")
        for index, pair in enumerate(zip(found, expected, strict=True)):
            expect_same(*pair, f"{what}, step {index + 1}")
        return
    if isinstance(found, (Observed, Played)):
        for name, first, second in zip(found._fields, found, expected, strict=True):
            expect_same(first, second, f"{what}, {name}" if name != "steps" else what)
        return
    expect(same(found, expected), f"{what}: {_told(found)}, expected {_told(expected)}")


def _told(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}..."


def play_to_end(session: Session) -> Observed:
    """Take steps to the end of the episode."""
    for action in actions_of(session, 16) * (ENDLESS // 16):
        stepped = session.step(action)
        if stepped.over:
            return stepped
    raise Violation(f"no episode has ended after {ENDLESS} steps")


def discrete(session: Session) -> Discrete:
    """Return the action space, which must be a Discrete, or the check is skipped."""
    space = session.made.action_space
    if not isinstance(space, Discrete):
        skip(f"the actions of {session.made.spec.id if session.made.spec else 'the environment'} are no Discrete")
    return space


def undisturbed(subject: Subject, requests: list[tuple[bytes, str, str, str]]) -> None:
    """Send wrong requests in an episode, which then must go on as one without them.

    Args:
        subject: The server.
        requests: Of each its frame, what it is, the code of the error, and a word that its message must have.
    """
    actions, expected = reference(subject, len(requests))
    if len(actions) < len(requests):
        undisturbed(subject, requests[len(actions) :])
    session = subject.session()
    expect_same(session.reset(seed=SEED), expected.first, "the first observation")
    for action, step, (data, what, code, word) in zip(actions, expected.steps, requests, strict=False):
        session.connection.send(data)
        error = session.connection.expect_error(what, code)
        expect(word in error.message, f"the error of {what} does not name {word!r}: {error.message!r}")
        expect_same(session.step(action), step, f"a step after {what}")
