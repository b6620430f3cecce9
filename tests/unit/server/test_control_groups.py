"""When a server does not use a control group; here directories stand for groups, as files do for their processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gymtwist.server import control_groups

MANAGER = "user.slice/user-1000.slice/user@1000.service"


def group(path: Path, *processes: int, kill: bool = True) -> Path:
    """Make a directory with the files of a group that is not the root."""
    path.mkdir(parents=True)
    files = {"cgroup.controllers": "cpu memory pids", "cgroup.procs": "", "cgroup.subtree_control": ""}
    for name, text in (files | {"cgroup.type": "domain"} | ({"cgroup.kill": ""} if kill else {})).items():
        (path / name).write_text(text)
    (path / "cgroup.procs").write_text("".join(f"{each}\n" for each in processes))
    return path


def test_a_group_without_processes_is_divided(tmp_path: Path) -> None:
    """Its children get the controllers, and the server more of the processor than each session."""
    parent = group(tmp_path / "group")
    assert control_groups._divide(parent, tmp_path) == ("memory", "pids", "cpu")
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (parent / "server" / "cpu.weight").read_text() == "1000"


@pytest.mark.parametrize(
    ("processes", "problem"),
    [((17, 0), "processes of another PID namespace"), ((17,), "has processes that cannot be moved: 17")],
)
def test_a_group_that_cannot_be_emptied_is_not_divided(
    tmp_path: Path, processes: tuple[int, ...], problem: str
) -> None:
    """The server does not try for ever."""
    parent, caught = group(tmp_path / "group", *processes), list[str]()

    def divide() -> None:
        try:
            control_groups._divide(parent, tmp_path)
        except control_groups._NotDelegated as error:
            caught.append(str(error))

    trying = threading.Thread(target=divide, daemon=True)
    trying.start()
    trying.join(10.0)
    assert [problem in each for each in caught] == [True]
    assert not (parent / "cgroup.subtree_control").read_text()


def test_a_kernel_that_cannot_kill_a_group_is_too_old(tmp_path: Path) -> None:
    """Groups would never be removed there; nothing is moved before that is known."""
    parent = group(tmp_path / "group", kill=False)
    with pytest.raises(control_groups._NotDelegated, match=r"Linux 5\.14 or later"):
        control_groups._divide(parent, tmp_path)
    assert not (parent / "server").exists()


@pytest.mark.parametrize(
    ("path", "other", "is_own"),
    [
        ("system.slice/gymsock.service", 0, True),
        ("system.slice/gymsock.service", 1, False),
        (f"{MANAGER}/app.slice/terminal.scope", 0, False),
    ],
)
def test_a_group_that_a_users_systemd_keeps_is_not_the_servers(
    tmp_path: Path, path: str, other: int, is_own: bool
) -> None:
    """A terminal's, for instance, with the shell: it belongs to the user, and is not delegated."""
    found = group(tmp_path / path)
    if not os.geteuid():
        os.chown(found, 1000, -1)
    assert control_groups._is_own(found, found.stat().st_uid + other) is is_own


def test_nothing_is_roots_own(tmp_path: Path) -> None:
    """Root would own the groups of all services."""
    assert not control_groups._is_own(group(tmp_path / "group"), 0)


def processes_view(directory: Path, root: str, own: str) -> Path:
    """Write what a process sees of its mounts and of its group; the name of another mount is not UTF-8."""
    mounts = f"30 1 0:26 {root} {directory} rw - cgroup2 cgroup2 rw\n".encode()
    (directory / "mountinfo").write_bytes(b"31 1 0:27 / /media/caf\xe9 rw - ext4 /dev/sda1 rw\n" + mounts)
    (directory / "cgroup").write_bytes(f"0::{own}\n".encode())
    return directory


def test_the_group_of_a_process_is_below_the_mount(tmp_path: Path) -> None:
    """Which may show only a part of all groups."""
    (tmp_path / "own.scope").mkdir()
    for root, own in (("/", "/own.scope"), ("/machine", "/machine/own.scope")):
        assert control_groups._find(processes_view(tmp_path, root, own)) == (tmp_path, tmp_path / "own.scope")


@pytest.mark.parametrize(("root", "own"), [("/", "/../own.scope"), ("/../..", "/own.scope"), ("/", "/gone (deleted)")])
def test_a_group_that_cannot_be_seen_is_not_another_one(tmp_path: Path, root: str, own: str) -> None:
    """Names are as seen from a namespace, of which the group or the mount may be outside."""
    (tmp_path / "own.scope").mkdir()
    with pytest.raises(control_groups._NotDelegated, match="a control group that it can see"):
        control_groups._find(processes_view(tmp_path, root, own))
