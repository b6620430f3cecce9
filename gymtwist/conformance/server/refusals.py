"""Requests that are wrong: each gets an error that says so, and leaves the episode as it was."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from gymtwist.conformance.encoding import encode, framed
from gymtwist.conformance.report import skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.playing import SEED, actions_of, discrete, expect_same, play, undisturbed
from gymtwist.conformance.server.session import Session
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.messages import MAX_STEPS
from gymtwist.spaces.bounds import range_of
from gymtwist.spaces.descriptions import Box, bound_of

refusal = Theme("refusal")


def _wrong(subject: Subject, op: str, what: str, code: str = "invalid-field", word: str = "", **fields: Any) -> Any:
    return framed(subject.protocol, encode(subject.protocol, {"op": op, **fields})), what, code, word


@refusal
def an_unknown_operation(subject: Subject) -> None:
    """An operation that there is not gets an error, and leaves the episode as it was."""
    undisturbed(subject, [_wrong(subject, "fly", "the operation fly", "unknown-operation")])


@refusal
def no_operation(subject: Subject) -> None:
    """A message without an operation, or with one that is no string, gets an error that names the field."""
    payloads: list[tuple[Any, str]] = [({"action": 0}, "a message without op"), ({"op": 7}, "a message with the op 7")]
    undisturbed(
        subject,
        [
            (framed(subject.protocol, encode(subject.protocol, each)), what, "invalid-field", "op")
            for each, what in payloads
        ],
    )


@refusal
def missing_field(subject: Subject) -> None:
    """A step without an action gets an error that names the field, and leaves the episode as it was."""
    undisturbed(subject, [_wrong(subject, "step", "a step without an action", word="action")])


@refusal
def bad_seed(subject: Subject) -> None:
    """A seed that is no integer from 0 on gets an error that names the field, and leaves the episode as it was."""
    seeds: list[Any] = ["seven", -1, 1.5, True, {}]
    undisturbed(
        subject, [_wrong(subject, "reset", f"a reset with the seed {seed!r}", word="seed", seed=seed) for seed in seeds]
    )


@refusal
def fields_of_vectors(subject: Subject) -> None:
    """A list of seeds, or a mask, is refused where there is a single environment."""
    undisturbed(
        subject,
        [
            _wrong(subject, "reset", "a reset of one environment with a list of seeds", seed=[1, 2]),
            _wrong(subject, "reset", "a reset of one environment with a mask", mask=[True]),
        ],
    )


@refusal
def bad_options(subject: Subject) -> None:
    """Options that are no object get an error that names the field, and leave the episode as it was."""
    undisturbed(subject, [_wrong(subject, "reset", "a reset with the options [1]", word="options", options=[1])])


@refusal
def bad_step_many(subject: Subject) -> None:
    """Many steps that do not say what to do, or how often, get an error, and leave the episode as it was."""
    with subject.session() as session:
        action = session.actions.dump(actions_of(session, 1)[0])
    wrong: list[dict[str, Any]] = [
        {},
        {"action": action},
        {"count": 3},
        {"actions": [action], "action": action, "count": 1},
        {"actions": []},
        {"action": action, "count": 0},
        {"action": action, "count": MAX_STEPS + 1},
        {"actions": [action], "observations": "first"},
    ]
    for fields in wrong:
        undisturbed(subject, [_wrong(subject, "step_many", f"step_many with {fields}", **fields)])


def _values(subject: Subject, array: Any) -> Any:
    """Write an array as an action, whatever is in it."""
    return array.tolist() if subject.is_json else array.tobytes()


def _bad_discrete(subject: Subject, session: Session) -> Iterator[Any]:
    space = discrete(session)
    first, last = range_of(space)
    for number in (last + 1, first - 1, last + 1000):
        yield _values(subject, np.array(number, f"<{np.dtype(space.dtype).str[1:]}"))
    good = session.actions.dump(first)
    if subject.is_json:
        yield from ("left", None, [first], {"action": first}, first + 0.5, float(first), True, "0")
    else:
        yield from (good[:-1], good + b"\0", b"", "left", None, [first], {"action": first})


@refusal
def discrete_action(subject: Subject) -> None:
    """An action outside a Discrete, or of another kind, is refused, and leaves the episode as it was."""
    wrong = list(_bad_discrete(subject, subject.session()))
    for action in wrong:
        undisturbed(
            subject, [_wrong(subject, "step", f"the action {action!r}", "invalid-action", "action", action=action)]
        )


@refusal
def one_of_many_actions(subject: Subject) -> None:
    """One wrong action among many is refused before any of them is taken."""
    session = subject.session()
    wrong = next(_bad_discrete(subject, session))
    good = session.actions.dump(actions_of(session, 1)[0])
    undisturbed(
        subject,
        [
            _wrong(
                subject,
                "step_many",
                "step_many with a wrong last action",
                "invalid-action",
                actions=[good, good, wrong],
            )
        ],
    )


@refusal
def wrong_base64(subject: Subject) -> None:
    """Where values travel as base64, text that is none is refused, and so are bytes of another length."""
    if not subject.is_json:
        skip("MessagePack carries bytes as they are")
    session = subject.session(values="base64")
    session.reset(seed=SEED)
    good = base64.b64decode(session.actions.dump(actions_of(session, 1)[0]))
    for wrong in ("?!", 0, base64.b64encode(good + b"\0").decode(), base64.b64encode(good[1:]).decode()):
        session.connection.say("step", action=wrong)
        session.connection.expect_error(f"the action {wrong!r} as base64", "invalid-action")
    session.step(actions_of(session, 1)[0])


@refusal
def continuous_action(subject: Subject) -> None:
    """An action beyond the bounds of a Box, of another shape, or not a number is refused; the episode goes on."""
    session = subject.continuous()
    space = session.made.action_space
    if not isinstance(space, Box) or not space.dtype.startswith("float"):
        skip("its actions are no Box of floats")
    actions = [session.sample(seed=SEED), session.sample()]
    dtype = np.dtype(space.dtype).newbyteorder("<")
    expected = play(subject.continuous(), actions)
    expect_same(session.reset(seed=SEED), expected.first, "the first observation")
    good = np.ascontiguousarray(actions[0], dtype)
    wrong: list[tuple[str, Any]] = [("of another shape", _values(subject, np.concatenate([good, good])))]
    high = np.broadcast_to(bound_of(space, space.high).reshape(-1), good.size)
    if np.isfinite(high).all() and good.size:
        wrong.append(("beyond its bounds", _values(subject, (2 * np.abs(high) + 1).astype(dtype).reshape(good.shape))))
        # JSON has no token for it, but the protocol has a name.
        nan: Any = np.full(good.shape, np.nan, dtype)
        wrong.append(("not a number", np.full(good.shape, "NaN").tolist() if subject.is_json else nan.tobytes()))
    for what, value in wrong:
        session.connection.say("step", action=value)
        session.connection.expect_error(f"an action that is {what}", "invalid-action")
    expect_same(session.steps(actions), expected.steps, "an episode with wrong actions in it")
