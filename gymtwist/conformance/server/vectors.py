"""Vector environments: several that step together in one connection."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymtwist.conformance.report import Violation, expect
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.playing import ENDLESS, SEED, actions_of, expect_same
from gymtwist.conformance.server.session import Observed, Session
from gymtwist.conformance.server.subject import Subject
from gymtwist.spaces.bounds import range_of
from gymtwist.spaces.descriptions import Box, Discrete, MultiDiscrete, layout_of

vector = Theme("vector")


def _row(batch: Any, index: int) -> Any:
    """Take what belongs to one environment of what was told of all."""
    if isinstance(batch, dict):
        return {key: _row(each, index) for key, each in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_row(each, index) for each in batch)
    return batch[index]


def _batch(session: Session, index: int) -> Any:
    """Make an action of all environments, of each another for each index: if they are integers, else drawn."""
    space, single = session.made.action_space, session.made.single_action_space
    if not isinstance(space, MultiDiscrete) or not isinstance(single, Discrete):
        return session.sample()
    first, last = range_of(single)
    return np.full(session.num_envs or 0, first + index // 2 % (last - first + 1), space.dtype)


@vector
def what_is_told(subject: Subject) -> None:
    """The reply to make describes the spaces of all environments and of a single one, and when they are reset."""
    count, single = subject.options.num_envs, subject.session().made
    made = subject.vector().made
    expect(made.num_envs == count, f"`num_envs` is {made.num_envs}; expected {count}")
    expect(made.autoreset_mode == "next_step", f"`autoreset_mode` is {made.autoreset_mode!r}; expected the default")
    for name in ("action", "observation"):
        told = getattr(made, f"single_{name}_space")
        expected = getattr(single, f"{name}_space")
        expect(told == expected, f"the single {name} space is {told}; expected that of one environment, {expected}")
        layout = getattr(made, f"single_{name}_layout")
        expect(layout == layout_of(told), f"the single {name} layout is {layout}; expected {layout_of(told)}")
        layout, of_all = getattr(made, f"{name}_layout"), layout_of(getattr(made, f"{name}_space"))
        expect(layout == of_all, f"the {name} layout is {layout}; expected {of_all}")
    space = made.observation_space
    if isinstance(space, Box):
        expect(space.shape[:1] == (count,), f"observations have the shape {space.shape}; expected {count} rows")


@vector
def seeds(subject: Subject) -> None:
    """With a seed for each, every environment begins as a single one with that seed does."""
    count = subject.options.num_envs
    session = subject.vector(vectorization_mode="sync")
    single = subject.session()
    for numbers in ([SEED + 10 * index for index in range(count)], [SEED] * count):
        batch = session.reset(seed=numbers)
        for index, seed in enumerate(numbers):
            expect_same(_row(batch, index), single.reset(seed=seed), f"environment {index} with seed {seed}")


@vector
def one_seed(subject: Subject) -> None:
    """One seed makes the episodes of all environments the same again."""
    sessions = [subject.vector() for _ in range(2)]
    actions = [_batch(sessions[0], index) for index in range(8)]
    played = []
    for session in sessions:
        played.append([session.reset(seed=SEED), *session.steps(actions)])
    expect_same(played[0], played[1], "a vector environment with the same seed")


@vector
def steps_as_single_ones(subject: Subject) -> None:
    """Environment for environment, a step tells what it tells a single one."""
    session = subject.vector(vectorization_mode="sync")
    singles = [subject.session() for _ in range(subject.options.num_envs)]
    numbers = [SEED + index for index in range(len(singles))]
    session.reset(seed=numbers)
    for single, seed in zip(singles, numbers, strict=True):
        single.reset(seed=seed)
    for index in range(6):
        batch = _batch(session, index)
        told = session.step(batch)
        for place, single in enumerate(singles):
            alone = single.step(_row(batch, place))
            expect_same(_row(told.observation, place), alone.observation, f"the observation of environment {place}")
            row = (float(told.reward[place]), bool(told.terminated[place]), bool(told.truncated[place]))
            expect_same(row, tuple(alone[1:]), f"reward and flags of environment {place}")
        if (told.terminated | told.truncated).any():
            return


def _to_an_end(session: Session) -> tuple[Observed, Any]:
    """Take steps until an environment has ended; return the last, and which of them it is."""
    for index in range(ENDLESS):
        told = session.step(_batch(session, index))
        over = told.terminated | told.truncated
        if over.any():
            return told, over
    raise Violation(f"no episode has ended after {ENDLESS} steps")


@vector
def reset_by_themselves(subject: Subject) -> None:
    """An environment that has ended begins its next episode in the next step, whose reward is 0."""
    session = subject.vector(vectorization_mode="sync", autoreset_mode="next_step")
    session.reset(seed=SEED)
    _, over = _to_an_end(session)
    told = session.step(_batch(session, 0))
    expect((told.reward[over] == 0).all(), f"the rewards of the steps that reset are {told.reward[over]}; expected 0")
    expect(not (told.terminated | told.truncated)[over].any(), "an episode ends in the step that begins it")


@vector
def reset_by_mask(subject: Subject) -> None:
    """Where environments are not reset by themselves, those that ended are reset by a mask, and a step needs it."""
    session = subject.vector(vectorization_mode="sync", autoreset_mode="disabled")
    expect(session.made.autoreset_mode == "disabled", f"`autoreset_mode` is {session.made.autoreset_mode!r}")
    session.reset(seed=list(range(subject.options.num_envs)))
    last, over = _to_an_end(session)
    session.connection.say("step", action=session.actions.dump(_batch(session, 0)))
    session.connection.expect_error("a step where an environment has ended", "reset-needed", reset_needed=True)
    first = session.reset(seed=SEED, mask=over.tolist())
    for index in np.flatnonzero(~over).tolist():
        expect_same(
            _row(first, index), _row(last.observation, index), f"environment {index}, which the mask leaves out"
        )
    session.step(_batch(session, 0))


@vector
def step_many(subject: Subject) -> None:
    """Many steps of several environments are all taken, with a reward for each step and environment."""
    session, other = subject.vector(), subject.vector()
    session.reset(seed=SEED)
    other.reset(seed=SEED)
    action = _batch(session, 0)
    told = session.step_many(action=session.actions.dump(action), count=5)
    expect(told.count == 5, f"`count` is {told.count}; expected 5")
    steps = other.steps([action] * 5)
    expect_same(
        session.rewards(told.rewards, 5), np.array([each.reward for each in steps]), "the rewards of many steps"
    )
    expect_same(session.observation(told.observations, "step_many"), steps[-1].observation, "the last observation")


@vector
def wrong_requests(subject: Subject) -> None:
    """An action for fewer environments, seeds or a mask for more, and a mask of none are refused; all go on."""
    session, other = subject.vector(vectorization_mode="sync"), subject.vector(vectorization_mode="sync")
    for each in (session, other):
        each.reset(seed=SEED)
    action = _batch(session, 0)
    dumped = session.actions.dump(action)
    short = dumped[:-1] if isinstance(dumped, (list, bytes)) else bytes(dumped)[:-1]
    requests: list[tuple[str, dict[str, Any], str]] = [
        ("step", {"action": short}, "invalid-action"),
        ("reset", {"seed": [1] * (subject.options.num_envs + 1)}, "invalid-field"),
        ("reset", {"mask": [True] * (subject.options.num_envs + 1)}, "invalid-field"),
        ("reset", {"mask": [False] * subject.options.num_envs}, "invalid-field"),
    ]
    for op, fields, code in requests:
        session.connection.say(op, **fields)
        session.connection.expect_error(f"{op} with {fields!s:.80}, of {subject.options.num_envs} environments", code)
    expect_same(session.step(action), other.step(action), "a step after wrong requests")


@vector
def single_actions(subject: Subject) -> None:
    """An action for one environment is refused where there are several."""
    session, single = subject.vector(), subject.session()
    session.reset(seed=SEED)
    session.connection.say("step", action=single.actions.dump(actions_of(single, 1)[0]))
    if subject.options.num_envs > 1 or subject.is_json:
        session.connection.expect_error("a single action for several environments", "invalid-action")
