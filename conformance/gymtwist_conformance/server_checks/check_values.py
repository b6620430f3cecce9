"""Values fit their spaces, and are the same in every form."""

from __future__ import annotations

import numpy as np
import pytest

from gymtwist_conformance.reference_client import INT32, NETSTRING
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Subject, actions_of, expect_same, play, reference


def test_within_spaces(subject: Subject) -> None:
    """Observations have the dtype and the shape of their space, and sampled actions are in theirs."""
    for environment in subject.options.environments:
        probe = subject.session(environment)
        probe.reset(seed=SEED)
        for _ in range(50):
            if probe.step(probe.sample()).is_over:
                probe.reset()


def test_base64(subject: Subject) -> None:
    """In JSON, base64 values are the same as nested ones, to the last bit."""
    if not subject.is_json:
        pytest.skip("MessagePack carries bytes as they are")
    for environment in subject.options.environments:
        actions, expected = reference(subject, 8, environment)
        probe = subject.session(environment, values="base64")
        expect_same(play(probe, actions), expected, f"{environment}, with values as base64")


def test_both_framings(subject: Subject) -> None:
    """JSON and MessagePack carry the same episode, to the last bit."""
    other = INT32 if subject.is_json else NETSTRING
    if other not in subject.options.framing:
        pytest.skip(f"the server is not checked in {other}")
    for environment in subject.options.environments:
        first, second = subject.session(environment), subject.session(environment, encoding=other)
        actions = actions_of(first, 8)
        expect_same(play(first, actions), play(second, actions), f"{environment} in {subject.encoding}")
        expect_same(first.made.get("spec"), second.made.get("spec"), f"`spec` of {environment}")


def test_vector_rewards(subject: Subject) -> None:
    """Rewards that are arrays have the shape of the reward space, and are sent only to clients that accept them."""
    environment = subject.options.vector_rewards
    if not environment:
        pytest.skip("no environment whose rewards are arrays is known: --vector-rewards ID")
    first, second = (subject.session(environment, vector_rewards=True) for _ in range(2))
    actions = actions_of(first, 2)
    rewards = np.array([step.reward for step in play(first, actions)[1:]])
    shape = (len(rewards), *first.made["reward_space"]["shape"])
    require(rewards.shape == shape, f"the rewards of two steps have the shape {rewards.shape}; expected {shape}")
    second.reset(seed=SEED)
    many = second.step_many(actions=[second.actions.dump(each) for each in actions])[1]
    expect_same(many, rewards, "the rewards of many steps")
    other = subject.session(environment)
    other.reset(seed=SEED)
    other.say("step", action=other.actions.dump(actions[0]))
    other.expect_error("a step with a reward that the client does not take", fault="environment", reset_needed=True)


def test_omitted(subject: Subject) -> None:
    """A value that no message can carry is left out of an info, and the reply names its path."""
    probe = subject.mirror()
    told = probe.ask("reset", options={"omit": True, "kept": 1})
    require("left" not in told["info"], f"the info has {told['info'].get('left')!r}, which no message can carry")
    require(told["info"]["options"]["kept"] == 1, f"the info has lost other values: {told['info']}")
    require(probe.omitted == ["info.left"], f"`omitted` is {probe.omitted}; expected ['info.left']")
    probe.ask("reset")
    require(probe.omitted == [], f"`omitted` is {probe.omitted} where nothing is")
