"""Episodes that the server records into datasets, and what Minari reads there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")

from gymtwist.client import EnvironmentFailed, RequestRefused, connect, connect_vec
from gymtwist_conformance.reference_client import Failed
from tests.conftest import Connect
from tests.support.cutting_proxy import CuttingProxy
from tests.support.patience import PATIENCE
from tests.support.process_inspection import command_line, descendants, eventually
from tests.support.recorded_datasets import attributes, load, load_complete, root_of
from tests.support.server_process import ServerProcess

MEASURED = True
SEEDS = (3, 4, 5)
AUTORESET = ("next_step", "same_step", "disabled")


@pytest.fixture
def address(server: ServerProcess) -> tuple[str, int]:
    """Where the module's server listens."""
    return "127.0.0.1", server.port


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a dataset for one test alone."""
    words = "".join(each if each.isalnum() else "-" for each in request.node.name)
    return f"tests/{words[:60].strip('-')}-v0"


def play(env: Any, seed: int, actions: Any) -> list[tuple[Any, ...]]:
    """Play an episode; return what the reset and the steps returned, with the actions."""
    observation, info = env.reset(seed=seed)
    rows: list[tuple[Any, ...]] = [(observation, info)]
    while True:
        action = actions.sample()
        returned = env.step(action)
        rows.append((action, *returned))
        if returned[2] or returned[3]:
            return rows


def same(episode: Any, rows: list[tuple[Any, ...]]) -> bool:
    """Tell whether an episode of a dataset has what was played."""
    observations = np.array([rows[0][0], *(row[1] for row in rows[1:])])
    return (
        np.array_equal(episode.observations, observations)
        and np.array_equal(episode.actions, [row[0] for row in rows[1:]])
        and np.array_equal(episode.rewards, [row[2] for row in rows[1:]])
        and np.array_equal(episode.terminations, [row[3] for row in rows[1:]])
        and np.array_equal(episode.truncations, [row[4] for row in rows[1:]])
    )


@pytest.mark.parametrize("protocol", ["int32", "netstring"])
def test_minari_reads_what_was_played(
    address: tuple[str, int], server: ServerProcess, name: str, protocol: Any
) -> None:
    """Every episode is there as the client saw it, with its seed; the environment can be made again."""
    with connect(address, "CartPole-v1", record=name, protocol=protocol) as env:
        env.action_space.seed(1)
        played = [play(env, seed, env.action_space) for seed in SEEDS]
        dataset = load(root_of(server), name, lambda found: found.total_episodes == len(SEEDS))
    assert [same(episode, rows) for episode, rows in zip(dataset, played, strict=True)] == [True] * len(SEEDS)
    assert [each["seed"] for each in attributes(dataset)] == list(SEEDS)
    assert dataset.total_steps == sum(len(rows) - 1 for rows in played)
    assert dataset.id == name
    with dataset.recover_environment() as recovered:
        assert recovered.spec.id == "CartPole-v1"
        observation, _ = recovered.reset(seed=SEEDS[0])
        assert np.array_equal(observation, dataset[0].observations[0])


def test_minari_lists_and_loads_the_datasets(
    address: tuple[str, int], server: ServerProcess, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the root as its directory of datasets."""
    import minari

    with connect(address, "CartPole-v1", record=name) as env:
        play(env, 1, env.action_space)
    load_complete(root_of(server), name)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root_of(server)))
    assert name in minari.list_local_datasets()
    assert minari.load_dataset(name).total_episodes == 1


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel groups no sessions")
def test_the_writer_gives_way(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """To all other processes, also where the kernel shares processors among sessions first."""

    def writers() -> list[int]:
        return [each for each in descendants(server.process.pid) if "dataset_writer" in command_line(each)]

    with connect(address, "CartPole-v1", record=name) as env:
        env.reset()
        eventually(lambda: [each for each in writers() if os.getsid(each) == each], PATIENCE, "a session of its own")
        (writer,) = writers()
        group = Path(f"/proc/{writer}/autogroup")
        eventually(lambda: group.read_text().endswith("nice 19\n"), PATIENCE, "the lowest priority")
        assert os.getpriority(os.PRIO_PROCESS, writer) == 19


def test_step_many_is_recorded(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """Each of its steps."""
    with connect(address, "CartPole-v1", record=name) as env:
        env.reset(seed=1)
        taken = env.step_many([0, 1, 0, 1], observations="all")
        env.reset()
    dataset = load_complete(root_of(server), name)
    assert np.array_equal(dataset[0].observations[1:], taken.observations)


def test_an_episode_that_was_left_is_marked(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """Its last step is truncated, as in datasets of Minari's own collector; without a step there is none."""
    with connect(address, "CartPole-v1", record=name) as env:
        for _ in range(2):  # the first by a reset, the second by the end of the session
            env.reset()
            env.step(0)
            env.step(1)
            env.reset()
    dataset = load_complete(root_of(server), name)
    assert [(len(each.rewards), each.truncations.tolist()) for each in dataset] == [(2, [False, True])] * 2
    assert [each["unfinished"] for each in attributes(dataset)] == [True, True]


def test_a_crash_loses_no_step(server: ServerProcess, address: tuple[str, int], name: str) -> None:
    """What was played before the process was killed is there, the episode it was killed in marked."""
    mark = server.mark()
    with connect(address, "CartPole-v1", record=name) as env:
        whole = play(env, 1, env.action_space)
        first, _ = env.reset(seed=2)
        second = env.step(0)[0]
        process = server.wait_for(r"started: CartPole-v1 for \S+ \(int32, process (\d+)\)", since=mark).group(1)
        os.kill(int(process), signal.SIGKILL)
    dataset = load_complete(root_of(server), name)
    assert same(dataset[0], whole)
    assert np.array_equal(dataset[1].observations, [first, second])
    assert "unfinished" not in attributes(dataset)[0]
    assert attributes(dataset)[1]["unfinished"]


def test_a_session_that_outlives_its_process_goes_on_recording(
    server: ServerProcess, address: tuple[str, int], name: str
) -> None:
    """Into the same dataset."""
    with connect(address, "Fault/SegfaultInStep-v0", record=name) as env:
        for _ in range(2):
            env.reset()
            with pytest.raises(EnvironmentFailed):
                env.step(0)
        env.reset()
    load_complete(root_of(server), name)
    assert "error in gymtwist" not in server.tail()


def test_cuts_of_the_connection_lose_nothing(server: ServerProcess, name: str) -> None:
    """A session that outlives its connections records each step once."""
    with (
        CuttingProxy(("127.0.0.1", server.port), seed=7, mean=1_000, spared=1_500) as proxy,
        connect(("127.0.0.1", proxy.port), "CartPole-v1", record=name, resume=60.0, shared_memory=False) as env,
    ):
        env.action_space.seed(1)
        played = [play(env, seed, env.action_space) for seed in SEEDS]
        assert proxy.cuts
    dataset = load_complete(root_of(server), name)
    assert [same(episode, rows) for episode, rows in zip(dataset, played, strict=True)] == [True] * len(SEEDS)


# Several environments


@pytest.mark.parametrize(
    ("vectorization", "mode"),
    [
        *(("sync", mode) for mode in AUTORESET),
        ("async", "same_step"),
        *(pytest.param("async", mode, marks=pytest.mark.sweep) for mode in AUTORESET if mode != "same_step"),
    ],
)
def test_each_of_several_environments_is_recorded(
    server: ServerProcess, address: tuple[str, int], name: str, mode: str, vectorization: Any
) -> None:
    """Each episode is the one that a single environment plays with the same actions."""
    arguments: Any = {"vectorization_mode": vectorization, "autoreset_mode": mode, "record": name}
    with connect_vec(address, "CartPole-v1", 3, **arguments) as envs:
        envs.reset(seed=7)
        for _ in range(60):
            _, _, terminated, truncated, _ = envs.step([0, 1, 0])
            if mode == "disabled" and (terminated | truncated).any():
                envs.reset(options={"reset_mask": terminated | truncated})
    dataset = load_complete(root_of(server), name)
    told = attributes(dataset)
    assert dataset.total_episodes >= 12
    assert sum(bool(each.get("unfinished")) for each in told) <= 3
    seeded = {each["seed"]: episode for each, episode in zip(told, dataset, strict=True) if "seed" in each}
    assert sorted(seeded) == [7, 8, 9]
    with gymnasium.make("CartPole-v1") as alone:
        for seed, episode in seeded.items():
            rows = [alone.reset(seed=seed)[0]]
            rows += [alone.step(action)[0] for action in episode.actions]
            assert np.array_equal(episode.observations, rows)
    for episode, each in zip(dataset, told, strict=True):
        assert len(episode.observations) == len(episode.actions) + 1
        assert len(set(episode.actions.tolist())) == 1
        # The first observation of an episode is near zero, the last is not.
        assert np.abs(episode.observations[0]).max() <= 0.05
        if not each.get("unfinished"):
            assert episode.terminations.tolist() == [False] * (len(episode.actions) - 1) + [True]
            assert np.abs(episode.observations[-1]).max() > 0.2


# Options


def test_infos_are_recorded_if_wanted(server: ServerProcess, address: tuple[str, int], name: str) -> None:
    """As arrays; an entry that some infos lack says where it is present."""
    wrappers: Any = [{"name": "RecordEpisodeStatistics"}]
    with connect(address, "CartPole-v1", wrappers=wrappers, record={"dataset": name, "infos": True}) as env:
        rows = play(env, 1, env.action_space)
    (episode,) = load_complete(root_of(server), name)
    assert episode.infos["episode"]["r"][-1] == len(rows) - 1
    assert episode.infos["episode"]["_r"].tolist() == [False] * (len(rows) - 1) + [True]


def test_infos_of_several_environments_are_recorded(server: ServerProcess, address: tuple[str, int], name: str) -> None:
    """Each environment's are in its own episodes, also where the step that ended one reset it, too."""
    wrappers: Any = [{"name": "RecordEpisodeStatistics"}]
    arguments: Any = {"wrappers": wrappers, "autoreset_mode": "same_step", "vectorization_mode": "sync"}
    with connect_vec(address, "CartPole-v1", 2, record={"dataset": name, "infos": True}, **arguments) as envs:
        envs.reset(seed=1)
        for _ in range(30):
            envs.step([0, 1])
    dataset = load_complete(root_of(server), name)
    for episode, told in zip(dataset, attributes(dataset), strict=True):
        if not told.get("unfinished"):
            assert episode.infos["episode"]["l"][-1] == len(episode.rewards)


@pytest.mark.parametrize("frames", ["lossless", "video"])
def test_frames_are_recorded_if_wanted(server: ServerProcess, address: tuple[str, int], name: str, frames: str) -> None:
    """One for each observation: as arrays, or in a video."""
    with connect(address, "CartPole-v1", render_mode="rgb_array", record={"dataset": name, "frames": frames}) as env:
        env.reset(seed=1)
        for _ in range(5):
            env.step(0)
        frame = env.render()
    dataset = load_complete(root_of(server), name)
    if frames == "lossless":
        assert dataset[0].infos["frames"].shape == (6, *frame.shape)
        assert np.array_equal(dataset[0].infos["frames"][-1], frame)
        return
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video = root_of(server) / name / "data" / attributes(dataset)[0]["video"]
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert count == 6
    assert seconds == pytest.approx(6 / 50, abs=0.05)  # as the environment renders them


def test_no_more_episodes_than_wanted_are_recorded(server: ServerProcess, address: tuple[str, int], name: str) -> None:
    """The session goes on."""
    with connect(address, "CartPole-v1", record={"dataset": name, "episodes": 2}) as env:
        for seed in range(4):
            play(env, seed, env.action_space)
    assert load_complete(root_of(server), name).total_episodes == 2


def test_compression_saves_space(server: ServerProcess, address: tuple[str, int], name: str) -> None:
    """Of large arrays; they are equal when they are read."""
    sizes, episodes = [], []
    for level in (0, 6):
        its = name.replace("-v0", f"-v{level}")
        record = {"dataset": its, "compression": level, "frames": "lossless"}
        with connect(address, "CartPole-v1", render_mode="rgb_array", record=record) as env:
            env.reset(seed=1)
            for _ in range(5):
                env.step(0)
        dataset = load_complete(root_of(server), its)
        episodes.append(dataset[0].infos["frames"])
        sizes.append((root_of(server) / its / "data" / "part-000000.hdf5").stat().st_size)
    assert sizes[1] < sizes[0] / 10
    assert np.array_equal(*episodes)


# Names, and what is in the way


@pytest.mark.parametrize(
    "wrong",
    ["../up-v0", "/absolute-v0", "a/b/../c-v0", "no-version", "x/data/y-v0", ".hidden-v0", "a b-v0", "-v0", "x-v0/"],
)
def test_a_name_that_is_none_is_refused(connect: Connect, server: ServerProcess, wrong: str) -> None:
    """The error names the field, the value and what is expected; nothing is written."""
    with pytest.raises(Failed, match=r"record\.dataset") as caught:
        connect("CartPole-v1", record={"dataset": wrong})
    assert caught.value.code == "invalid-field"
    assert wrong in str(caught.value)
    assert not (server.directory / "up-v0").exists()


def test_a_link_does_not_lead_out(connect: Connect, server: ServerProcess, tmp_path: Path) -> None:
    """As for monitors."""
    root_of(server).mkdir(exist_ok=True)
    link = root_of(server) / f"link-{tmp_path.name}"
    link.symlink_to(tmp_path)
    with pytest.raises(Failed, match="link"):
        connect("CartPole-v1", record={"dataset": f"{link.name}/x-v0"})
    link.unlink()
    assert list(tmp_path.iterdir()) == []


def test_one_session_records_a_dataset(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """Another one is refused for as long as it does, and later unless it appends."""
    with connect(address, "CartPole-v1", record=name) as env:
        with pytest.raises(RequestRefused, match="another session") as caught:
            connect(address, "CartPole-v1", record={"dataset": name, "append": True})
        assert caught.value.code == "recording-refused"
        play(env, 1, env.action_space)
    load_complete(root_of(server), name)
    with pytest.raises(RequestRefused, match="append"):
        connect(address, "CartPole-v1", record=name)
    with connect(address, "CartPole-v1", record={"dataset": name, "append": True}) as env:
        play(env, 2, env.action_space)
    dataset = load_complete(root_of(server), name)
    assert [each["seed"] for each in attributes(dataset)] == [1, 2]


def test_a_dataset_exists_before_its_episodes_are_stored(address: tuple[str, int], name: str) -> None:
    """Another session is refused at once, however short the first one was."""
    for number in range(5):
        with connect(address, "CartPole-v1", record=f"{name}{number}") as env:
            env.reset()
            env.step(0)
        with pytest.raises(RequestRefused) as caught:
            connect(address, "MountainCar-v0", record=f"{name}{number}").close()
        assert caught.value.code == "recording-refused"


def test_what_is_appended_has_the_same_spaces(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """Otherwise it is refused, and the dataset stays as it was."""
    with connect(address, "CartPole-v1", record=name) as env:
        play(env, 1, env.action_space)
    load_complete(root_of(server), name)
    with pytest.raises(RequestRefused, match=r"record.append: .* other spaces") as caught:
        connect(address, "MountainCar-v0", record={"dataset": name, "append": True})
    assert caught.value.code == "invalid-field"
    with connect(address, "CartPole-v1", record={"dataset": name, "append": True}) as env:
        play(env, 2, env.action_space)
    assert load_complete(root_of(server), name).total_episodes == 2


def test_what_is_appended_is_of_the_same_environment(
    address: tuple[str, int], server: ServerProcess, name: str
) -> None:
    """Another one may have the same spaces, and is refused with both ids."""
    with connect(address, "CartPole-v1", record=name) as env:
        play(env, 1, env.action_space)
    load_complete(root_of(server), name)
    expected = r"record.append: the dataset .* is of 'CartPole-v1', and this environment is 'CartPole-v0'"
    with pytest.raises(RequestRefused, match=expected) as caught:
        connect(address, "CartPole-v0", record={"dataset": name, "append": True})
    assert caught.value.code == "invalid-field"


def test_frames_need_a_render_mode(connect: Connect, server: ServerProcess) -> None:
    """The error says which, and no directory is left."""
    with pytest.raises(Failed, match="rgb_array"):
        connect("CartPole-v1", record={"dataset": "refused/frames-v0", "frames": "lossless"})
    eventually(lambda: not (root_of(server) / "refused").exists(), PATIENCE, "the end of the directory")


def test_the_megabytes_of_a_dataset_are_its_own(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """What other sessions of clients without an identity record does not count."""
    with (
        connect(address, "ALE/Pong-v5", record=name.replace("-v0", "-large-v0")) as large,
        connect(address, "CartPole-v1", record={"dataset": name, "megabytes": 4}) as small,
    ):
        large.reset(seed=1)
        large.step_many(0, 60)  # of a tenth of a megabyte each
        play(small, 1, small.action_space)
        for _ in range(3):
            small.reset(seed=1, options={"low": -0.01, "high": 0.01})
            assert "record_error" not in small.step(0)[4]
    assert load_complete(root_of(server), name).total_episodes > 1


def test_seeds_are_verified_without_being_recorded(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """The episodes that are compared are nobody's."""
    with connect(address, "CartPole-v1", record=name) as env:
        assert env.verify_seed(1)
        play(env, 1, env.action_space)
    assert load_complete(root_of(server), name).total_episodes == 1


def test_what_is_recorded_cannot_be_copied(address: tuple[str, int], server: ServerProcess, name: str) -> None:
    """Until the last episode that is wanted has ended."""
    with connect(address, "CartPole-v1", record={"dataset": name, "episodes": 1}) as env:
        env.reset(seed=1)
        with pytest.raises(RequestRefused, match="record") as caught:
            env.snapshot()
        assert caught.value.code == "snapshot-refused"
        play(env, 2, env.action_space)
        env.reset(seed=3)
        env.snapshot().release()
    assert load_complete(root_of(server), name).total_episodes == 1


# Limits


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a quota, in whose directory another one has been killed while it recorded."""
    directory = tmp_path_factory.mktemp("killed")
    with (
        ServerProcess(directory, "--warm", "0") as first,
        connect(("127.0.0.1", first.port), "CartPole-v1", record="kept-v0") as env,
    ):
        env.reset(seed=1)
        for _ in range(3):
            env.step(0)
        first.track()
        first.process.kill()
        first.stop()
    with ServerProcess(directory, "--record-quota", "16", "--warm", "0") as running:
        yield running


def test_what_a_killed_server_leaves_is_completed_by_the_next(second: ServerProcess) -> None:
    """No step is lost."""
    assert load_complete(root_of(second), "kept-v0").total_steps == 3


def test_a_full_quota_ends_the_recording_and_not_the_session(second: ServerProcess) -> None:
    """The client is told in an info; another recording is refused with the name of the option."""
    server = second
    address = ("127.0.0.1", server.port)
    record = {"dataset": "images-v0", "frames": "lossless", "compression": 0}
    with connect(address, "CartPole-v1", render_mode="rgb_array", record=record) as env:
        told: list[str] = []
        while not told:
            env.reset()
            infos = [env.step(action)[4] for action in (0, 1, 0, 1, 0, 1, 0, 1)]
            told = [info["record_error"] for info in infos if "record_error" in info]
        assert "--record-quota" in told[0]
        env.reset()
    assert load_complete(root_of(server), "images-v0").total_steps > 0
    with pytest.raises(RequestRefused, match="--record-quota") as caught:
        connect(address, "CartPole-v1", record="more-v0").close()
    assert caught.value.code == "quota-exceeded"


def test_options_of_resets_count_among_what_is_on_disk(address: tuple[str, int], name: str) -> None:
    """They are as long as the client makes them, while steps take next to no room."""
    told: list[str] = []
    with connect(address, "CartPole-v1", record={"dataset": name, "megabytes": 8}) as env:
        for _ in range(16):
            env.reset(options={"low": -0.05, "text": "a" * 2**20})
            told += [info["record_error"] for info in [env.step(0)[4]] if "record_error" in info]
    assert "record.megabytes" in told[0]
