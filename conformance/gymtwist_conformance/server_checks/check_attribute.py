"""Attributes and methods of the environment: those that can be accessed, and those that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist_conformance.reference_client import Failed
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, expect_same, reference

_ABSENT = "an_attribute_that_no_environment_has"


def _checked(subject: Subject, **fields: Any) -> tuple[Probe, str, Any]:
    """Make the environment; return the attribute to check and its value. Skip the check if there is none."""
    name = subject.options.attribute
    if not name:
        pytest.skip("no attribute that clients may change is known: --attribute NAME")
    probe = subject.vector(vectorization_mode="sync") if fields else subject.session()
    try:
        value = probe.ask("get", name=name).get("value")
    except Failed as error:
        if error.code == "unknown-operation":
            pytest.skip("the server has no attributes")
        raise
    return probe, name, value


def test_attribute(subject: Subject) -> None:
    """An attribute has the value that it was set to."""
    probe, name, value = _checked(subject)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(number, f"the attribute {name!r} is {value!r:.80}; expected a number")
    probe.ask("set", name=name, value=value + 1)
    found = probe.ask("get", name=name).get("value")
    require(found == value + 1, f"the attribute {name!r} is {found!r:.80} after a set of {value + 1}")
    called = probe.ask("call", name=name, args=[1]).get("value")
    require(called == found, f"a call of {name!r}, which is no method, has returned {called!r:.80}; expected {found}")
    other = subject.session().ask("get", name=name).get("value")
    require(other == value, f"the attribute {name!r} of another session is {other!r:.80}; expected {value}")


def test_repr(subject: Subject) -> None:
    """With `repr` the value is a text."""
    probe, name, _ = _checked(subject)
    found = probe.ask("get", name=name, repr=True).get("value")
    require(isinstance(found, str), f"with `repr` the attribute {name!r} is {found!r:.80}; expected a text")


def test_several(subject: Subject) -> None:
    """Each environment of a vector has its own value; a wrong number of values changes none."""
    probe, name, values = _checked(subject, several=True)
    count = probe.num_envs or 0
    right = isinstance(values, list) and len(values) == count
    require(right, f"the attribute {name!r} of {count} environments is {values!r:.80}; expected a list")
    given = [value + index for index, value in enumerate(values)]
    probe.ask("set", name=name, value=given)
    found = probe.ask("get", name=name).get("value")
    require(found == given, f"the attribute {name!r} is {found!r:.80} after a set of {given}")
    probe.say("set", name=name, value=[*given, 1])
    probe.expect_error("a set with one value too many", "invalid-field")


def test_unreachable(subject: Subject) -> None:
    """An attribute that is missing, not a single name or part of the language is refused, and the episode continues."""
    _, name, _ = _checked(subject)
    wrong: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
        ("get", {"name": _ABSENT}, ("unknown-attribute", "attribute-refused")),
        ("set", {"name": _ABSENT, "value": 1}, ("unknown-attribute", "attribute-refused")),
        ("call", {"name": _ABSENT}, ("unknown-attribute", "attribute-refused")),
        ("get", {"name": "__class__"}, ("attribute-refused", "unknown-attribute")),
        ("get", {"name": "unwrapped.spec"}, ("attribute-refused", "unknown-attribute")),
        ("set", {"name": "action_space", "value": 1}, ("attribute-refused", "unknown-attribute", "unsendable-value")),
        *(("call", {"name": each}, ("attribute-refused",)) for each in ("reset", "step", "close", "render")),
        ("get", {}, ("invalid-field",)),
        ("get", {"name": ""}, ("invalid-field",)),
        ("set", {"name": _ABSENT}, ("invalid-field",)),
    ]
    actions, expected = reference(subject, 4)
    probe = subject.session()
    first = probe.reset(seed=SEED)[0]
    for op, fields, codes in wrong:
        probe.say(op, **fields)
        probe.expect_error(f"{op} with {fields}", *codes)
    steps = []
    for action in actions:
        probe.ask("get", name=name)
        steps.append(probe.step(action))
    expect_same([first, *steps], expected, "an episode during which attributes were refused")
