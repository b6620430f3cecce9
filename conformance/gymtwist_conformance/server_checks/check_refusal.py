"""Wrong requests get an error that says what is wrong, and leave the episode unchanged."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from gymtwist_conformance.reference_client import encode, frame
from gymtwist_conformance.reference_client.element_codecs import array_type, bounds_of
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, actions_of, expect_same, play, undisturbed

MAX_STEPS = 10_000


def _wrong(
    subject: Subject, fields: dict[str, Any], what: str, code: str = "invalid-field", word: str = ""
) -> tuple[bytes, str, str, str]:
    return frame(subject.encoding, encode(subject.encoding, fields)), what, code, word


def test_unknown_operation(subject: Subject) -> None:
    """An operation that does not exist gets an error."""
    undisturbed(subject, [_wrong(subject, {"op": "fly"}, "the operation fly", "unknown-operation")])


def test_missing_operation(subject: Subject) -> None:
    """A message without an operation, or with one that is not a string, gets an error that names the field."""
    messages: list[dict[str, Any]] = [{"action": 0}, {"op": 7}, {"op": ["step"]}]
    undisturbed(subject, [_wrong(subject, each, f"the message {each}", word="op") for each in messages])
    undisturbed(subject, [_wrong(subject, {"op": ["reset"]}, "an operation in a list", word="list")])


def test_missing_action(subject: Subject) -> None:
    """A step without an action gets an error that names the field."""
    undisturbed(subject, [_wrong(subject, {"op": "step"}, "a step without an action", word="action")])


def test_invalid_seed(subject: Subject) -> None:
    """A seed that is not a non-negative integer gets an error that names the field."""
    seeds: list[Any] = ["seven", -1, 1.5, True, {}]
    resets = [({"op": "reset", "seed": seed}, f"a reset with the seed {seed!r}") for seed in seeds]
    undisturbed(subject, [_wrong(subject, fields, what, word="seed") for fields, what in resets])


def test_vector_fields(subject: Subject) -> None:
    """A list of seeds, or a mask, is refused for a single environment."""
    resets: list[dict[str, Any]] = [{"op": "reset", "seed": [1, 2]}, {"op": "reset", "mask": [True]}]
    undisturbed(subject, [_wrong(subject, each, f"{each} of one environment") for each in resets])


def test_invalid_options(subject: Subject) -> None:
    """Options that are not an object get an error that names the field."""
    fields = {"op": "reset", "options": [1]}
    undisturbed(subject, [_wrong(subject, fields, "a reset with the options [1]", word="options")])


def test_invalid_step_many(subject: Subject) -> None:
    """A step_many without actions, or without their number, gets an error."""
    with subject.session() as probe:
        action = probe.actions.dump(actions_of(probe, 1)[0])
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
        undisturbed(subject, [_wrong(subject, {"op": "step_many", **fields}, f"step_many with {fields}")])


def _carried(subject: Subject, array: Any) -> Any:
    """Encode an array as an action, whatever its values."""
    return array.tolist() if subject.is_json else array.tobytes()


def _invalid_actions(subject: Subject, probe: Probe) -> list[Any]:
    """Return invalid actions of a Discrete, the first just beyond its range; skip the check for other spaces."""
    space = probe.made["action_space"]
    if space["kind"] != "Discrete":
        pytest.skip(f"the actions of {subject.options.environment} are not Discrete")
    (first, last), dtype = (int(bound) for bound in bounds_of(space)), array_type(space)[0]
    wrong = [_carried(subject, np.array(number, dtype)) for number in (last + 1, first - 1, last + 1000)]
    if subject.is_json:
        return [*wrong, "left", None, [first], {"action": first}, first + 0.5, True, "0"]
    good = probe.actions.dump(first)
    return [*wrong, good[:-1], good + b"\0", b"", "left", None, [first], {"action": first}]


def test_invalid_discrete_action(subject: Subject) -> None:
    """An action outside a Discrete, or of another type, is refused."""
    for action in _invalid_actions(subject, subject.session()):
        fields = {"op": "step", "action": action}
        undisturbed(subject, [_wrong(subject, fields, f"the action {action!r}", "invalid-action", "action")])


def test_one_invalid_action_of_many(subject: Subject) -> None:
    """One invalid action among many is refused before any of them is taken."""
    probe = subject.session()
    wrong, good = _invalid_actions(subject, probe)[0], probe.actions.dump(actions_of(probe, 1)[0])
    fields = {"op": "step_many", "actions": [good, good, wrong]}
    undisturbed(subject, [_wrong(subject, fields, "step_many with an invalid last action", "invalid-action")])


def test_invalid_base64(subject: Subject) -> None:
    """Where values are base64, other text is refused, and so are bytes of another length."""
    if not subject.is_json:
        pytest.skip("MessagePack carries bytes as they are")
    probe = subject.session(values="base64")
    probe.reset(seed=SEED)
    (action,) = actions_of(probe, 1)
    good = base64.b64decode(probe.actions.dump(action))
    for wrong in ("?!", 0, base64.b64encode(good + b"\0").decode(), base64.b64encode(good[1:]).decode()):
        probe.say("step", action=wrong)
        probe.expect_error(f"the action {wrong!r} as base64", "invalid-action")
    probe.step(action)


def test_invalid_continuous_action(subject: Subject) -> None:
    """An action beyond the bounds of a Box, of another shape, or NaN is refused."""
    probe = subject.continuous()
    space = probe.made["action_space"]
    if space["kind"] != "Box" or not space["dtype"].startswith("float"):
        pytest.skip("its actions are not a Box of floats")
    actions = [probe.sample(seed=SEED), probe.sample()]
    expected = play(subject.continuous(), actions)
    first, dtype = probe.reset(seed=SEED)[0], array_type(space)[0]
    good = np.asarray(actions[0], dtype)
    wrong: list[tuple[str, Any]] = [("of another shape", _carried(subject, np.concatenate([good, good])))]
    high = np.broadcast_to(bounds_of(space)[1], good.shape)
    if np.isfinite(high).all() and good.size:
        wrong.append(("beyond its bounds", _carried(subject, (2 * np.abs(high) + 1).astype(dtype))))
        nan: Any = (
            np.full(good.shape, "NaN").tolist() if subject.is_json else np.full(good.shape, np.nan, dtype).tobytes()
        )
        wrong.append(("not a number", nan))
    for what, value in wrong:
        probe.say("step", action=value)
        probe.expect_error(f"an action that is {what}", "invalid-action")
    expect_same([first, *probe.steps(actions)], expected, "an episode with invalid actions in it")
