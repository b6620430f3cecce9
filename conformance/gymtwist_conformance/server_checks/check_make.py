"""The reply to make describes the environment, and an impossible make is refused."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from gymtwist_conformance.reference_client import Failed
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.element_codecs import layout_of
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, actions_of, expect_same, play

VERSION = 1


def _make_again(subject: Subject, probe: Probe) -> None:
    """Send a make message after one that failed: it succeeds unless the server has closed the connection."""
    try:
        probe.say("make", **subject.fields())
        probe.read_made()
    except (EOFError, ConnectionResetError):
        return
    probe.reset(seed=SEED)


def test_reply_fields(subject: Subject) -> None:
    """The reply describes both spaces, and names the server and the version of the protocol."""
    for environment in subject.options.environments:
        made = subject.session(environment).made
        require(made["server"].strip(), "`server` is empty; expected the server's name")
        version = made.get("version", VERSION)
        require(version == VERSION, f"`version` is {version}; expected {VERSION}")
        for name in ("num_envs", "render_mode"):
            require(made.get(name) is None, f"`{name}` is {made.get(name)!r} for one environment that is not rendered")


def test_layouts(subject: Subject) -> None:
    """The layouts follow from the spaces: the leaves in order, without gaps."""
    for environment in subject.options.environments:
        made = subject.session(environment).made
        for name in ("action", "observation"):
            told, expected = made.get(f"{name}_layout"), layout_of(made[f"{name}_space"])
            require(told == expected, f"the {name} layout of {environment} is {told}; expected {expected}")


def test_unknown_fields(subject: Subject) -> None:
    """A field that the server does not know is ignored, and a default value may be given explicitly."""
    probe = subject.session(x_unknown={"anything": [1, None]}, render_mode=None, kwargs={}, num_envs=None)
    first = probe.reset(seed=SEED, x_unknown=True, options=None, mask=None)[0]
    expect_same(first, subject.session().reset(seed=SEED)[0], "a session with unknown fields")
    probe.step(actions_of(probe, 1)[0], x_unknown="anything")


def test_unknown_environment(subject: Subject) -> None:
    """An id that is not registered is refused with a reason, and may be followed by another make."""
    probe, what = subject.connect(), "make of an environment that does not exist"
    probe.say("make", **subject.fields("Conformance/NoSuchEnvironment-v0"))
    codes = ("unknown-environment", "environment-refused")
    probe.expect_error(what, *codes, fault=("request", "server"), reset_needed=None)
    _make_again(subject, probe)


def test_unknown_kwargs(subject: Subject) -> None:
    """A keyword argument that the environment does not take is refused, and may be followed by another make."""
    probe = subject.connect()
    probe.say("make", **subject.fields(kwargs={"no_such_argument": 1}))
    what = "make with a keyword argument that does not exist"
    probe.expect_error(what, fault=("request", "environment"), reset_needed=None)
    _make_again(subject, probe)


def test_unknown_wrapper(subject: Subject) -> None:
    """A wrapper that the server does not have is refused by its name, and may be followed by another make."""
    name = "NoSuchWrapper"
    for wrappers in ([{"name": name}], [{"name": name, "kwargs": {"size": [2, 3]}}]):
        probe, what = subject.connect(), f"make with the wrapper {name}"
        probe.say("make", **subject.fields(wrappers=wrappers))
        error = probe.expect_error(what, "wrapper-refused", "invalid-field", reset_needed=None)
        require(name in error.message, f"the error of {what} does not name it: {error.message!r}")
        _make_again(subject, probe)


def test_recording(subject: Subject) -> None:
    """Episodes are recorded into a dataset that no other session records, or the error gives a reason."""
    name = f"conformance/{secrets.token_hex(8)}-v0"
    first = subject.connect()
    try:
        first.say("make", **subject.fields(record={"dataset": name}))
        told = first.read_made().get("recording")
    except Failed as refused:
        may_refuse = refused.code in ("recording-refused", "quota-exceeded")
        require(may_refuse, f"`record` is refused with the code {refused.code!r}; expected 'recording-refused'")
        return
    require(str(told).endswith(name), f"`recording` is {told!r}; expected a name that ends with {name!r}")
    for dataset, code in ((name, "recording-refused"), ("../up-v0", "invalid-field")):
        probe, what = subject.connect(), f"make that records into {dataset}"
        probe.say("make", **subject.fields(record={"dataset": dataset, "append": True}))
        error = probe.expect_error(what, code, reset_needed=None)
        require(dataset in error.message, f"the error of {what} does not name it: {error.message!r}")
        _make_again(subject, probe)


def test_invalid_fields(subject: Subject) -> None:
    """A field of the wrong type or out of its range is refused, and the error names it."""
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
        ("wrappers", "FlattenObservation"),
        ("vector_wrappers", [{"kwargs": {}}]),
        ("each", [{"seeds": [-1]}]),
        ("on_failure", "ignore"),
    ]
    for name, value in wrong:
        probe, what = subject.connect(), f"make with {name} = {value!r}"
        probe.say("make", **{**subject.fields(), name: value})
        error = probe.expect_error(what, "invalid-field", reset_needed=None)
        require(name in error.message, f"the error of {what} does not name the field: {error.message!r}")
        _make_again(subject, probe)


def test_missing_id(subject: Subject) -> None:
    """A make message without an id is refused, and the error names the field."""
    probe = subject.connect()
    probe.say("make")
    error = probe.expect_error("make without an id", "invalid-field", reset_needed=None)
    require("id" in error.message, f"the error does not name the field: {error.message!r}")
    _make_again(subject, probe)


def test_newer_version(subject: Subject) -> None:
    """A version of the protocol that the server does not speak is refused."""
    probe = subject.connect()
    probe.say("make", **subject.fields(version=VERSION + 1000))
    probe.expect_error(f"make with version {VERSION + 1000}", "invalid-field", reset_needed=None)


def test_request_before_make(subject: Subject) -> None:
    """A request before make is refused, and make may follow."""
    for op in ("reset", "sample", "close"):
        probe = subject.connect()
        probe.say(op)
        probe.expect_error(f"{op} before make", "no-environment", reset_needed=None)
        _make_again(subject, probe)


def test_second_make(subject: Subject) -> None:
    """A second make is refused, and the first environment continues undisturbed."""
    probe = subject.session()
    actions = actions_of(probe, 2)
    expected = play(subject.session(), actions)
    first = probe.reset(seed=SEED)[0]
    probe.say("make", **subject.fields())
    probe.expect_error("a second make", "environment-made")
    expect_same([first, *probe.steps(actions)], expected, "an episode with a second make in it")


def test_max_episode_steps(subject: Subject) -> None:
    """An episode is truncated, not terminated, after the number of steps given in make."""
    probe = subject.session(max_episode_steps=3)
    spec = probe.made.get("spec")
    require(spec is None or spec.get("max_episode_steps") == 3, f"`spec` is {spec}; expected 3 steps at most")
    probe.reset(seed=SEED)
    steps = probe.steps(actions_of(probe, 5))
    require(len(steps) == 3, f"the episode has {len(steps)} steps; expected 3")
    flags = (steps[-1].terminated, steps[-1].truncated)
    require(flags == (False, True), f"terminated and truncated of the last step are {flags}; expected false and true")


def test_info_selection(subject: Subject) -> None:
    """With "none", no info is sent; with "episode", none during an episode."""
    for environment in (subject.options.environment, *subject.options.also):
        for wanted in ("none", "episode"):
            probe = subject.session(environment, info=wanted)
            info = probe.reset(seed=SEED)[1]
            require(wanted == "episode" or not info, f"reset has the info {info}; none was wanted")
            step = probe.step(actions_of(probe, 1)[0])
            allowed = wanted == "episode" and step.is_over
            require(allowed or not step.info, f"a step has the info {step.info}; none was wanted")


def test_positive_limits(subject: Subject) -> None:
    """Limits are positive or null."""
    limits = subject.session().made.get("limits")
    if limits is None:
        pytest.skip("the server tells no limits")
    wrong = [name for name, value in limits.items() if value is not None and not value > 0]
    require(not wrong, f"limits that are not positive: {', '.join(wrong)}; expected null where there is no limit")


def _expect_place(probe: Probe, place: int) -> None:
    told = probe.reply("queued").get("place")
    require(told == place, f"`place` is {told}; expected {place}")


def test_report_queue(subject: Subject) -> None:
    """A waiting client that asked for its place in the queue is told, and again when it moves up; others are not."""
    count = subject.options.max_sessions
    if not count:
        pytest.skip("the number of sessions is not known: --max-sessions N")
    playing = [subject.session() for _ in range(count)]
    first, second, quiet = (subject.connect() for _ in range(3))
    for place, probe in ((1, first), (2, second)):
        probe.say("make", **subject.fields(report_queue=True))
        _expect_place(probe, place)
    quiet.say("make", **subject.fields())
    playing[0].ask("close")
    first.read_made()
    _expect_place(second, 1)
    first.ask("close")
    second.read_made()
    second.ask("close")
    quiet.read_made()
