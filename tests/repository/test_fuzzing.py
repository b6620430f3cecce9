"""Mutated openings and frames: `make fuzz` feeds many more than this test."""

from __future__ import annotations

import random

import pytest

from tools.fuzzing import __main__ as fuzzing
from tools.fuzzing.mutations import mutated


def test_mutated_inputs_are_read_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an error of gymtwist's own; the seeds come first."""
    monkeypatch.setattr("sys.argv", ["fuzzing", "--runs", "5000", "--seed", "3"])
    assert fuzzing.main() == 0
    assert "5000 inputs from" in capsys.readouterr().out


def test_an_input_that_breaks_a_reader_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As bytes that can be saved in the corpus."""

    def broken(data: bytes) -> None:
        if len(data) > 100:
            raise IndexError(len(data))

    monkeypatch.setattr(fuzzing, "read", broken)
    monkeypatch.setattr("sys.argv", ["fuzzing", "--runs", "5000"])
    assert fuzzing.main() == 1
    shown = capsys.readouterr().out.rpartition(": ")[2]
    assert len(bytes.fromhex(shown)) > 100


@pytest.mark.parametrize("broken", ["gymtwist.web.openenv_session.no_tools", "gymtwist.web.gym_http_api._is_given"])
def test_a_body_that_breaks_a_handler_is_shown(
    broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a message of OpenEnv, or of a request."""

    def fail(value: object) -> None:
        raise KeyError(value)

    monkeypatch.setattr(broken, fail)
    monkeypatch.setattr("sys.argv", ["fuzzing", "--runs", "50"])
    assert fuzzing.main() == 1
    assert "to be saved in tools/fuzzing" in capsys.readouterr().out


def test_mutations_depend_on_the_seed_alone() -> None:
    """So that a run can be repeated; most of them are no input that was there."""
    seeds = fuzzing.seeds()
    one, same, other = ([mutated(seeds, source) for _ in range(100)] for source in map(random.Random, (1, 1, 2)))
    assert one == same != other
    assert len(set(one) - set(seeds)) > 90
