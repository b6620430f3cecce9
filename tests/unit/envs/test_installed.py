"""The environments that clients can ask for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any, cast

import gymnasium
import numpy as np
import pytest

from gymtwist.envs.installed import Listed, find_installed, find_listed
from tests.support.plain_environment import Plain


@pytest.fixture
def registered() -> Iterator[str]:
    """The id of an environment whose class is given, not named."""
    gymnasium.register("Installed-v0", entry_point=cast(Any, Plain))
    yield "Installed-v0"
    del gymnasium.registry["Installed-v0"]


def test_ids_are_listed_by_library(registered: str) -> None:
    """Those of Gym begin with its name, as a client has to write them."""
    ids, _ = find_installed()
    assert "CartPole-v1" in ids["gymnasium"]
    assert "gym:CartPole-v1" in ids["gym"]
    assert registered in ids["tests"]


def test_environments_that_cannot_be_made_are_not_listed() -> None:
    """Gymnasium keeps ids that only raise an error; and some need a package that is not installed."""
    ids, missing = find_installed()
    assert "Reacher-v2" in gymnasium.registry
    assert "Reacher-v2" not in ids["gymnasium"]
    for extra, name in (("jax", "phys2d/CartPole-v1"), ("mujoco", "Ant-v5"), ("box2d", "LunarLander-v3")):
        assert (extra in missing) == (name not in ids["gymnasium"])


def test_an_old_version_may_need_another_package() -> None:
    """Gym's environments of MuJoCo before v4 need mujoco_py; no extra has it."""
    ids, missing = find_installed(lambda name: name in ("gym:Ant-v2", "gym:Ant-v3", "gym:Ant-v4"))
    old = ["gym:Ant-v2", "gym:Ant-v3"] if importlib.util.find_spec("mujoco_py") else []
    new = ["gym:Ant-v4"] if importlib.util.find_spec("mujoco") else []
    assert ids.get("gym", []) == [*old, *new]
    assert missing == ([] if new else ["mujoco"])


def test_only_ids_that_clients_may_ask_for_are_listed() -> None:
    """The operator decides with --allow."""
    assert find_installed(lambda name: name == "gym:Taxi-v3").ids == {"gym": ["gym:Taxi-v3"]}


def test_the_list_has_what_the_registry_knows() -> None:
    """Of each environment that clients may ask for, in the order of the ids."""
    allowed = ("gym:Taxi-v3", "CartPole-v1", "Blackjack-v1")
    assert find_listed(lambda name: name in allowed) == [
        Listed("Blackjack-v1", "gymnasium", None, None, False),
        Listed("CartPole-v1", "gymnasium", 500, 475.0, False),
        Listed("gym:Taxi-v3", "gym", 200, 8.0, False),
    ]


@pytest.mark.parametrize(
    ("steps", "threshold", "listed"),
    [
        (np.int64(7), np.float32(0.5), (7, 0.5)),
        (float("inf"), float("nan"), (None, None)),
        ("many", object(), (None, None)),
        (-1, 10**400, (None, None)),
    ],
)
def test_a_registration_may_have_any_values(steps: Any, threshold: Any, listed: tuple[Any, Any]) -> None:
    """What is no number of the list is left out."""
    gymnasium.register(
        "OddlyRegistered-v0",
        entry_point=cast(Any, Plain),
        max_episode_steps=steps,
        reward_threshold=threshold,
        nondeterministic=True,
    )
    try:
        (found,) = find_listed(lambda name: name == "OddlyRegistered-v0")
    finally:
        del gymnasium.registry["OddlyRegistered-v0"]
    assert found == ("OddlyRegistered-v0", "tests", *listed, True)
    assert all(type(each) in (int, float, type(None)) for each in found[2:4])
