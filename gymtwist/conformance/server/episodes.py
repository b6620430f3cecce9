"""Episodes: how they begin and end, seeds, sampling, rendering, many steps at once, and closing."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymtwist.conformance.report import expect, skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.playing import SEED, actions_of, expect_same, play, play_to_end, reference
from gymtwist.conformance.server.session import Session, same
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.messages import Closed, Rendered
from gymtwist.protocol.names import ProtocolName

episode = Theme("episode")


def _refused_step(session: Session, what: str) -> None:
    for op, fields in (("step", {}), ("step_many", {"count": 2})):
        session.connection.say(op, action=session.actions.dump(actions_of(session, 1)[0]), **fields)
        session.connection.expect_error(f"{op} {what}", "reset-needed", reset_needed=True)


@episode
def begins_with_reset(subject: Subject) -> None:
    """A step before the first reset is refused, and the connection goes on."""
    session = subject.session()
    _refused_step(session, "before the first reset")
    session.reset(seed=SEED)
    session.step(actions_of(session, 1)[0])


@episode
def ends(subject: Subject) -> None:
    """A step after the end of an episode is refused until there is a reset, and the connection goes on."""
    session = subject.session()
    session.reset(seed=SEED)
    play_to_end(session)
    _refused_step(session, "after the end of an episode")
    expect_same(session.reset(seed=SEED), subject.session().reset(seed=SEED), "the reset after the end of an episode")
    session.step(actions_of(session, 1)[0])


@episode
def reset_in_the_middle(subject: Subject) -> None:
    """A reset in the middle of an episode begins another."""
    actions, expected = reference(subject, 4)
    session = subject.session()
    session.reset(seed=SEED + 1)
    session.steps(actions[:2])
    expect_same(play(session, actions), expected, "an episode that began in the middle of another")


@episode
def same_seed(subject: Subject) -> None:
    """The same seed and actions lead to the same episode, in one session and in another."""
    for environment in (subject.options.environment, subject.options.continuous, *subject.options.also):
        if environment:
            actions, expected = reference(subject, 8, environment)
            session = subject.session(environment)
            for what in ("in another session", "again in the same session"):
                expect_same(play(session, actions), expected, f"{environment} with seed {SEED}, {what}")


@episode
def another_seed(subject: Subject) -> None:
    """Other seeds lead to other episodes."""
    session = subject.session()
    firsts = [session.reset(seed=seed) for seed in range(5)]
    if all(same(session.reset(), each) for each in firsts):
        skip("every episode of the environment begins alike")
    expect(not all(same(firsts[0], each) for each in firsts[1:]), "five seeds lead to the same first observation")


@episode
def no_seed(subject: Subject) -> None:
    """A reset without a seed goes on with the random numbers of the one before: seeded once, always the same."""
    sessions = [subject.session() for _ in range(2)]
    for session in sessions:
        session.reset(seed=SEED)
    for count in range(1, 4):
        first, second = (session.reset() for session in sessions)
        expect_same(second, first, f"the observation of reset {count} without a seed, after one with the same seed")


@episode
def sample(subject: Subject) -> None:
    """An action that is drawn is in the action space and can be played; the same seed draws the same ones."""
    for environment in (subject.options.environment, subject.options.continuous, *subject.options.also):
        if environment:
            session, other = subject.session(environment), subject.session(environment)
            drawn = [[each.sample(seed=SEED), *(each.sample() for _ in range(4))] for each in (session, other)]
            expect(same(*drawn), f"actions drawn with the same seed differ: {drawn[0]} and {drawn[1]}")
            session.reset(seed=SEED)
            session.steps(drawn[0])


@episode
def sample_is_random(subject: Subject) -> None:
    """Ten seeds do not all draw the same action, nor do twenty calls without a seed."""
    session = subject.session()
    for what, seeds in (("seeds", list(range(10))), ("calls", [None] * 20)):
        drawn = [session.sample(**({} if seed is None else {"seed": seed})) for seed in seeds]
        expect(not all(same(drawn[0], each) for each in drawn), f"{len(seeds)} {what} draw the same action: {drawn[0]}")


@episode
def step_many(subject: Subject) -> None:
    """Many steps are single steps: their rewards, the last observation or all, the flags, and how many there were."""
    actions, expected = reference(subject, 6)
    for wanted in ("last", "all"):
        session = subject.session()
        session.reset(seed=SEED)
        told = session.step_many(actions=[session.actions.dump(each) for each in actions], observations=wanted)
        steps = expected.steps
        expect(told.count == len(steps), f"`count` is {told.count}; expected {len(steps)}")
        rewards = session.rewards(told.rewards, told.count)
        expect_same(rewards, np.array([each.reward for each in steps], np.float64), "the rewards of many steps")
        observations = _observations(session, told.observations, told.count if wanted == "all" else None)
        expect_same(
            observations, [each.observation for each in steps[-len(observations) :]], f'the observations, "{wanted}",'
        )
        flags = (session.flags(told.terminated, "terminated"), session.flags(told.truncated, "truncated"))
        expect_same(flags, (steps[-1].terminated, steps[-1].truncated), "the flags after many steps")


def _observations(session: Session, told: Any, count: int | None) -> list[Any]:
    """Read the last observation, or all of them."""
    what = "an observation of step_many is none of its space"
    layout = session.made.observation_layout
    if count is None:
        return [session.observations.load(told, what)]
    if session.connection.protocol is ProtocolName.INT32 and layout is not None:
        expect(
            isinstance(told, bytes) and len(told) == count * layout.size,
            f"`observations` is a {type(told).__name__}; expected a bin of {count} times {layout.size} bytes",
        )
        told = [told[index * layout.size : (index + 1) * layout.size] for index in range(count)]
    expect(isinstance(told, list) and len(told) == count, f"`observations` is no list of {count}")
    return [session.observations.load(each, what) for each in told]


@episode
def step_many_with_one_action(subject: Subject) -> None:
    """One action that is repeated does the same as a list of it."""
    sessions = [subject.session() for _ in range(2)]
    told = []
    for session, repeated in zip(sessions, (True, False), strict=True):
        session.reset(seed=SEED)
        action = session.actions.dump(actions_of(session, 1)[0])
        told.append(session.step_many(**({"action": action, "count": 5} if repeated else {"actions": [action] * 5})))
    expect_same(told[0].count, told[1].count, "the count of a repeated action")
    expect_same(told[0].rewards, told[1].rewards, "the rewards of a repeated action")
    expect_same(told[0].observations, told[1].observations, "the observation after a repeated action")


@episode
def step_many_stops(subject: Subject) -> None:
    """Many steps stop at the end of an episode, and tell how many there were."""
    session = subject.session(max_episode_steps=4)
    session.reset(seed=SEED)
    told = session.step_many(action=session.actions.dump(actions_of(session, 1)[0]), count=9)
    expect(told.count == 4, f"`count` is {told.count} where the episode ended after 4 steps")
    expect(told.truncated is True, f"`truncated` is {told.truncated!r} at the end of an episode of 4 steps")
    session.rewards(told.rewards, 4)
    _refused_step(session, "after many steps to the end of an episode")


@episode
def render(subject: Subject) -> None:
    """What is rendered is an array, text, or a list of such; before the first reset there is nothing to render."""
    if not subject.options.render_mode:
        skip("there is no render mode to judge: --render-mode ''")
    connection, made = subject.optional(
        f"render mode {subject.options.render_mode!r}", render_mode=subject.options.render_mode
    )
    session = Session(connection, made)
    expect(
        made.render_mode == subject.options.render_mode, f"`render_mode` is {made.render_mode!r}, not what was asked"
    )
    connection.say("render")
    connection.expect_error("render before the first reset", "reset-needed", reset_needed=True)
    session.reset(seed=SEED)
    connection.say("render")
    frame = connection.expect(Rendered, "render").frame
    expect(
        isinstance(frame, (np.ndarray, str, list)), f"the frame is a {type(frame).__name__}; expected an array or text"
    )
    session.step(actions_of(session, 1)[0])


@episode
def render_without_a_mode(subject: Subject) -> None:
    """Rendering an environment that was made without a render mode is refused, and the connection goes on."""
    session = subject.session()
    session.reset(seed=SEED)
    session.connection.say("render")
    session.connection.expect_error("render without a render mode")
    session.step(actions_of(session, 1)[0])


@episode
def close(subject: Subject) -> None:
    """Close is answered, and then the server closes the connection."""
    for playing in (False, True):
        session = subject.session()
        if playing:
            session.reset(seed=SEED)
        session.connection.say("close")
        session.connection.expect(Closed, "close")
        session.connection.expect_end("close")
