"""Snapshots: what follows a snapshot is the same each time, in the same session and in another."""

from __future__ import annotations

import pytest

from gymtwist_conformance.reference_client import Failed
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, expect_same, reference

#: Steps before and after the snapshot.
_BEFORE, _BEHIND = 2, 4
_NO_NUMBER = 1_000_000


def _taken(probe: Probe) -> tuple[int, str]:
    """Take a snapshot; skip the check if the server has none."""
    try:
        reply = probe.ask("snapshot")
    except Failed as error:
        if error.code in ("unknown-operation", "snapshot-refused", "too-many-snapshots"):
            pytest.skip(f"the server has no snapshots of this environment: {error.message}")
        raise
    return reply["snapshot"], reply["ticket"]


def test_restore(subject: Subject) -> None:
    """A session continues from a snapshot as before, any number of times, and after a reset, too."""
    actions, expected = reference(subject, _BEFORE + _BEHIND)
    probe = subject.session()
    probe.reset(seed=SEED)
    probe.steps(actions[:_BEFORE])
    number, _ = _taken(probe)
    for what in ("right behind a snapshot", "after it was restored", "after a reset and a restoration"):
        expect_same(probe.steps(actions[_BEFORE:]), expected[1 + _BEFORE :], f"the steps {what}")
        if what.startswith("after"):
            probe.reset(seed=SEED + 1)
        require(probe.ask("restore", snapshot=number)["playing"], "a restored episode does not go on")


def test_pipelined(subject: Subject) -> None:
    """Requests that are sent together with a restore are answered in order."""
    actions, expected = reference(subject, _BEHIND)
    probe = subject.session()
    probe.reset(seed=SEED)
    number, _ = _taken(probe)
    steps = b"".join(probe.encoded("step", action=probe.actions.dump(action)) for action in actions)
    probe.send((steps + probe.encoded("restore", snapshot=number)) * 2)
    for _ in range(2):
        expect_same([probe.read_step() for _ in actions], expected[1:], "pipelined steps behind a snapshot")
        probe.reply("restore")


def test_release(subject: Subject) -> None:
    """A snapshot that was released or never taken cannot be restored, and the episode continues."""
    actions, expected = reference(subject, _BEHIND)
    probe = subject.session()
    probe.reset(seed=SEED)
    number, _ = _taken(probe)
    require(probe.ask("release", snapshot=number)["held"] == 0, "a released snapshot is still held")
    for op, wrong in (("restore", number), ("release", number), ("restore", _NO_NUMBER)):
        probe.say(op, snapshot=wrong)
        probe.expect_error(f"{op} of snapshot {wrong}, which is not held,", "unknown-snapshot")
    expect_same(probe.steps(actions), expected[1:], "the steps after snapshots were refused")


def test_branch(subject: Subject) -> None:
    """Another session continues from a snapshot, and the first one is not affected."""
    actions, expected = reference(subject, _BEFORE + _BEHIND)
    probe = subject.session()
    probe.reset(seed=SEED)
    probe.steps(actions[:_BEFORE])
    _, ticket = _taken(probe)
    try:
        branch = subject.session(branch=ticket)
    except Failed as error:
        if error.code == "snapshot-refused":
            pytest.skip(f"no session branches off a snapshot of this environment: {error.message}")
        raise
    require(branch.made.get("branched") is True, "the reply to make has no `branched`, though a ticket was sent")
    for each in (branch, probe):
        expect_same(each.steps(actions[_BEFORE:]), expected[1 + _BEFORE :], "the steps of a session and its branch")
    other = subject.connect()
    other.say("make", **subject.fields(branch="1-no-ticket"))
    other.expect_error("a ticket that no snapshot has", "unknown-snapshot")
