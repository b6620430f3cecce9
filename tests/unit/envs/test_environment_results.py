"""What a vector environment of its own kind returns from a step, which nothing of Gymnasium has looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymtwist.envs.environment_results import vector_step_result
from gymtwist.errors import EnvironmentFault

NO = [False, False]


def test_lists_are_taken() -> None:
    """As arrays of as many numbers and flags as there are environments."""
    observations, rewards, terminated, truncated, info = vector_step_result(("o", [1, 2.5], (0, True), NO, {}), 2)
    assert (observations, info) == ("o", {})
    assert (rewards.dtype, rewards.tolist()) == (np.float64, [1.0, 2.5])
    assert (terminated.dtype, terminated.tolist(), truncated.tolist()) == (np.bool_, [False, True], NO)


@pytest.mark.parametrize(
    ("returned", "words", "environments"),
    [
        ((0, [1.0, 2.0], NO, {}), "the environment returned 4 values from step; Gymnasium expects 5 values", ()),
        ((0, 1.0, NO, NO, {}), "the environment returned 1.0 for `rewards` from step; Gymnasium expects 2 of them", ()),
        (
            (0, [1.0, 2.0], [False], NO, {}),
            r"the environment returned \[false\] for `terminated` from step; .* 2 of",
            (),
        ),
        ((0, [1.0, 2.0], NO, None, {}), "the environment returned null for `truncated` from step; .* 2 of them", ()),
        ((0, [1.0, "x"], NO, NO, {}), 'environment 1: the environment returned "x" as the reward from step', (1,)),
        ((0, [1.0, 2.0], ["no", False], NO, {}), 'environment 0: the environment returned "no" for `terminated`', (0,)),
    ],
)
def test_other_results(returned: Any, words: str, environments: tuple[int, ...]) -> None:
    """The fault says what it was, and of which environment."""
    with pytest.raises(EnvironmentFault, match=f"^{words}") as caught:
        vector_step_result(returned, 2)
    assert caught.value.environments == environments
