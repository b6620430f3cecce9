"""The environments that clients can ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gymnasium
import pytest

from gymtwist.envs.installed import find_installed
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


def test_only_ids_that_clients_may_ask_for_are_listed() -> None:
    """The operator decides with --allow."""
    assert find_installed(lambda name: name == "gym:Taxi-v3").ids == {"gym": ["gym:Taxi-v3"]}
