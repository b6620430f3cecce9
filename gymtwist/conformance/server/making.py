"""What make tells of an environment, and what becomes of one that cannot be had."""

from __future__ import annotations

from typing import Any

import msgspec

from gymtwist.conformance.report import expect, skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.connection import Connection, Ended
from gymtwist.conformance.server.playing import SEED, actions_of, expect_same, play
from gymtwist.conformance.server.session import Session
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.messages import VERSION, Made, ResetDone, Stepped
from gymtwist.spaces.descriptions import layout_of

make = Theme("make")


def _goes_on(subject: Subject, connection: Connection, what: str) -> None:
    """Send a make message behind one that failed: unless the server has closed the connection, it makes one."""
    try:
        connection.say("make", **subject.fields())
        made = connection.expect(Made, f"make, after {what},")
    except Ended:
        return
    Session(connection, made).reset(seed=SEED)


@make
def what_is_told(subject: Subject) -> None:
    """The reply describes both spaces, says who serves, and which version of the protocol."""
    for environment in (subject.options.environment, subject.options.continuous, *subject.options.also):
        if environment:
            made = subject.session(environment).made
            expect(made.server.strip(), "`server` is empty; expected the server's name")
            expect(made.version == VERSION, f"`version` is {made.version}; expected {VERSION}")
            expect(made.num_envs is None, f"`num_envs` is {made.num_envs} for a single environment; expected none")
            expect(made.render_mode is None, f"`render_mode` is {made.render_mode!r}, which was not asked for")


@make
def layouts_follow_from_the_spaces(subject: Subject) -> None:
    """The layouts are those that the spaces fix: the leaves in order, without gaps."""
    for environment in (subject.options.environment, subject.options.continuous, *subject.options.also):
        if environment:
            made = subject.session(environment).made
            for name in ("action", "observation"):
                space, told = getattr(made, f"{name}_space"), getattr(made, f"{name}_layout")
                expected = layout_of(space)
                expect(told == expected, f"the {name} layout of {environment} is {told}; expected {expected}")


@make
def unknown_fields(subject: Subject) -> None:
    """A field that the server does not know is ignored, and so is its default."""
    session = subject.session(x_unknown={"anything": [1, None]}, render_mode=None, kwargs={}, num_envs=None)
    first = session.reset(seed=SEED, x_unknown=True, options=None, mask=None)
    expect_same(first, subject.session().reset(seed=SEED), "a session with fields that nobody knows")
    session.step(actions_of(session, 1)[0], x_unknown="anything")


@make
def an_unknown_environment(subject: Subject) -> None:
    """An id that nobody registered is refused with a reason, and may be followed by another make."""
    connection = subject.connect()
    connection.say("make", **subject.fields("Conformance/NoSuchEnvironment-v0"))
    what = "make of an environment that does not exist"
    connection.expect_error(
        what, "unknown-environment", "environment-refused", fault=("request", "server"), reset_needed=None
    )
    _goes_on(subject, connection, what)


@make
def refused_kwargs(subject: Subject) -> None:
    """A keyword argument that the environment does not take is refused, and may be followed by another make."""
    connection = subject.connect()
    connection.say("make", **subject.fields(kwargs={"no_such_argument": 1}))
    what = "make with a keyword argument that does not exist"
    connection.expect_error(what, fault=("request", "environment"), reset_needed=None)
    _goes_on(subject, connection, what)


@make
def invalid_fields(subject: Subject) -> None:
    """A field that is not of its type or in its range is refused, and the error names it."""
    wrong: list[tuple[str, Any]] = [
        ("id", 7),
        ("id", ""),
        ("kwargs", [1]),
        ("num_envs", 0),
        ("num_envs", "three"),
        ("autoreset_mode", "sometimes"),
        ("max_episode_steps", -2),
        ("info", "some"),
        ("values", "hexadecimal"),
    ]
    for name, value in wrong:
        connection = subject.connect()
        connection.say("make", **{**subject.fields(), name: value})
        what = f"make with {name} = {value!r}"
        error = connection.expect_error(what, "invalid-field", reset_needed=None)
        expect(name in error.message, f"the error of {what} does not name the field: {error.message!r}")
        _goes_on(subject, connection, what)


@make
def no_id(subject: Subject) -> None:
    """A make message without an id is refused, and the error names what is missing."""
    connection = subject.connect()
    connection.say("make")
    error = connection.expect_error("make without an id", "invalid-field", reset_needed=None)
    expect("id" in error.message, f"the error does not name the field: {error.message!r}")
    _goes_on(subject, connection, "one without an id")


@make
def a_newer_version(subject: Subject) -> None:
    """A version of the protocol that the server does not speak is refused."""
    connection = subject.connect()
    connection.say("make", **subject.fields(version=VERSION + 1000))
    connection.expect_error(f"make with version {VERSION + 1000}", "invalid-field", reset_needed=None)


@make
def comes_first(subject: Subject) -> None:
    """A request before make is refused, and make may follow."""
    for op in ("reset", "sample", "close"):
        connection = subject.connect()
        connection.say(op)
        connection.expect_error(f"{op} before make", "no-environment", reset_needed=None)
        _goes_on(subject, connection, f"{op} before it")


@make
def comes_once(subject: Subject) -> None:
    """A second make is refused, and the first environment goes on as if nothing had been asked."""
    session = subject.session()
    actions = actions_of(session, 2)
    expected = play(subject.session(), actions)
    first = session.reset(seed=SEED)
    session.connection.say("make", **subject.fields())
    session.connection.expect_error("a second make", "environment-made")
    expect_same(first, expected.first, "the first observation")
    expect_same(session.steps(actions), expected.steps, "an episode with a second make in it")


@make
def max_episode_steps(subject: Subject) -> None:
    """An episode is truncated, and not terminated, after as many steps as make says."""
    session = subject.session(max_episode_steps=3)
    told = session.made.spec
    expect(told is None or told.max_episode_steps == 3, f"`spec` tells {told}; expected 3 steps at most")
    session.reset(seed=SEED)
    steps = session.steps(actions_of(session, 5))
    expect(len(steps) == 3, f"the episode has {len(steps)} steps; expected 3")
    expect(
        steps[-1].truncated and not steps[-1].terminated,
        f"the last step tells terminated {steps[-1].terminated} and truncated {steps[-1].truncated}; "
        "expected false and true",
    )


@make
def infos_that_are_wanted(subject: Subject) -> None:
    """Where no infos are wanted none are sent, and with "episode" none in the middle of an episode."""
    for environment in (subject.options.environment, *subject.options.also):
        for wanted in ("none", "episode"):
            session = subject.session(environment, info=wanted)
            session.connection.say("reset", seed=SEED)
            reset = session.connection.expect(ResetDone, "reset")
            expect(wanted == "episode" or not reset.info, f"reset tells the info {reset.info}; none was wanted")
            session.connection.say("step", action=session.actions.dump(actions_of(session, 1)[0]))
            step = session.connection.expect(Stepped, "step")
            middle = not step.terminated and not step.truncated
            expect(
                not (step.info and (middle or wanted == "none")), f"a step tells the info {step.info}; none was wanted"
            )


@make
def limits_that_are_told(subject: Subject) -> None:
    """The limits, where they are told, are positive."""
    limits = subject.session().made.limits
    if limits is None:
        skip("the server tells no limits")
    wrong = [name for name, value in msgspec.structs.asdict(limits).items() if value is not None and not value > 0]
    expect(not wrong, f"limits that are not positive: {', '.join(wrong)}; no limit is told as null")
