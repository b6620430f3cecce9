"""The monitor: what it writes, where it may, and what becomes of an earlier one's files."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gymtwist.envs import recording
from gymtwist.errors import MonitorError
from tests.support.plain_environment import Plain, Result
from tests.support.recordings import manifests, statistics
from tests.support.sample_environments import Episodes

Recorded = gymnasium.Env[Any, Any]


class Paid(Plain):
    """Pays what the action says."""

    def step(self, action: Any) -> Result:
        """End when the action is zero."""
        return self.observe(), action, not action, False, {}


def start(
    environment: Recorded, directory: Path, *, resume: bool = False, force: bool = False, video: bool = False
) -> Recorded:
    """Start a monitor, with nothing asked for but what is given."""
    return recording.start(environment, directory, resume=resume, force=force, video=video)


def play(recorded: Recorded, *actions: Any) -> None:
    """Play an episode."""
    recorded.reset()
    for action in actions:
        recorded.step(action)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where clients may write."""
    made = tmp_path.resolve() / "root"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", ["a", "a/b", ".", "a/../b", "~", "a\nb", "größe", "a b", "*?[x]", "./a//b/"])
def test_a_directory_under_the_root(root: Path, name: str) -> None:
    """Relative or absolute, there or not."""
    assert recording.confine(name, root) == Path(os.path.normpath(root / name))
    assert recording.confine(f"{root}/{name}", root) == Path(os.path.normpath(root / name))


@pytest.mark.parametrize("name", ["..", "../x", "/", "/etc", "a/../../x", "../root2", "//etc", "a/../.."])
def test_a_directory_outside_the_root(root: Path, name: str) -> None:
    """Is refused; the message says where this server writes and what to do."""
    with pytest.raises(MonitorError) as caught:
        recording.confine(name, root)
    assert f"is not under {root}, where this server writes" in str(caught.value)
    assert "--monitor-root" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\0b", "\0"])
def test_an_invalid_name(root: Path, name: str) -> None:
    """Is refused."""
    with pytest.raises(MonitorError, match="is not a directory; name one under"):
        recording.confine(name, root)


def test_symbolic_links_are_followed(root: Path) -> None:
    """One that leads outside is outside, and so is what is above where it leads."""
    (root / "out").symlink_to(root.parent)
    (root / "in").symlink_to(root / "there")
    (root / "deep").symlink_to("/")
    assert recording.confine("in/x", root) == root / "there/x"
    for name in ("out", "out/x", "deep/etc", "in/../../x", "out/other"):
        with pytest.raises(MonitorError, match="is not under"):
            recording.confine(name, root)


@pytest.mark.parametrize("name", ["self", "self/x", "one", "two/../one/x"])
def test_a_loop_of_symbolic_links(root: Path, name: str) -> None:
    """Is an error like any other, when it is resolved or when something is written there."""
    (root / "self").symlink_to("self")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    with pytest.raises(MonitorError):
        start(Plain(), recording.confine(name, root))


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "file", "file/x", "\ud800"])
def test_a_directory_that_cannot_be_made(root: Path, name: str) -> None:
    """Too long, a file, below a file, no name for this file system: the message says what is wrong."""
    (root / "file").touch()
    with pytest.raises(MonitorError, match=r"cannot record into|cannot be resolved"):
        start(Plain(), recording.confine(name, root))


@pytest.mark.parametrize("name", ["x" * 5000, "/" * 5000, "\ud800" * 5000, "x/" * 2000, "/./" * 500, "/" + "../" * 999])
def test_a_name_that_is_too_long_or_too_deep(root: Path, name: str) -> None:
    """Is refused before anything looks at the file system; the message has little of it."""
    with pytest.raises(MonitorError, match=r'^".{1,400}cannot be resolved: .*; at most \d+ (below .* )?are allowed$'):
        recording.confine(name, root)
    assert len(list(root.iterdir())) == 0


def test_the_deepest_name(root: Path) -> None:
    """Is made, whatever the root's own depth."""
    deepest = "/".join(["x"] * recording.MAX_DEPTH)
    start(Plain(), recording.confine(f"{root}/{deepest}", root))
    assert len(statistics(root / deepest)) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.sampled_from("./a~\0 *\n")) | st.text())
