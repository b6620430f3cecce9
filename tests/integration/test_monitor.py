"""What a monitor writes, where it may write, and what becomes of an earlier one's files."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from gymtwist.client import connect
from gymtwist_conformance.reference_client import Refused
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.recordings import manifests, play_episode, record, statistics
from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True

KEYS = {"initial_reset_timestamp", "timestamps", "episode_lengths", "episode_rewards", "episode_types"}


# Statistics


def test_statistics_are_whole_after_every_episode(server: ServerProcess, directory: Path) -> None:
    """At every reset the file has all episodes that were played to their end."""
    with server.open("CartPole-v1") as client:
        client.monitor(str(directory))
        lengths = []
        for _ in range(5):
            lengths.append(play_episode(client))
            client.reset()
            (written,) = statistics(directory)
            assert written.keys() >= KEYS
            assert written["episode_lengths"] == lengths
            assert written["episode_rewards"] == [float(length) for length in lengths]
            assert len(written["timestamps"]) == len(written["episode_types"]) == len(lengths)
            assert written["timestamps"] == sorted(written["timestamps"])
            assert written["initial_reset_timestamp"] <= written["timestamps"][0]


def test_rewards_are_summed(server: ServerProcess, directory: Path) -> None:
    """1 + 2 + ... + 10."""
    record(server, directory, episodes=3)
    (written,) = statistics(directory)
    assert written["episode_lengths"] == [10, 10, 10]
    assert written["episode_rewards"] == [55.0, 55.0, 55.0]


def test_statistics_are_valid_whenever_they_are_read(server: ServerProcess, directory: Path) -> None:
    """The file is replaced as a whole: a reader never sees half of it."""
    with server.open("Episodes-v0") as client:
        client.monitor(str(directory))
        for _ in range(200):
            client.send((b"\x00" + b"\x01\x00\x01\x00\x00\x000" * 10) * 2)
            for written in statistics(directory):
                assert len(written["episode_lengths"]) == len(written["episode_rewards"])
            for _ in range(2):
                client.read_observation()
                for _ in range(10):
                    client.read_step()


def test_a_manifest_names_the_other_files(server: ServerProcess, directory: Path) -> None:
    """What belongs together is found by the manifest."""
    record(server, directory)
    (manifest,) = manifests(directory)
    text = json.dumps(json.loads(manifest.read_text()))
    (stats,) = directory.glob("*.stats.json")
    assert stats.name in text


def test_an_interrupted_episode_leaves_the_others(server: ServerProcess, directory: Path) -> None:
    """A client that leaves in mid-episode loses nothing of those before."""
    with server.open("Episodes-v0") as client:
        session = server.session(client)
        client.monitor(str(directory))
        play_episode(client)
        client.play(3)
    server.end(session)
    (written,) = statistics(directory)
    assert written["episode_lengths"][:1] == [10]


def test_a_crash_leaves_the_statistics_of_the_episodes_before(server: ServerProcess, directory: Path) -> None:
    """The process may be killed at any time."""
    with server.open("Episodes-v0") as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.monitor(str(directory))
        for _ in range(2):
            play_episode(client)
        client.reset()
        handle.kill()
        client.wait_closed()
    server.end(session)
    (written,) = statistics(directory)
    assert written["episode_lengths"] == [10, 10]
    assert not list(directory.glob("*.part"))


def test_a_monitor_leaves_the_trajectory_as_it_is(server: ServerProcess, directory: Path) -> None:
    """Recording changes nothing of what the client sees."""
    with server.open("Observe/Frame-v0") as client:
        client.monitor(str(directory))
        assert client.reset().shape == (210, 160, 3)
        assert client.step(0).reward == 1.0


def test_a_gym_environment_is_recorded(server: ServerProcess, directory: Path) -> None:
    """Old four-tuple environments have statistics like others."""
    record(server, directory, environment="OldGym-v0")
    assert statistics(directory)[0]["episode_lengths"] == [5]


def test_a_full_disk_stops_the_recording_alone(server: ServerProcess, directory: Path) -> None:
    """The log and the client have the error, the session goes on, and can be recorded anew once there is space."""
    with server.open("Episodes-v0") as client:
        session = server.session(client)
        client.monitor(str(directory))
        resource.prlimit(session.process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        client.reset()
        *_, last = [client.step(0) for _ in range(10)]
        assert last.done
        assert last.info["monitor_error"] == "recording has stopped: File too large"
        server.wait_for(rf"\[session {session.number}\] \| recording has stopped: File too large")
        play_episode(client)
        resource.prlimit(session.process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        client.monitor(str(directory), resume=True)
        play_episode(client)
    server.end(session)
    assert [each["episode_lengths"] for each in statistics(directory)] == [[], [10]]


# Videos


def videos(directory: Path) -> list[Path]:
    """Return the videos, which must be what players call an MP4."""
    found = sorted(directory.glob("openaigym.video.*.mp4"))
    for path in found:
        data = path.read_bytes()
        assert len(data) > 500
        assert data[4:8] == b"ftyp"
        assert b"moov" in data, "without its index a video cannot be played"
    return found


def test_a_video_is_written(server: ServerProcess, directory: Path) -> None:
    """The episodes 0 and 1 are recorded, and are videos when the client has left."""
    pytest.importorskip("moviepy")
    record(server, directory, episodes=2, video=True)
    names = [path.name.rpartition("-episode-")[2] for path in videos(directory)]
    assert names == ["0.mp4", "1.mp4"]
    assert statistics(directory)[0]["episode_lengths"] == [10, 10]


def test_a_video_of_pong(server: ServerProcess, directory: Path) -> None:
    """An episode that is broken off by the client's leaving is written as far as it went."""
    pytest.importorskip("moviepy")
    pytest.importorskip("ale_py")
    with server.open("ALE/Pong-v5") as client:
        handle = Handle(server.session(client).process)
        client.monitor(str(directory), video=True)
        client.play(60)
    assert not left_after([handle], PATIENCE)
    assert len(videos(directory)) == 1


