"""Sessions that outlive their connections: nothing is lost or done twice, and nobody else can take them."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, expect_same, reference

#: Steps before and after the loss of the connection.
_BEFORE, _BEHIND = 3, 4
_SECONDS = 30.0


def _begun(subject: Subject) -> tuple[Probe, str]:
    """Make a resumable session, and begin an episode; skip the check if the server has no such sessions."""
    probe = subject.session(resume=_SECONDS)
    granted: dict[str, Any] | None = probe.made.get("resume")
    if granted is None:
        pytest.skip("the server keeps no sessions whose connection is lost")
    require(0 < granted["seconds"] <= _SECONDS, f"`seconds` is {granted['seconds']}: expected {_SECONDS} at most")
    probe.reset(seed=SEED)
    return probe, granted["secret"]


def _ask(subject: Subject, secret: str, received: int | None) -> Probe:
    """Ask to resume a session over another connection."""
    probe = subject.connect()
    token = {} if subject.options.token is None else {"token": subject.options.token}
    probe.say("resume", secret=secret, received=received, **token)
    return probe


def _resumed(subject: Subject, lost: Probe, secret: str, received: int | None) -> tuple[Probe, int]:
    """Resume over another connection; return it, and how many requests the server has received."""
    probe = _ask(subject, secret, received)
    known = probe.reply("resume")["received"]
    probe.made, probe.actions, probe.observations = lost.made, lost.actions, lost.observations
    return probe, known


def test_reply(subject: Subject) -> None:
    """A lost reply is sent again, and its step was taken only once."""
    actions, expected = reference(subject, _BEFORE + _BEHIND)
    lost, secret = _begun(subject)
    lost.steps(actions[:_BEFORE])
    lost.close()
    received = _BEFORE  # the reset, and all steps but the last
    probe, known = _resumed(subject, lost, secret, received)
    require(known == received + 1, f"`received` is {known} after {received + 1} requests")
    again = [probe.read_step(), *probe.steps(actions[_BEFORE:])]
    expect_same(again, expected[_BEFORE:], "the steps from the lost one on")
    probe.ask("close")


def test_request(subject: Subject) -> None:
    """A request of which a part was lost is not counted, and leaves no trace."""
    actions, expected = reference(subject, _BEHIND)
    lost, secret = _begun(subject)
    lost.send(lost.encoded("step", action=lost.actions.dump(actions[0]))[:-1])
    lost.close()
    probe, known = _resumed(subject, lost, secret, 1)
    require(known == 1, f"`received` is {known} after one whole request")
    expect_same(probe.steps(actions), expected[1:], "the steps after a lost part of a request")
    probe.ask("close")


def test_restart(subject: Subject) -> None:
    """A client that does not know how many replies it has received gets the last one."""
    actions, expected = reference(subject, _BEFORE + _BEHIND)
    lost, secret = _begun(subject)
    lost.steps(actions[:_BEFORE])
    lost.close()
    probe, known = _resumed(subject, lost, secret, None)
    require(known == _BEFORE + 1, f"`received` is {known} after {_BEFORE + 1} requests")
    again = [probe.read_step(), *probe.steps(actions[_BEFORE:])]
    expect_same(again, expected[_BEFORE:], "the last step, and those behind it")
    last = _ask(subject, secret, 1 + _BEFORE + _BEHIND)
    takeovers = last.reply("resume").get("takeovers", 0)
    require(takeovers == 1, f"`takeovers` is {takeovers} after one resume with `received` null")
    last.ask("close")


def test_takeover(subject: Subject) -> None:
    """The new connection replaces the old one, which is closed."""
    actions, expected = reference(subject, _BEHIND)
    old, secret = _begun(subject)
    probe, known = _resumed(subject, old, secret, 1)
    require(known == 1, f"`received` is {known} after one request")
    expect_same(probe.steps(actions), expected[1:], "the steps over the new connection")
    old.expect_end("another connection has its session")
    probe.ask("close")


def test_secret(subject: Subject) -> None:
    """A wrong secret is refused, and so is the right one after close."""
    probe, secret = _begun(subject)
    _ask(subject, secret[:-1] + ("a" if secret[-1] != "a" else "b"), 1).expect_error(
        "a wrong secret", "unknown-session"
    )
    probe.ask("close")
    _ask(subject, secret, 2).expect_error("the secret of a session that was closed", "unknown-session")
