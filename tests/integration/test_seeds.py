"""Seeds have an effect where they can, and a client learns where they have none."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gymtwist_conformance.reference_client import ENCODINGS, FramedClient
from tests.support.client_equivalence import Remote, RemoteVec
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, connected
from tests.support.unusual_environments import OLD

pytest_plugins = ("tests.support.client_fixtures",)

UNTAKEN = "the environment at the server takes no seed"


@pytest.mark.parametrize("name", OLD)
def test_an_old_environment_that_takes_no_seed(remote: Remote, name: str) -> None:
    """The client is warned; the global generators have got the seed, from which the environment draws."""
    env = remote(f"gym:{name}-v0")
    with pytest.warns(UserWarning, match=UNTAKEN):
        first = env.reset(seed=5)[0]
    with pytest.warns(UserWarning, match=UNTAKEN):
        assert np.array_equal(env.reset(seed=5)[0], first)
    assert not np.array_equal(env.reset()[0], first)


@pytest.mark.parametrize("processes", [1, 2])
def test_old_environments_that_step_together(remote_vec: RemoteVec, processes: int) -> None:
    """The client is warned, too."""
    envs = remote_vec("gym:Unseeded-v0", 2, processes=processes)
    with pytest.warns(UserWarning, match=UNTAKEN):
        envs.reset(seed=5)


@pytest.mark.parametrize("name", ["CartPole-v1", "gym:OldGym-v0", "gym:NewGym-v0"])
def test_a_seed_that_is_taken(remote: Remote, name: str) -> None:
    """There is no warning, and the seed can be verified."""
    env = remote(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        env.reset(seed=5)
    assert env.verify_seed(5)


@pytest.mark.parametrize("what", ["info", "observation", "reward", "end", "nothing"])
def test_a_seed_that_decides_on_a_part(remote: Remote, what: str) -> None:
    """It is found whatever the seed does not decide; infos of steps may differ, and a move may be illegal."""
    env = remote("IgnoringLater-v0", what=what)
    assert env.verify_seed(5) is (what == "nothing")
    first = env.reset(seed=6)[0]
    assert env.verify_seed(6) is (what == "nothing")
    assert np.array_equal(env.reset(seed=6)[0], first)


@pytest.mark.parametrize(("processes", "mode"), [(1, "sync"), (2, "sync"), (1, "async")])
def test_seeds_of_environments_that_step_together(remote_vec: RemoteVec, processes: int, mode: str) -> None:
    """They can be verified as well, and the episodes begin anew."""
    envs = remote_vec("CartPole-v1", 3, processes=processes, vectorization_mode=mode)
    expected = envs.reset(seed=[4, 5, 6])[0]
    assert envs.verify_seed(4)
    assert envs.verify_seed([4, 5, 6])
    assert np.array_equal(envs.reset(seed=4)[0], expected)
    odd = remote_vec("IgnoringLater-v0", 3, processes=processes, vectorization_mode=mode, what="reward")
    assert not odd.verify_seed(4)
    odd.step(np.zeros(3, np.int64))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_reply_to_a_reset(served: ServerProcess, encoding: str) -> None:
    """It says that the seed was not taken, or had no effect if that was to be verified; otherwise it says nothing."""
    with FramedClient(connected(("127.0.0.1", served.port)), encoding) as client:
        client.make("Ignoring-v0")
        assert "seeded" not in client.ask("reset", seed=5)
        assert client.ask("reset", seed=5, verify_seed=True)["seeded"] is False
    with FramedClient(connected(("127.0.0.1", served.port)), encoding) as client:
        client.make("gym:Unseeded-v0")
        assert "seeded" not in client.ask("reset")
        assert client.ask("reset", seed=5)["seeded"] is False
        assert client.ask("reset", seed=5, verify_seed=True)["seeded"] is False
    with FramedClient(connected(("127.0.0.1", served.port)), encoding) as client:
        client.make("CartPole-v1", num_envs=2, vectorization_mode="sync")
        assert client.ask("reset", seed=[1, 2], verify_seed=True)["seeded"] is True


def test_the_order_of_sets(remote: Remote) -> None:
    """It is the same in every worker: that of PYTHONHASHSEED=0."""
    line = [sys.executable, "-c", "print(hash('gymtwist'))"]
    variables = {**os.environ, "PYTHONHASHSEED": "0"}
    told = subprocess.run(line, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    env = remote("Hashing-v0")
    env.reset()
    assert env.step(0)[4] == {"hash": int(told)}
