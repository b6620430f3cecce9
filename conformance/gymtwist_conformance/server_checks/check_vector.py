"""Vector environments: several environments that step together in one connection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymtwist_conformance.reference_client import Failed
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.element_codecs import array_type, layout_of
from gymtwist_conformance.server_checks.subject import (
    SEED,
    Subject,
    actions_of,
    batch,
    expect_same,
    play_to_end,
)


def _row(values: Any, index: int) -> Any:
    """Return the values of one environment out of those of all."""
    if isinstance(values, dict):
        return {key: _row(each, index) for key, each in values.items()}
    return tuple(_row(each, index) for each in values) if isinstance(values, tuple) else values[index]


def test_reply_fields(subject: Subject) -> None:
    """The reply to make describes the spaces of all environments and of a single one, and the autoreset mode."""
    count, single, made = subject.options.num_envs, subject.session().made, subject.vector().made
    require(made.get("num_envs") == count, f"`num_envs` is {made.get('num_envs')}; expected {count}")
    mode = made.get("autoreset_mode")
    require(mode == "next_step", f"`autoreset_mode` is {mode!r}; expected the default")
    for name in ("action", "observation"):
        told, expected = made.get(f"single_{name}_space"), single[f"{name}_space"]
        require(told == expected, f"the single {name} space is {told}; expected {expected}")
        for prefix in ("single_", ""):
            told, expected = made.get(f"{prefix}{name}_layout"), layout_of(made[f"{prefix}{name}_space"])
            require(told == expected, f"the {prefix}{name} layout is {told}; expected {expected}")
    space = made["observation_space"]
    if space["kind"] == "Box":
        require(space["shape"][:1] == [count], f"observations have the shape {space['shape']}; expected {count} rows")


def test_seed_list(subject: Subject) -> None:
    """With a seed for each, every environment begins as a single one with that seed."""
    count = subject.options.num_envs
    probe, single = subject.vector(vectorization_mode="sync"), subject.session()
    for seeds in ([SEED + 10 * index for index in range(count)], [SEED] * count):
        observations = probe.reset(seed=seeds)[0]
        for index, seed in enumerate(seeds):
            first = single.reset(seed=seed)[0]
            expect_same(_row(observations, index), first, f"environment {index} with seed {seed}")


def test_single_seed(subject: Subject) -> None:
    """One seed makes the episodes of all environments repeat."""
    probes = [subject.vector() for _ in range(2)]
    actions = [batch(probes[0], index) for index in range(8)]
    played = [[probe.reset(seed=SEED)[0], *probe.steps(actions)] for probe in probes]
    expect_same(played[0], played[1], "a vector environment with the same seed")


def test_matches_single_environments(subject: Subject) -> None:
    """A step returns for each environment what a step of a single one returns."""
    probe = subject.vector(vectorization_mode="sync")
    singles = [subject.session() for _ in range(subject.options.num_envs)]
    probe.reset(seed=[SEED + index for index in range(len(singles))])
    for index, single in enumerate(singles):
        single.reset(seed=SEED + index)
    for number in range(6):
        actions = batch(probe, number)
        step = probe.step(actions)
        for index, single in enumerate(singles):
            alone = single.step(_row(actions, index))
            expect_same(_row(step.observation, index), alone.observation, f"the observation of environment {index}")
            found = (float(step.reward[index]), bool(step.terminated[index]), bool(step.truncated[index]))
            expect_same(found, tuple(alone[1:4]), f"reward and flags of environment {index}")
        if (step.terminated | step.truncated).any():
            return


def test_each(subject: Subject) -> None:
    """An environment may have its own seeds for resets without any; `each` must have an entry for every environment."""
    count = subject.options.num_envs
    seeds = [SEED + 10 * index for index in range(count)]
    probe = subject.vector(each=[{"seeds": [seed]} for seed in seeds])
    require(probe.made.get("each") == count, f"`each` is {probe.made.get('each')}; expected {count}")
    expect_same(probe.reset()[0], subject.vector(vectorization_mode="sync").reset(seed=seeds)[0], "seeds of each")
    probe = subject.connect()
    probe.say("make", **subject.fields(num_envs=count, each=[{}] * (count + 1)))
    error = probe.expect_error("make with too many of `each`", "invalid-field", reset_needed=None)
    require("each" in error.message, f"the error does not name the field: {error.message!r}")


def test_unknown_wrapper(subject: Subject) -> None:
    """A wrapper of the vector environment that the server does not have is refused by its name."""
    name, what = "NoSuchWrapper", "make with the vector wrapper NoSuchWrapper"
    probe = subject.connect()
    probe.say("make", **subject.fields(num_envs=subject.options.num_envs, vector_wrappers=[{"name": name}]))
    error = probe.expect_error(what, "wrapper-refused", "invalid-field", reset_needed=None)
    require(name in error.message, f"the error of {what} does not name it: {error.message!r}")
    probe = subject.connect()
    probe.say("make", **subject.fields(vector_wrappers=[{"name": name}]))
    probe.expect_error(f"{what} and without num_envs", "invalid-field", reset_needed=None)


def test_autoreset_next_step(subject: Subject) -> None:
    """An environment whose episode has ended begins the next one in the next step, whose reward is 0."""
    probe = subject.vector(vectorization_mode="sync", autoreset_mode="next_step")
    probe.reset(seed=SEED)
    last = play_to_end(probe)
    over, step = last.terminated | last.truncated, probe.step(batch(probe, 0))
    require((step.reward[over] == 0).all(), f"the rewards of the steps that reset are {step.reward[over]}; expected 0")
    require(not (step.terminated | step.truncated)[over].any(), "an episode ends in the step that begins it")


def test_masked_reset(subject: Subject) -> None:
    """Without autoreset, environments whose episodes ended are reset by a mask, and a step before that is refused."""
    probe = subject.vector(vectorization_mode="sync", autoreset_mode="disabled")
    mode = probe.made.get("autoreset_mode")
    require(mode == "disabled", f"`autoreset_mode` is {mode!r}; expected 'disabled'")
    probe.reset(seed=list(range(subject.options.num_envs)))
    last = play_to_end(probe)
    over = last.terminated | last.truncated
    probe.say("step", action=probe.actions.dump(batch(probe, 0)))
    probe.expect_error("a step where an environment has ended", "reset-needed", reset_needed=True)
    first = probe.reset(seed=SEED, mask=over.tolist())[0]
    for index in np.flatnonzero(~over).tolist():
        what = f"environment {index}, which the mask leaves out"
        expect_same(_row(first, index), _row(last.observation, index), what)
    probe.step(batch(probe, 0))


def test_step_many(subject: Subject) -> None:
    """Many steps of several environments are all taken, with a reward for each step and environment."""
    probe, other = subject.vector(), subject.vector()
    probe.reset(seed=SEED)
    other.reset(seed=SEED)
    actions = batch(probe, 0)
    observations, rewards, *_, count = probe.step_many(action=probe.actions.dump(actions), count=5)
    require(count == 5, f"`count` is {count}; expected 5")
    steps = other.steps([actions] * 5)
    expect_same(rewards, np.array([each.reward for each in steps]), "the rewards of many steps")
    expect_same(observations[0], steps[-1].observation, "the last observation")


def test_step_ready(subject: Subject) -> None:
    """Environments with a process each can be stepped separately, and each plays as a single one does."""
    probe = subject.vector(vectorization_mode="async")
    if not probe.made.get("step_ready"):
        pytest.skip("the server steps all environments or none")
    count = subject.options.num_envs
    singles = [subject.session() for _ in range(count)]
    probe.reset(seed=[SEED + index for index in range(count)])
    for index, single in enumerate(singles):
        single.reset(seed=SEED + index)
    actions = actions_of(singles[0], 4)
    for number, action in enumerate(actions):
        asked = [index for index in range(count) if index == number % count or number == 3]
        rows = probe.step_ready(asked, [action] * len(asked))
        require(not rows.env_ids, f"`env_ids` is {rows.env_ids} with `min_ready` 0; expected none")
        rows = probe.step_ready(min_ready=len(asked))
        require(rows.env_ids == asked, f"`env_ids` is {rows.env_ids} after steps of {asked}")
        for place, index in enumerate(asked):
            alone = singles[index].step(action)
            expect_same(rows.observations[place], alone.observation, f"the observation of environment {index}")
            flags = (bool(rows.terminated[place]), bool(rows.truncated[place]))
            expect_same((float(rows.rewards[place]), *flags), tuple(alone[1:4]), f"the step of environment {index}")
        if (rows.terminated | rows.truncated).any():
            return
    requests: list[dict[str, Any]] = [{"env_ids": [count], "actions": [0]}, {"env_ids": [0]}, {"min_ready": 1}]
    for fields in requests:
        probe.say("step_ready", **fields)
        probe.expect_error(f"step_ready with {fields}", "invalid-field", "invalid-action")
    probe.step_ready([0], actions[:1])
    probe.say("step", action=probe.actions.dump(batch(probe, 0)))
    probe.expect_error("a step of all while one is in a step")
    require(probe.step_ready(min_ready=1).env_ids == [0], "the step of environment 0 was lost")
    probe.step(batch(probe, 0))


def test_step_ready_refused(subject: Subject) -> None:
    """Environments in one process can only be stepped together."""
    probe = subject.vector(vectorization_mode="sync")
    probe.reset(seed=SEED)
    probe.say("step_ready", min_ready=1)
    probe.expect_error("step_ready of environments that step together", "invalid-field", "unknown-operation")


def test_invalid_requests(subject: Subject) -> None:
    """An action, seeds or a mask for another number of environments are refused, and so is an empty mask."""
    probe, other = subject.vector(vectorization_mode="sync"), subject.vector(vectorization_mode="sync")
    for each in (probe, other):
        each.reset(seed=SEED)
    actions, count = batch(probe, 0), subject.options.num_envs
    requests: list[tuple[str, dict[str, Any], str]] = [
        ("step", {"action": probe.actions.dump(actions)[:-1]}, "invalid-action"),
        ("reset", {"seed": [1] * (count + 1)}, "invalid-field"),
        ("reset", {"mask": [True] * (count + 1)}, "invalid-field"),
        ("reset", {"mask": [False] * count}, "invalid-field"),
    ]
    for op, fields, code in requests:
        probe.say(op, **fields)
        probe.expect_error(f"{op} with {fields!s:.80}, of {count} environments", code)
    expect_same(probe.step(actions), other.step(actions), "a step after wrong requests")


def test_action_for_one(subject: Subject) -> None:
    """An action for one environment is refused if there are several."""
    probe, single = subject.vector(), subject.session()
    probe.reset(seed=SEED)
    probe.say("step", action=single.actions.dump(actions_of(single, 1)[0]))
    if subject.options.num_envs > 1:  # for a vector of one, it is the action of that one
        probe.expect_error("an action for one of several environments", "invalid-action")


def test_environments_of_errors(subject: Subject) -> None:
    """An error about some of the environments has their indices: for an invalid action, and for those to reset."""
    probe = subject.vector(vectorization_mode="sync", autoreset_mode="disabled")
    space, count = probe.made["single_action_space"], subject.options.num_envs
    if space["kind"] != "Discrete" or count < 2:
        pytest.skip("there are no several environments with Discrete actions")
    probe.reset(seed=SEED)
    actions = batch(probe, 0)
    wrong = np.where(np.arange(count) == count - 1, space.get("start", 0) + space["n"], actions)
    probe.say("step", action=wrong.tolist() if subject.is_json else wrong.astype(array_type(space)[0]).tobytes())
    error = probe.expect_error("an invalid action of the last environment", "invalid-action")
    _expect_environments(error, [count - 1])
    last = play_to_end(probe)
    probe.say("step", action=probe.actions.dump(actions))
    error = probe.expect_error("a step after the end of an episode", "reset-needed", reset_needed=True)
    _expect_environments(error, np.flatnonzero(last.terminated | last.truncated).tolist())


def _expect_environments(error: Failed, expected: list[int]) -> None:
    found = error.environments
    require(found == expected, f"`environments` of the error {error} are {found}; expected {expected}")
