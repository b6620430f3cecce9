"""Episodes begin, end and repeat with their seed; actions are sampled, frames rendered, many steps taken at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gymtwist_conformance.reference_client import Failed, decode_arrays
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.element_codecs import DTYPES
from gymtwist_conformance.server_checks.subject import (
    SEED,
    Probe,
    Subject,
    actions_of,
    expect_same,
    is_same,
    play,
    play_to_end,
    reference,
)


def _step_is_refused(probe: Probe, what: str) -> None:
    for op, fields in (("step", {}), ("step_many", {"count": 2})):
        probe.say(op, action=probe.actions.dump(actions_of(probe, 1)[0]), **fields)
        probe.expect_error(f"{op} {what}", "reset-needed", reset_needed=True)


def test_step_before_reset(subject: Subject) -> None:
    """A step before the first reset is refused, and the connection stays open."""
    probe = subject.session()
    _step_is_refused(probe, "before the first reset")
    probe.reset(seed=SEED)
    probe.step(actions_of(probe, 1)[0])


def test_step_after_end(subject: Subject) -> None:
    """A step after the end of an episode is refused until there is a reset, and the connection stays open."""
    probe = subject.session()
    probe.reset(seed=SEED)
    play_to_end(probe)
    _step_is_refused(probe, "after the end of an episode")
    first = subject.session().reset(seed=SEED)[0]
    expect_same(probe.reset(seed=SEED)[0], first, "the reset after the end of an episode")
    probe.step(actions_of(probe, 1)[0])


def test_reset_during_episode(subject: Subject) -> None:
    """A reset during an episode begins another."""
    actions, expected = reference(subject, 4)
    probe = subject.session()
    probe.reset(seed=SEED + 1)
    probe.steps(actions[:2])
    expect_same(play(probe, actions), expected, "an episode that began during another")


def test_same_seed(subject: Subject) -> None:
    """The same seed and actions lead to the same episode, in one session and in another."""
    for environment in subject.options.environments:
        actions, expected = reference(subject, 8, environment)
        probe = subject.session(environment)
        for what in ("in another session", "again in the same session"):
            expect_same(play(probe, actions), expected, f"{environment} with seed {SEED}, {what}")


def test_verified_seed(subject: Subject) -> None:
    """A server that verifies a seed says whether two episodes with it were equal, and begins another."""
    actions, expected = reference(subject, 4)
    probe = subject.session()
    told = probe.ask("reset", seed=SEED, verify_seed=True)
    if told.get("seeded") is None:
        pytest.skip("the server verifies no seeds")
    require(told["seeded"] is True, "`seeded` is false where the same seed leads to the same episode")
    expect_same(probe.observations.load(told["observation"]), expected[0], "the first observation")
    expect_same(probe.steps(actions), expected[1:], "the steps after a verified seed")
    for fields in ({}, {"seed": SEED, "mask": [True]}):
        probe.say("reset", verify_seed=True, **fields)
        probe.expect_error("a reset that verifies no seed, or has a mask", "invalid-field")


def test_different_seeds(subject: Subject) -> None:
    """Different seeds lead to different episodes."""
    probe = subject.session()
    firsts = [probe.reset(seed=seed)[0] for seed in range(5)]
    if all(is_same(probe.reset()[0], each) for each in firsts):
        pytest.skip("every episode of the environment begins alike")
    require(not all(is_same(firsts[0], each) for each in firsts[1:]), "five seeds lead to the same first observation")


def test_reset_without_seed(subject: Subject) -> None:
    """A reset without a seed continues the random numbers of the previous one, which depend on the last seed only."""
    probes = [subject.session() for _ in range(2)]
    for probe in probes:
        probe.reset(seed=SEED)
    for count in range(1, 4):
        first, second = (probe.reset()[0] for probe in probes)
        expect_same(second, first, f"the observation of reset {count} without a seed, after one with the same seed")


def test_sample(subject: Subject) -> None:
    """A sampled action is in the action space and can be played; the same seed samples the same actions."""
    for environment in subject.options.environments:
        probe, other = subject.session(environment), subject.session(environment)
        sampled = [[each.sample(seed=SEED), *(each.sample() for _ in range(4))] for each in (probe, other)]
        expect_same(sampled[0], sampled[1], "actions sampled with the same seed")
        probe.reset(seed=SEED)
        probe.steps(sampled[0])


def test_random_samples(subject: Subject) -> None:
    """Ten seeds do not all sample the same action, nor do twenty calls without a seed."""
    probe = subject.session()
    for what, seeds in (("seeds", [{"seed": seed} for seed in range(10)]), ("calls", [{}] * 20)):
        sampled = [probe.sample(**seed) for seed in seeds]
        same = all(is_same(sampled[0], each) for each in sampled)
        require(not same, f"{len(seeds)} {what} sample the same action: {sampled[0]}")


def test_step_many(subject: Subject) -> None:
    """step_many equals single steps: rewards, the last observation or all, the flags, and the number of steps."""
    actions, (_, *steps) = reference(subject, 6)
    for wanted in ("last", "all"):
        probe = subject.session()
        probe.reset(seed=SEED)
        dumped = [probe.actions.dump(each) for each in actions]
        observations, rewards, *flags, count = probe.step_many(actions=dumped, observations=wanted)
        require(count == len(steps), f"`count` is {count}; expected {len(steps)}")
        expect_same(rewards, np.array([each.reward for each in steps]), "the rewards of many steps")
        expected = [each.observation for each in steps]
        expect_same(observations, expected if wanted == "all" else expected[-1:], f'the observations, "{wanted}",')
        expect_same(flags, [steps[-1].terminated, steps[-1].truncated], "the flags after many steps")


def test_step_many_repeated_action(subject: Subject) -> None:
    """One repeated action equals a list of equal actions."""
    told = []
    for repeated in (True, False):
        probe = subject.session()
        probe.reset(seed=SEED)
        action = probe.actions.dump(actions_of(probe, 1)[0])
        asked = {"action": action, "count": 5} if repeated else {"actions": [action] * 5}
        told.append(list(probe.step_many(**asked)))
    expect_same(told[0], told[1], "what a repeated action leads to")


def test_step_many_stops_at_end(subject: Subject) -> None:
    """step_many stops at the end of an episode, and the reply says how many steps there were."""
    probe = subject.session(max_episode_steps=4)
    probe.reset(seed=SEED)
    *_, truncated, count = probe.step_many(action=probe.actions.dump(actions_of(probe, 1)[0]), count=9)
    require(count == 4, f"`count` is {count} where the episode ended after 4 steps")
    require(truncated is True, f"`truncated` is {truncated!r} at the end of an episode of 4 steps")
    _step_is_refused(probe, "after many steps to the end of an episode")


def test_render(subject: Subject) -> None:
    """A rendered frame is an array, text, or a list of these; rendering before the first reset is refused."""
    mode = subject.options.render_mode
    if not mode:
        pytest.skip("no render mode to check: --render-mode ''")
    probe = subject.optional(f"render mode {mode!r}", render_mode=mode)
    told = probe.made.get("render_mode")
    require(told == mode, f"`render_mode` is {told!r}; expected {mode!r}")
    probe.say("render")
    probe.expect_error("render before the first reset", "reset-needed", reset_needed=True)
    probe.reset(seed=SEED)
    frame = decode_arrays(probe.ask("render").get("frame"))
    right = isinstance(frame, (np.ndarray, str, list))
    require(right, f"the frame is a {type(frame).__name__}; expected an array or text")
    probe.step(actions_of(probe, 1)[0])


def test_render_before_reset(subject: Subject) -> None:
    """With `before_reset`, a frame can be requested before the first reset: the environment decides what it returns."""
    mode = subject.options.render_mode
    if not mode:
        pytest.skip("no render mode to check: --render-mode ''")
    probe = subject.optional(f"render mode {mode!r}", render_mode=mode)
    try:
        probe.ask("render", before_reset=True)
    except Failed as error:
        require(error.fault == "environment", f"render with `before_reset` was answered with the error {error}")
    probe.say("render", before_reset=False)
    probe.expect_error("render without `before_reset`, before the first reset", "reset-needed", reset_needed=True)
    probe.reset(seed=SEED)
    probe.ask("render", before_reset=True)
    probe.step(actions_of(probe, 1)[0])


def test_plain_numbers(subject: Subject) -> None:
    """Observations have plain numbers only where their space has a Discrete, and in both framings alike."""
    for environment in subject.options.environments:
        told = []
        for encoding in subject.options.framing:
            probe = subject.session(environment, encoding=encoding)
            told.append(probe.ask("reset", seed=SEED).get("plain_numbers", False))
        what = f"`plain_numbers` of {environment}"
        require(len(set(told)) == 1, f"{what} depends on the framing: {told}")
        discrete = '"Discrete"' in json.dumps(probe.made["observation_space"], default=repr)
        require(discrete or not told[0], f"{what} is true, and there is no Discrete in its observation space")


def test_reward_type(subject: Subject) -> None:
    """The type of rewards is a type's name, and comes with the first step only."""
    for environment in subject.options.environments:
        probe = subject.session(environment)
        probe.reset(seed=SEED)
        for index, action in enumerate(actions_of(probe, 3)):
            told = probe.ask("step", action=probe.actions.dump(action))
            found = told.get("reward_type")
            expected = (None,) if index else (None, "int", *DTYPES)
            require(found in expected, f"`reward_type` in step {index + 1} of {environment} is {found!r}")
            if told["terminated"] or told["truncated"]:
                break


