"""Environments that fail: the client gets an error, and the same connection continues with a reset."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, batch, expect_same


def _fail(probe: Probe, action: Any, what: str) -> None:
    probe.say("step", action=action)
    probe.expect_error(f"a step of {what}", fault="environment", reset_needed=True)


def _recovers(subject: Subject, environment: str, what: str) -> None:
    probe = subject.session(environment)
    action = probe.actions.dump(probe.sample())
    for _ in range(2):
        first = probe.reset(seed=SEED)[0]
        _fail(probe, action, what)
        probe.say("step", action=action)
        probe.expect_error(f"the step after the fault of {what}", "reset-needed", reset_needed=True)
        expect_same(probe.reset(seed=SEED)[0], first, f"a reset after the fault of {what}")
    _fail(probe, action, what)
    subject.session().reset(seed=SEED)


def test_environment_raises(subject: Subject) -> None:
    """A step that raises is the environment's fault; the connection continues with a reset."""
    if not subject.options.raising:
        pytest.skip("no environment that raises is known: --raising ID")
    _recovers(subject, subject.options.raising, "an environment that raises")


def test_environment_dies(subject: Subject) -> None:
    """A step that ends its process is the environment's fault; the connection continues with a fresh environment."""
    if not subject.options.dying:
        pytest.skip("no environment that ends its process is known: --dying ID")
    _recovers(subject, subject.options.dying, "an environment that ends its process")


def test_exception(subject: Subject) -> None:
    """The error names the exception raised by a step if it is a built-in one; errors without one name none."""
    if not subject.options.raising:
        pytest.skip("no environment that raises is known: --raising ID")
    probe = subject.session(subject.options.raising)
    action = probe.actions.dump(probe.sample())
    probe.say("step", action=action)
    before = probe.expect_error("a step before the first reset", "reset-needed", reset_needed=True).exception
    require(not before, f"a step before the first reset was answered with the exception {before!r}; expected none")
    probe.reset(seed=SEED)
    probe.say("step", action=action)
    told = probe.expect_error("a step that raises", fault="environment", reset_needed=True).exception
    wanted = subject.options.exception
    if wanted:
        require(told == wanted, f"a step that raises {wanted} was answered with the exception {told!r}")
    kind = getattr(builtins, told, None) if told else ValueError
    known = isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception
    require(known, f"a step that raises was answered with the exception {told!r}, which Python does not have")


def test_truncation(subject: Subject) -> None:
    """If the client asks for it, a step that raises ends the episodes of a vector environment as truncated."""
    if not subject.options.raising or not subject.options.num_envs:
        pytest.skip("no environment that raises is known, or no vector environments: --raising ID, --num-envs N")
    fields: dict[str, Any] = {"num_envs": subject.options.num_envs, "vectorization_mode": "sync"}
    probe = subject.session(subject.options.raising, on_failure="truncate", **fields)
    first, actions = probe.reset(seed=SEED)[0], batch(probe, 0)
    step = probe.step(actions)
    require(bool(step.truncated.all()), f"`truncated` of a step that raises is {step.truncated}; expected true for all")
    require("error" in step.info, f"the info of a step that raises has no `error`: {step.info}")
    expect_same(step.observation, first, "the observations of a step that raises")
    require(not probe.step(actions).truncated.any(), "the step after one that raised began no episodes")


def test_requests_behind_fault(subject: Subject) -> None:
    """Requests that were sent after the step that failed are answered in order: refused until there is a reset."""
    environment = subject.options.dying or subject.options.raising
    if not environment:
        pytest.skip("no environment that fails is known: --raising ID or --dying ID")
    probe = subject.session(environment)
    action, first = probe.actions.dump(probe.sample()), probe.reset(seed=SEED)[0]
    probe.send(probe.encoded("step", action=action) * 3 + probe.encoded("reset", seed=SEED))
    probe.expect_error("a step that fails", fault="environment", reset_needed=True)
    for _ in range(2):
        probe.expect_error("a step behind one that failed", "reset-needed", reset_needed=True)
    expect_same(probe.read_reset()[0], first, "a reset behind steps behind one that failed")
