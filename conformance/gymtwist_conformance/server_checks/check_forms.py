"""Requests are taken in other forms that can mean only one thing, as libraries of many languages write them."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist_conformance.reference_client import frame
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Subject, actions_of, batch, expect_same, play, reference


def test_null_fields(subject: Subject) -> None:
    """A field that may be left out may also be null."""
    actions, expected = reference(subject, 2)
    nothing: dict[str, Any] = dict.fromkeys(("kwargs", "num_envs", "autoreset_mode", "info", "values", "version"))
    probe = subject.session(**nothing)
    first = probe.reset(seed=SEED, options=None, mask=None)[0]
    expect_same([first, *probe.steps(actions)], expected, "a session with null for fields that may be left out")
    probe.reset(seed=SEED)
    dumped = [probe.actions.dump(each) for each in actions]
    rewards = probe.step_many(actions=dumped, action=None, count=None, observations=None)[1]
    expect_same(list(rewards), [step.reward for step in expected[1:]], "the rewards of step_many with null fields")


def test_whole_floats(subject: Subject) -> None:
    """A whole number may be written as a float where an integer is due."""
    actions, expected = reference(subject, 2)
    probe = subject.session(max_episode_steps=float(1000))
    expect_same(probe.reset(seed=float(SEED))[0], expected[0], "a reset whose seed is a float")
    fields = {"action": probe.actions.dump(actions[0]), "count": 1.0}
    if subject.is_json and probe.made["action_space"]["kind"] == "Discrete":
        fields["action"] = float(actions[0])
    reward = probe.step_many(**fields)[1][0]
    expect_same(reward, expected[1].reward, "the reward of a step_many whose numbers are floats")


def test_empty_lists(subject: Subject) -> None:
    """An empty list is taken for an empty object, as some languages have one type for both."""
    probe = subject.session(kwargs=[])
    expected = reference(subject, 1)[1][0]
    expect_same(probe.reset(seed=SEED, options=[])[0], expected, "a session with empty lists for objects")


def test_numbers_for_flags(subject: Subject) -> None:
    """The flags of a mask may be 0 and 1."""
    probe, other = subject.vector(vectorization_mode="sync"), subject.vector(vectorization_mode="sync")
    flags = [index % 2 for index in range(subject.options.num_envs)]
    if not any(flags):
        pytest.skip("a mask needs two environments: --num-envs 2")
    found = []
    for each, mask in ((probe, flags), (other, [bool(flag) for flag in flags])):
        each.reset(seed=SEED)
        each.step(batch(each, 0))
        found.append(each.reset(seed=SEED, mask=mask)[0])
    expect_same(found[0], found[1], "a reset with a mask of numbers")


def test_text_for_bytes(subject: Subject) -> None:
    """In MessagePack the bytes of an action may be a string, and keys and names may be bytes."""
    if subject.is_json:
        pytest.skip("JSON carries no bytes")
    actions, expected = reference(subject, 1)
    probe = subject.session()
    dumped = probe.actions.dump(actions[0])
    if len(dumped) > 31:
        pytest.skip(f"the actions of {subject.options.environment} are longer than the shortest kind of string")
    seed = b"\x83\xc4\x02op\xc4\x05reset\xa4seed" + bytes([SEED]) + b"\xc4\x07options\xc0"
    probe.send(frame(subject.encoding, seed))
    expect_same(probe.read_reset()[0], expected[0], "a reset with bytes for its keys and names")
    raw = b"\x82\xa2op\xa4step\xa6action" + bytes([0xA0 + len(dumped)]) + dumped
    probe.send(frame(subject.encoding, raw))
    expect_same(probe.read_step(), expected[1], "a step whose action is a string of bytes")


def test_unknown_fields(subject: Subject) -> None:
    """A field that the server does not know is ignored, and the reply says so the first time."""
    probe = subject.session()
    told = [probe.ask("reset", seed=SEED, sed=7).get("warnings", []) for _ in range(2)]
    require(any("sed" in each for each in told[0]), f"the reply to a reset with the field `sed` warns of {told[0]}")
    require(not told[1], f"the reply to the second reset with the field `sed` warns again: {told[1]}")
    steps = probe.steps(actions_of(probe, 1))
    expect_same(steps, play(subject.session(), actions_of(probe, 1))[1:], "a step after a warning")