def test_render_without_mode(subject: Subject) -> None:
    """Rendering an environment that was made without a render mode is refused, and the connection stays open."""
    probe = subject.session()
    probe.reset(seed=SEED)
    probe.say("render")
    probe.expect_error("render without a render mode")
    probe.step(actions_of(probe, 1)[0])


def test_lenient(subject: Subject) -> None:
    """A lenient session continues after the end of an episode, and leaves the bounds of a Box to the environment."""
    probe = subject.session(max_episode_steps=1, lenient=True)
    probe.reset(seed=SEED)
    action = actions_of(probe, 1)[0]
    for _ in range(2):
        probe.step(action)
    if subject.options.continuous:
        probe = subject.session(subject.options.continuous, lenient=True)
        probe.reset(seed=SEED)
        probe.step(3 * np.ones_like(actions_of(probe, 1)[0]) * probe.made["action_space"]["high"])


def test_monitor_stop(subject: Subject) -> None:
    """A session that is not recorded can be told to stop recording, and continues."""
    probe = subject.session()
    probe.reset(seed=SEED)
    probe.ask("monitor")
    probe.step(actions_of(probe, 1)[0])


def test_close(subject: Subject) -> None:
    """Close gets a reply, and then the server closes the connection."""
    for playing in (False, True):
        probe = subject.session()
        if playing:
            probe.reset(seed=SEED)
        probe.ask("close")
        probe.expect_end("close")