def test_a_video_of_cartpole(server: ServerProcess, directory: Path) -> None:
    """Rendered by pygame, without a screen."""
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    record(server, directory, environment="CartPole-v1", video=True)
    assert videos(directory)


def test_a_video_of_an_environment_without_pictures_is_an_error(server: ServerProcess, directory: Path) -> None:
    """The client hears of it; the session goes on without."""
    with server.open("OldGym-v0") as client:
        with pytest.raises(Refused):
            client.monitor(str(directory), video=True)
        client.reset()
        client.step(0)


def test_without_video_there_is_no_video(server: ServerProcess, directory: Path) -> None:
    """Statistics alone."""
    record(server, directory)
    assert not list(directory.glob("*.mp4"))


# An earlier monitor's files


def test_an_earlier_monitor_is_not_overwritten(server: ServerProcess, directory: Path) -> None:
    """With neither resume nor force a directory that was used is an error; the session goes on."""
    record(server, directory, episodes=2)
    with server.open("Episodes-v0") as client:
        with pytest.raises(Refused, match=r"force|resume"):
            client.monitor(str(directory))
        play_episode(client)
    (written,) = statistics(directory)
    assert written["episode_lengths"] == [10, 10]


def test_resume_goes_on_beside_an_earlier_monitor(server: ServerProcess, directory: Path) -> None:
    """Both monitors' episodes are there afterwards."""
    record(server, directory, episodes=2)
    record(server, directory, episodes=1, resume=True)
    assert sorted(len(written["episode_lengths"]) for written in statistics(directory)) == [1, 2]
    assert len(manifests(directory)) == 2


def test_force_removes_the_files_of_an_earlier_monitor(server: ServerProcess, directory: Path) -> None:
    """Only what monitors wrote: other files stay."""
    record(server, directory, episodes=2)
    kept = directory / "notes.txt"
    kept.write_text("mine")
    record(server, directory, episodes=1, force=True)
    assert [written["episode_lengths"] for written in statistics(directory)] == [[10]]
    assert len(manifests(directory)) == 1
    assert kept.read_text() == "mine"


def test_a_directory_with_other_files_may_be_used(server: ServerProcess, directory: Path) -> None:
    """Only an earlier monitor's files are in the way."""
    directory.mkdir(parents=True)
    (directory / "notes.txt").write_text("mine")
    record(server, directory)
    assert len(statistics(directory)) == 1


def test_a_second_monitor_in_a_session_is_an_error(server: ServerProcess, directory: Path) -> None:
    """The first goes on."""
    with server.open("Episodes-v0") as client:
        session = server.session(client)
        client.monitor(str(directory))
        for place in (directory, directory.with_name("another")):
            with pytest.raises(Refused):
                client.monitor(str(place))
        play_episode(client)
    server.end(session)
    assert [written["episode_lengths"] for written in statistics(directory)] == [[10]]
    assert not statistics(directory.with_name("another"))


def test_the_python_client_has_episodes_recorded(server: ServerProcess, directory: Path) -> None:
    """With a video of each."""
    with connect(("127.0.0.1", server.port), "Episodes-v0", render_mode="rgb_array", timeout=PATIENCE) as env:
        env.monitor(str(directory), video_every=1)
        env.reset()
        while not env.step(0)[2]:
            pass
        env.monitor(None)
    assert statistics(directory)[0]["episode_lengths"] == [10]
    assert len(list(directory.glob("*.mp4"))) == 1
