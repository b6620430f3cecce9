"""Where a monitor may write: below the root, whatever a path looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gymtwist_conformance.reference_client import Refused
from tests.support.recordings import play_episode, record, statistics
from tests.support.server_process import ServerProcess

Place = Callable[[Path, Path], Path]

OUTSIDE: dict[str, Place] = {
    "absolute": lambda root, outside: outside / "new",
    "by dots": lambda root, outside: root / ".." / outside.name / "new",
    "a sibling that begins like the root": lambda root, outside: root.with_name(root.name + "-beside") / "new",
    "by a link": lambda root, outside: root / "link" / "new",
    "the link itself": lambda root, outside: root / "link",
    "relative": lambda root, outside: Path("..") / outside.name / "new",
    "by a dangling link": lambda root, outside: root / "dangling",
}


@pytest.fixture(scope="module")
def outside(module_server: ServerProcess) -> Path:
    """A directory beside the root, and links to it below the root."""
    path = module_server.directory.with_name("outside")
    path.mkdir()
    (module_server.directory / "link").symlink_to(path)
    (module_server.directory / "dangling").symlink_to(path / "new")
    return path


@pytest.mark.parametrize("place", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_nothing_is_written_outside_the_root(server: ServerProcess, outside: Path, place: Place) -> None:
    """However the way there is written, it is an error, nothing is made, and the session goes on."""
    with server.open("Episodes-v0") as client:
        with pytest.raises(Refused):
            client.monitor(str(place(server.directory, outside)), force=True)
        play_episode(client)
    assert list(outside.iterdir()) == []
    assert not server.directory.with_name(server.directory.name + "-beside").exists()


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "x/" * 3000, "/dev/null/x", "/proc/self/root/tmp/x"])
def test_a_directory_that_cannot_be_is_an_error(server: ServerProcess, name: str) -> None:
    """The client hears of it; the session goes on."""
    with server.open("Episodes-v0") as client:
        path = f"{server.directory}/{name}" if name and not name.startswith("/") else name
        with pytest.raises(Refused):
            client.monitor(path)
        play_episode(client)


def test_a_file_in_the_place_of_the_directory_is_an_error(server: ServerProcess, directory: Path) -> None:
    """It stays what it is."""
    directory.parent.mkdir(exist_ok=True)
    directory.write_text("mine")
    with server.open("Episodes-v0") as client:
        with pytest.raises(Refused):
            client.monitor(str(directory), force=True)
        play_episode(client)
    assert directory.read_text() == "mine"


def test_a_link_within_the_root_may_be_used(server: ServerProcess, directory: Path) -> None:
    """What counts is where a path leads."""
    directory.mkdir(parents=True)
    link = server.directory / "inner"
    link.symlink_to(directory)
    record(server, link)
    assert len(statistics(directory)) == 1


def test_the_root_is_an_option(tmp_path: Path) -> None:
    """--monitor-root takes the place of the directory the server was started in."""
    root, started = tmp_path / "root", tmp_path / "started"
    root.mkdir()
    started.mkdir()
    with ServerProcess(started, "--monitor-root", str(root)) as server:
        record(server, root / "here")
        with server.open("Episodes-v0") as client, pytest.raises(Refused):
            client.monitor(str(started / "there"))
    assert len(statistics(root / "here")) == 1
    assert list(started.iterdir()) == []
