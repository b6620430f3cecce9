"""What is built for Gymnasium's environments works with remote ones, unchanged."""

from __future__ import annotations

import gc
import os
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gymtwist.client
from gymtwist.client import RemoteEnv, RemoteVectorEnv, connect, connect_vec
from tests.support.client_equivalence import SETUP, Remote, RemoteVec, assert_same, local
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, connected, write_certificate

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 77


def warned(check: Callable[[], object]) -> set[str]:
    """Return the warnings that something gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check()
    return {str(each.message) for each in caught}


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_the_checker_of_gymnasium_finds_nothing(remote: Remote, environment: str) -> None:
    """But what it finds in a local environment, too."""
    pytest.importorskip("pygame")
    ours, theirs = local(environment), remote(environment)
    assert warned(lambda: check_env(theirs)) <= warned(lambda: check_env(ours.unwrapped, skip_render_check=True))


def test_gymnasium_makes_it(served: ServerProcess) -> None:
    """By an id, and with its wrappers."""
    address = ("127.0.0.1", served.port)
    with gymnasium.make("gymtwist/Remote-v0", address=address, env_id="CartPole-v1", max_episode_steps=5) as theirs:
        assert isinstance(theirs.unwrapped, RemoteEnv)
        ours = local("CartPole-v1")
        assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
        for _ in range(4):
            assert_same(theirs.step(0), ours.step(0))
        assert theirs.step(0)[3]


def test_what_gymnasium_made_knows_itself(served: ServerProcess) -> None:
    """Its specification has what the server says, and can be stored without the token."""
    arguments: Any = {"address": ("127.0.0.1", served.port), "env_id": "CartPole-v1", "token": "a secret"}
    with gymnasium.make("gymtwist/Remote-v0", **arguments) as theirs:
        assert theirs.spec is not None
        assert (theirs.spec.id, theirs.spec.max_episode_steps) == ("gymtwist/Remote-v0", 500)
        stored = theirs.spec.to_json()
        assert "a secret" not in stored
        with gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(stored)) as again:
            assert_same(again.reset(seed=SEED), theirs.reset(seed=SEED))
    with gymnasium.make_vec("gymtwist/Remote-v0", 3, **arguments) as several:  # type: ignore[attr-defined]
        assert several.spec is not None and several.spec.max_episode_steps == 500
        assert "a secret" not in several.spec.to_json()
        with gymnasium.make_vec(several.spec) as again:  # type: ignore[attr-defined]
            assert again.num_envs == 3


@pytest.mark.filterwarnings("ignore:`:UserWarning")  # that a dataset has no author, and more of the kind
def test_minari_stores_what_was_played(served: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset has the specification, without the token, and gives the environment back."""
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    address = ("127.0.0.1", served.port)
    with connect(address, "CartPole-v1", token="a secret", max_episode_steps=7) as theirs:
        first, _ = theirs.reset(seed=SEED)
        second, *ends, _ = theirs.step(0)
        episode = minari.data_collector.EpisodeBuffer(
            *(0, SEED, None, np.array([first, second]), np.zeros(1, np.int64)), *([each] for each in ends)
        )
        dataset = minari.create_dataset_from_buffers("played/cartpole-v0", [episode], env=theirs)
    assert all(b"a secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with dataset.recover_environment() as again:
        assert isinstance(again.unwrapped, RemoteEnv)
        assert (again.spec.id, again.spec.max_episode_steps) == ("CartPole-v1", 7)
        assert_same(again.reset(seed=SEED)[0], first)
        assert_same(again.step(0)[0], second)


def test_gymnasium_makes_a_vector_of_them(served: ServerProcess) -> None:
    """In one process of the server, or with a connection each."""
    arguments: Any = {"address": ("127.0.0.1", served.port), "env_id": "CartPole-v1"}
    with gymnasium.make_vec("gymtwist/Remote-v0", 3, **arguments) as theirs:  # type: ignore[attr-defined]
        assert isinstance(theirs, RemoteVectorEnv)
        assert theirs.reset()[0].shape == (3, 4)
    each = gymnasium.make_vec("gymtwist/Remote-v0", 3, "sync", **arguments)
    ours = gymnasium.make_vec("CartPole-v1", 3, "sync")
    assert_same(each.reset(seed=SEED), ours.reset(seed=SEED))
    assert_same(each.step(np.zeros(3, np.int64)), ours.step(np.zeros(3, np.int64)))
    each.close()


def test_an_id_with_the_module_imports_the_client(served: ServerProcess) -> None:
    """In a program that has not."""
    program = (
        "import gymnasium\n"
        f"env = gymnasium.make('gymtwist.client:gymtwist/Remote-v0', address={served.port}, env_id='CartPole-v1')\n"
        "print(env.reset(seed=1)[0].shape)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.stdout == "(4,)\n", ended.stderr


def test_the_client_imports_no_twisted() -> None:
    """Nor Gym, nor any of the server."""
    program = "import gymtwist.client, sys; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    found = set(ended.stdout.split())
    assert not found & {"twisted", "ampoule", "zope.interface", "gym", "gymtwist.worker", "gymtwist.server"}


def test_wrappers_of_gymnasium_work(remote: Remote) -> None:
    """As they do on a local environment."""

    def wrapped(env: Any) -> Any:
        env = gymnasium.wrappers.TimeLimit(env, 12)
        env = gymnasium.wrappers.RecordEpisodeStatistics(env)
        env = gymnasium.wrappers.Autoreset(env)
        return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.NormalizeReward(env))

    ours, theirs = wrapped(local("CartPole-v1").unwrapped), wrapped(remote("CartPole-v1"))
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    for index in range(40):
        stepped, expected = theirs.step(index % 2), ours.step(index % 2)
        for each in (stepped, expected):
            each[4].get("episode", {}).pop("t", None)
        assert_same(stepped, expected)
    assert theirs.spec.additional_wrappers == ours.spec.additional_wrappers


def test_vector_wrappers_of_gymnasium_work(remote_vec: RemoteVec) -> None:
    """As they do on a local vector environment."""

    def wrapped(envs: Any) -> Any:
        envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(envs)
        return gymnasium.wrappers.vector.DictInfoToList(
            gymnasium.wrappers.vector.ClipReward(gymnasium.wrappers.vector.FlattenObservation(envs), 0, 2)
        )

    ours = wrapped(gymnasium.make_vec("CartPole-v1", 3, "sync"))
    theirs = wrapped(remote_vec("CartPole-v1", 3, vectorization_mode="sync", processes=2))
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    for _ in range(40):
        stepped, expected = theirs.step(np.zeros(3, np.int64)), ours.step(np.zeros(3, np.int64))
        for infos in (stepped[4], expected[4]):
            for info in infos:
                info.get("episode", {}).pop("t", None)
        assert_same(stepped[:4], expected[:4])
        assert stepped[4] == expected[4]


def test_frames_can_be_shown_by_gymnasium(remote: Remote, served: ServerProcess) -> None:
    """A collection of them, by the wrapper that `gymnasium.make` applies."""
    pytest.importorskip("pygame")
    theirs = gymnasium.wrappers.RenderCollection(remote("CartPole-v1", render_mode="rgb_array"))
    theirs.reset()
    theirs.step(0)
    frames: Any = theirs.render()
    assert [frame.shape for frame in frames] == [(400, 600, 3)] * 2


def test_a_specification_can_be_copied_whatever_the_connection(remote: Remote) -> None:
    """Wrappers do so; a TLS context could not be."""
    theirs = remote("CartPole-v1")
    copied = deepcopy(theirs.spec)
    assert copied is not None
    with copied.make() as another:
        another.reset()


def test_the_specification_of_several_makes_one_and_several(remote_vec: RemoteVec) -> None:
    """As Gymnasium's own does."""
    theirs = remote_vec("Pendulum-v1", 4, processes=2, g=3.0)
    assert theirs.spec is not None
    with theirs.spec.make() as one:
        assert isinstance(one.unwrapped, RemoteEnv)
        assert one.reset()[0].shape == (3,)
    several = gymnasium.make_vec(theirs.spec, 3)
    assert isinstance(several, RemoteVectorEnv)
    assert several.num_envs == 3
    assert_same(several.reset(seed=SEED)[0], theirs.reset(seed=SEED)[0][:3])
    several.close()


# Connections of all kinds


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server at the path ``socket`` of its directory, and at a port with TLS; ``certificate.pem`` is beside it."""
    directory = tmp_path_factory.mktemp("server")
    key, certificate = write_certificate(directory)
    listen = ("--listen", f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}", "--warm", "1")
    with ServerProcess(directory, *listen, port=f"unix:{directory / 'socket'}", setup=SETUP) as running:
        yield running


def test_a_unix_socket(elsewhere: ServerProcess) -> None:
    """Named by its path."""
    path = elsewhere.directory / "socket"
    elsewhere.wait_for("starting on")
    connected(str(path)).close()
    with connect(f"unix:{path}", "CartPole-v1") as theirs:
        ours = local("CartPole-v1")
        assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
        assert_same(theirs.step(1), ours.step(1))


def test_tls(elsewhere: ServerProcess) -> None:
    """With a certificate of one's own, by its file or by a context; and with another it is refused."""
    cert = elsewhere.directory / "certificate.pem"
    port = int(elsewhere.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    connected(("127.0.0.1", port)).close()
    for tls in (str(cert), ssl.create_default_context(cafile=str(cert))):
        with connect(("127.0.0.1", port), "Observe/Frame-v0", tls=tls) as theirs:
            theirs.reset()
            for _ in range(20):
                theirs.send(0)
            for _ in range(20):
                assert theirs.recv()[0].shape == (210, 160, 3)
            assert deepcopy(theirs.spec) is not None
    with pytest.raises(gymtwist.client.ConnectionLost, match=r"no TLS with .*certificate"):
        connect(f"tls:127.0.0.1:{port}", "CartPole-v1")


def test_connections_are_closed_whatever_happens(served: ServerProcess) -> None:
    """No descriptor is left: not of what was closed, forgotten, or could not be made."""
    address = ("127.0.0.1", served.port)

    def use() -> None:
        for end in (True, False):
            env = connect(address, "CartPole-v1")
            env.reset()
            envs = connect_vec(address, "CartPole-v1", 2, processes=2)
            envs.reset()
            if end:
                env.close()
                envs.close()
            with pytest.raises(gymtwist.client.RequestRefused):
                connect(address, "CartPole-v9")

    use()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    use()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_threads_have_environments_of_their_own(remote: Remote) -> None:
    """They do not get into each other's way."""
    results: dict[int, list[Any]] = {}
    environments = [remote("Pendulum-v1") for _ in range(4)]

    def play(index: int) -> None:
        env = environments[index]
        results[index] = [env.reset(seed=SEED)]
        for step in range(200):
            results[index].append(env.step([step / 100 - 1]))

    threads = [threading.Thread(target=play, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(1, 4):
        assert_same(results[index], results[0])


def test_a_remote_environment_can_be_made_in_workers(served: ServerProcess) -> None:
    """Of Gymnasium's own asynchronous vector environment."""
    address = ("127.0.0.1", served.port)
    envs: Any = gymnasium.vector.AsyncVectorEnv([lambda: connect(address, "CartPole-v1") for _ in range(2)])
    ours = gymnasium.make_vec("CartPole-v1", 2, "sync")
    assert_same(envs.reset(seed=SEED), ours.reset(seed=SEED))
    assert_same(envs.step(np.zeros(2, np.int64)), ours.step(np.zeros(2, np.int64)))
    envs.close()
