"""Environments that fail: the client is told, and the same connection goes on with a reset."""

from __future__ import annotations

from typing import Any

from gymtwist.conformance.report import skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.playing import SEED, expect_same
from gymtwist.conformance.server.session import Session
from gymtwist.conformance.server.subject import Subject

fault = Theme("fault")


def _fail(session: Session, action: Any, what: str) -> None:
    session.connection.say("step", action=action)
    session.connection.expect_error(f"a step of {what}", fault="environment", reset_needed=True)


def _recovers(subject: Subject, environment: str, what: str) -> None:
    session = subject.session(environment)
    action = session.actions.dump(session.sample())
    for _ in range(2):
        first = session.reset(seed=SEED)
        _fail(session, action, what)
        session.connection.say("step", action=action)
        session.connection.expect_error(f"the step after the fault of {what}", "reset-needed", reset_needed=True)
        expect_same(session.reset(seed=SEED), first, f"a reset after the fault of {what}")
    _fail(session, action, what)
    other = subject.session()
    other.reset(seed=SEED)


@fault
def of_an_environment_that_raises(subject: Subject) -> None:
    """A step that raises is the environment's fault; the connection goes on, and must reset."""
    if not subject.options.raising:
        skip("no environment that raises is known: --raising ID")
    _recovers(subject, subject.options.raising, "an environment that raises")


@fault
def of_an_environment_that_dies(subject: Subject) -> None:
    """A step that ends its process is the environment's fault; the same connection goes on with a fresh environment."""
    if not subject.options.dying:
        skip("no environment that ends its process is known: --dying ID")
    _recovers(subject, subject.options.dying, "an environment that ends its process")


@fault
def requests_behind_it(subject: Subject) -> None:
    """Requests that were sent behind the step that failed are answered in order: refused until there is a reset."""
    environment = subject.options.dying or subject.options.raising
    if not environment:
        skip("no environment that fails is known: --raising ID or --dying ID")
    session = subject.session(environment)
    encoded, action = session.connection.encoded, session.actions.dump(session.sample())
    first = session.reset(seed=SEED)
    session.connection.send(encoded("step", action=action) * 3 + encoded("reset", seed=SEED))
    session.connection.expect_error("a step that fails", fault="environment", reset_needed=True)
    for _ in range(2):
        session.connection.expect_error("a step behind one that failed", "reset-needed", reset_needed=True)
    expect_same(session.read_reset(), first, "a reset behind steps behind one that failed")
