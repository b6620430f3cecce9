"""The rows of episodes that a reader of journals keeps while they go on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.recordings.journal_reader import _joined, _Rows


def test_an_episode_without_gaps_takes_no_memory_for_its_rows() -> None:
    """However often it was looked at; nor does a look that finds nothing new."""
    parts: list[_Rows] = []
    for first in range(0, 100_000, 1_000):
        _joined(parts, np.arange(first, first + 1_000))
        _joined(parts, np.arange(0))
    assert parts == [(0, 100_000)]


@given(st.lists(st.lists(st.integers(1, 3), max_size=5), max_size=8))
def test_no_row_is_lost(steps: list[list[int]]) -> None:
    """Also where an environment of a vector has none for some time."""
    rows = np.cumsum([0, *(step for part in steps for step in part)])[1:]
    parts: list[_Rows] = []
    for part in np.split(rows, np.cumsum([len(part) for part in steps])[:-1]) if steps else []:
        _joined(parts, part)
    kept = [row for each in parts for row in (range(*each) if isinstance(each, tuple) else each.tolist())]
    assert kept == rows.tolist()
