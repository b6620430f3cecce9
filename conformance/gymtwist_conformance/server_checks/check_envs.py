"""The list of environments: its pages, its order, and that listing changes nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from gymtwist_conformance.reference_client import Failed
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import SEED, Probe, Subject, actions_of, expect_same, play

MAX_ID, MAX_COUNT = 255, 1000
#: The number of pages after which a list counts as endless.
_ENDLESS = 10_000


def _page(probe: Probe, **fields: Any) -> dict[str, Any]:
    """Return the reply; skip the check if the server has no list."""
    try:
        page = probe.ask("envs", **fields)
    except Failed as error:
        if error.code == "unknown-operation":
            pytest.skip("the server does not list its environments: it does not know the operation envs")
        raise
    envs = page.setdefault("envs", [])
    count, after = fields.get("count", MAX_COUNT), fields.get("after", "")
    require(len(envs) <= count, f"{len(envs)} environments are listed; {count} at most were asked for")
    ids = [each["id"] for each in envs]
    for before, behind in pairwise([after, *ids]):
        require(before < behind, f"{behind!r} is listed after {before!r}; expected the order of code points")
    require(all(len(each) <= MAX_ID for each in ids), f"an id has more than {MAX_ID} characters")
    return page


def _ids(probe: Probe, **fields: Any) -> list[str]:
    """Go through the pages; return all ids."""
    ids: list[str] = []
    for _ in range(_ENDLESS):
        page = _page(probe, after=ids[-1] if ids else "", **fields)
        ids += [each["id"] for each in page["envs"]]
        if not page.get("more", False):
            return ids
        require(page["envs"], "`more` is true, and nothing is listed")
    pytest.fail(f"the list has not ended after {_ENDLESS} pages")


def test_pages(subject: Subject) -> None:
    """Pages of any size have the same environments, each once, in the order of their ids."""
    probe = subject.connect()
    ids = _ids(probe)
    size = max(1, len(ids) // 3)
    found = _ids(probe, count=size)
    require(found == ids, f"pages of {size} have {len(found)} environments; expected the {len(ids)} of one page")
    none = _page(probe, count=0)
    require(none.get("more", False) == bool(ids), f"`more` is {none.get('more', False)} after none of {len(ids)}")


def test_make_after_list(subject: Subject) -> None:
    """A list is not an environment: make can follow on the same connection."""
    probe = subject.connect()
    _page(probe, count=1)
    probe.say("make", **subject.fields())
    probe.read_made()
    actions = actions_of(probe, 3)
    expect_same(play(probe, actions), play(subject.session(), actions), "a session that began with envs")


def test_list_during_episode(subject: Subject) -> None:
    """Listing does not affect a running episode."""
    actions = [*actions_of(subject.session(), 4)]
    expected = play(subject.session(), actions)
    probe = subject.session()
    found = [probe.reset(seed=SEED)[0]]
    for action in actions[: len(expected) - 1]:
        _page(probe, count=1)
        found.append(probe.step(action))
    expect_same(found, expected, "an episode with envs between the steps")


def test_invalid_fields(subject: Subject) -> None:
    """A field of the wrong type or out of its range is refused, and the error names it."""
    probe = subject.connect()
    _page(probe, count=1)
    for name, value in (("count", -1), ("count", MAX_COUNT + 1), ("count", "few"), ("after", 7)):
        probe.say("envs", **{name: value})
        error = probe.expect_error(f"envs with {name} = {value!r}", "invalid-field")
        require(name in error.message, f"the error does not name the field: {error.message!r}")