def test_whatever_a_client_names(root: Path, name: str) -> None:
    """Is under the root, or refused."""
    try:
        path = recording.confine(name, root)
    except MonitorError:
        return
    assert path.is_relative_to(root)
    assert ".." not in path.parts


def test_the_files_are_there_from_the_beginning(root: Path) -> None:
    """With nothing in them yet; the directory is made."""
    start(Plain(), root / "a/b")
    (written,) = statistics(root / "a/b")
    assert written == {
        "initial_reset_timestamp": None,
        "timestamps": [],
        "episode_lengths": [],
        "episode_rewards": [],
        "episode_types": [],
    }
    assert len(manifests(root / "a/b")) == 1


def test_the_names_of_the_files(root: Path) -> None:
    """As Gym's Monitor named them: by a number and the process, and readable for all."""
    start(Plain(), root)
    tag = f"0.{os.getpid()}"
    names = {f"openaigym.episode_batch.{tag}.stats.json", f"openaigym.manifest.{tag}.manifest.json"}
    assert {path.name for path in root.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir()} == {0o644}


def test_an_episode_is_written_when_it_ends(root: Path) -> None:
    """Its length, its rewards' sum, its time and its type."""
    recorded = start(Paid(), root)
    play(recorded, 1, 2.5, 0)
    (written,) = statistics(root)
    assert (written["episode_lengths"], written["episode_rewards"]) == ([3], [3.5])
    assert written["episode_types"] == ["t"]
    assert written["initial_reset_timestamp"] <= written["timestamps"][0]


def test_an_episode_that_is_cut_off(root: Path) -> None:
    """Is written at the next reset, as long as it was; one without a step is not."""
    recorded = start(Paid(), root)
    for actions in ((1, 2), (), (), (4, 0), (5,)):
        play(recorded, *actions)
    (written,) = statistics(root)
    assert (written["episode_lengths"], written["episode_rewards"]) == ([2, 2], [3.0, 4.0])


def test_an_episode_that_began_before(root: Path) -> None:
    """Is not counted."""
    environment = Paid()
    play(environment, 1)
    recorded = start(environment, root)
    recorded.step(0)
    assert statistics(root)[0]["episode_lengths"] == []
    play(recorded, 7, 0)
    assert statistics(root)[0]["episode_rewards"] == [7.0]


def test_steps_after_the_end(root: Path) -> None:
    """Belong to no episode."""
    play(start(Paid(), root), 1, 0, 5, 0)
    assert statistics(root)[0]["episode_rewards"] == [1.0]


def test_rewards_that_are_no_numbers(root: Path) -> None:
    """Leave the file valid JSON."""
    recorded = start(Paid(), root)
    play(recorded, math.nan, 0)
    play(recorded, math.inf, 0)
    assert statistics(root)[0]["episode_rewards"] == [None, None]


def written_bytes() -> int:
    """Return how many bytes this process has written."""
    found = re.search(r"^wchar: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found
    return int(found.group(1))


def test_a_long_recording(root: Path) -> None:
    """Does not write its first episodes again and again."""
    recorded = start(Paid(), root)
    before = written_bytes()
    for _ in range(3000):
        play(recorded, 0)
    recorded.close()
    (path,) = root.glob("*.stats.json")
    assert written_bytes() - before < 15 * path.stat().st_size
    assert len(statistics(root)[0]["episode_lengths"]) == 3000
    assert len(list(root.iterdir())) == 2


def test_the_episodes_of_a_killed_process(root: Path) -> None:
    """Are in the file beside the statistics, which it completes when the recording is resumed."""
    recorded = start(Paid(), root)
    for reward in range(1, 30):
        play(recorded, reward, 0)
    (recent,) = root.glob("*.recent.jsonl")
    (written,) = statistics(root)
    rewards = [json.loads(line)["reward"] for line in recent.read_text().splitlines()]
    assert written["episode_rewards"] + rewards == list(range(1, 30))
    with recent.open("a") as file:
        file.write('{"number": 29, "ti')  # cut off by a full disk
    start(Paid(), root, resume=True).close()
    assert sorted(len(each["episode_rewards"]) for each in statistics(root)) == [0, 29]
    assert not recent.exists()
    # The recording may go on all the same.
    recorded.close()
    assert sorted(len(each["episode_rewards"]) for each in statistics(root)) == [0, 29]


@contextmanager
def little_space(size: int) -> Iterator[None]:
    """Let no file grow beyond a size in bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 50, 700])
def test_a_full_disk(root: Path, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Stops the recording and not the episode: the info and the log say why, once."""
    recorded = start(Paid(), root)
    play(recorded, 1, 0)
    infos = []
    with little_space(size):
        for reward in range(2, 40):
            recorded.reset()
            infos += [recorded.step(action)[4] for action in (reward, 0, 0)]
    (told,) = [info["monitor_error"] for info in infos if info]
    assert told.startswith("recording has stopped: File too large")
    assert capsys.readouterr().err == f"{told}\n"
    assert statistics(root)[0]["episode_rewards"][0] == 1.0
    assert not list(root.glob("*.part"))
    recorded.close()
    # What could not be written then is written as soon as it can be.
    count = len(statistics(root)[0]["episode_rewards"])
    assert statistics(root)[0]["episode_rewards"] == list(range(1, count + 1))


def test_a_disk_that_is_full_at_the_next_reset(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first step has the error, as a reset's reply of the classic protocol has no place for one."""
    recorded = start(Paid(), root)
    play(recorded, 1)
    with little_space(0):
        recorded.reset()
        assert "File too large" in recorded.step(1)[4]["monitor_error"]
        assert recorded.step(0)[4] == {}
        recorded.close()
    assert len(capsys.readouterr().err.splitlines()) == 1


_watched: list[tuple[Path, list[bytes]]] = []
#: Directories that are cleared, once, just before a file is moved to its place there.
_cleared: list[Path] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename":
        for directory, contents in _watched:
            if Path(arguments[0]).parent == directory:
                contents.append(Path(arguments[0]).read_bytes())
        if Path(arguments[0]).parent in _cleared:
            _cleared.remove(Path(arguments[0]).parent)
            for path in Path(arguments[0]).parent.iterdir():
                path.unlink()


@pytest.fixture
def moved(root: Path) -> Iterator[list[bytes]]:
    """What every file under the root had in it when it was moved to its place."""
    if not _watched:
        sys.addaudithook(_watch)  # for as long as the process lives
    contents: list[bytes] = []
    _watched.append((root, contents))
    yield contents
    _watched[-1] = (Path("/nowhere"), [])


def test_a_file_is_whole_when_it_takes_its_place(root: Path, moved: list[bytes]) -> None:
    """A reader never sees half of it, or nothing."""
    play(start(Paid(), root), 1, 0)
    assert [bool(json.loads(content)) for content in moved] == [True] * 4


def test_an_earlier_monitor_is_an_error(root: Path) -> None:
    """Unless it is asked for; nothing is touched."""
    play(start(Paid(), root), 1, 0)
    before = {path: path.read_bytes() for path in root.iterdir()}
    with pytest.raises(MonitorError, match=r"holds an earlier monitor's files .*resume to go on .* or force to remove"):
        start(Paid(), root)
    assert {path: path.read_bytes() for path in root.iterdir()} == before


def test_resuming_goes_on_beside(root: Path) -> None:
    """Under another number."""
    play(start(Paid(), root), 1, 0)
    play(start(Paid(), root, resume=True), 2, 0)
    assert sorted(written["episode_rewards"] for written in statistics(root)) == [[1.0], [2.0]]
    assert len(manifests(root)) == 2


def test_forcing_begins_anew(root: Path) -> None:
    """What the earlier monitor left is removed, and nothing else."""
    play(start(Paid(), root), 1, 0)
    (root / "openaigym.video.0.1.video000000.mp4").touch()
    (root / "openaigymnastics.txt").touch()
    (root / "mine.json").touch()
    start(Paid(), root, force=True)
    assert [written["episode_rewards"] for written in statistics(root)] == [[]]
    others = {path.name for path in root.iterdir() if path.suffix != ".json" or path.name == "mine.json"}
    assert others == {"openaigymnastics.txt", "mine.json"}


def test_forcing_beside_a_recording_that_goes_on(root: Path, moved: list[bytes]) -> None:
    """The other session's files go; it writes them again, and does not fail even if one goes while it is written."""
    recorded = start(Episodes(), root)
    _cleared.append(root)
    play(recorded, *[0] * 10)
    assert not _cleared
    (written,) = statistics(root)
    assert written["episode_lengths"] == [10]
    assert not list(root.glob("*.part"))


def test_forcing_where_it_cannot(root: Path) -> None:
    """The message says what could not be removed."""
    (root / "openaigym.directory").mkdir()
    with pytest.raises(MonitorError, match=r"cannot record into .*openaigym\.directory"):
        start(Paid(), root, force=True)


def test_forcing_does_not_follow_links(root: Path) -> None:
    """The link is removed, not the file."""
    (root.parent / "kept").touch()
    (root / "openaigym.link").symlink_to(root.parent / "kept")
    start(Paid(), root, force=True)
    assert (root.parent / "kept").exists()
    assert not (root / "openaigym.link").is_symlink()


def test_a_video_without_frames(root: Path) -> None:
    """Is refused before anything is written."""
    with pytest.raises(MonitorError, match="renders no RGB frames"):
        start(Plain(), root / "a", video=True)
    assert not (root / "a").exists()


def test_a_video_of_an_episode(root: Path) -> None:
    """Is there when the episode ends, and the manifest names it."""
    pytest.importorskip("moviepy")
    recorded = start(Episodes("rgb_array"), root, video=True)
    play(recorded, *[0] * 10)
    (video,) = root.glob("*.mp4")
    assert video.name == f"openaigym.video.0.{os.getpid()}-episode-0.mp4"
    (manifest,) = (json.loads(path.read_text()) for path in manifests(root))
    assert manifest["videos"] == [[video.name, None]]
    assert manifest["stats"] == f"openaigym.episode_batch.0.{os.getpid()}.stats.json"
    recorded.close()


class Rendered(Episodes):
    """Renders a picture that it is given, which is half as light as can be."""

    def __init__(self, picture: Any) -> None:
        super().__init__("rgb_array")
        self._picture = picture

    def render(self) -> Any:
        """Return it."""
        return self._picture


@pytest.mark.parametrize(
    "picture",
    [
        np.full((64, 64, 3), 127, np.uint8),
        np.full((64, 64), 127, np.uint8),
        np.full((64, 64, 1), 127, np.uint8),
        np.full((64, 64, 4), 127, np.uint8),
        np.full((64, 64, 3), 127, np.int64),
        np.full((64, 64, 3), 0.5, np.float32),
        np.full((64, 64), 0.5),
        np.indices((64, 64)).sum(0) % 2 == 0,
    ],
    ids=lambda picture: f"{picture.shape} {picture.dtype}",
)
def test_frames_of_every_form(root: Path, picture: Any) -> None:
    """Make a whole video of the right lightness; what the environment renders for others stays as it is."""
    pytest.importorskip("moviepy")
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    recorded = start(Rendered(picture), root, video=True)
    play(recorded, *[0] * 9)
    assert recorded.render() is picture
    recorded.step(0)
    recorded.close()
    (video,) = root.glob("*.mp4")
    read = imageio_ffmpeg.read_frames(str(video))
    assert next(read)["size"] == (64, 64)
    frames = [np.frombuffer(frame, np.uint8).mean() for frame in read]
    assert len(frames) >= 10
    assert np.allclose(frames, 127, atol=4)


@pytest.mark.usefixtures("capsys")
@pytest.mark.parametrize("size", [0, 300])
def test_a_video_that_cannot_be_written(root: Path, size: int) -> None:
    """Stops the recording and not the episode, and leaves no half of it."""
    pytest.importorskip("moviepy")
    recorded = start(Episodes("rgb_array"), root, video=True)
    with little_space(size):
        play(recorded, *[0] * 9)
        assert recorded.step(0)[4]["monitor_error"].startswith("recording has stopped: ")
    play(recorded, *[0] * 10)
    recorded.close()
    assert not list(root.glob("*.mp4"))


def test_the_manifest_names_the_environment(root: Path) -> None:
    """By its id."""
    recorded = start(gymnasium.make("CartPole-v1"), root)
    recorded.close()
    (manifest,) = (json.loads(path.read_text()) for path in manifests(root))
    assert manifest["env_info"]["env_id"] == "CartPole-v1"
