"""No two sessions have one user, whichever server they belong to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist.errors import WorkerStartError
from gymtwist.worker.session_users import SessionUsers

#: Borrows a number of users of 1000 to 1003 in a process of its own, and ends at the end of its input.
OTHER = """
import pathlib, sys
from gymtwist.worker.session_users import SessionUsers
users = SessionUsers(range(1000, 1004), pathlib.Path(sys.argv[1]))
users.open()
print(*[users.borrow() for _ in range(int(sys.argv[2]))], flush=True)
sys.stdin.read()
"""


def opened(directory: Path) -> SessionUsers:
    """Return users 1000 to 1003."""
    users = SessionUsers(range(1000, 1004), directory / "users")
    users.open()
    return users


def test_each_session_has_another_one(tmp_path: Path) -> None:
    """Until all are borrowed; then the one that is given back is the next."""
    users = opened(tmp_path)
    assert {users.borrow() for _ in range(4)} == {1000, 1001, 1002, 1003}
    with pytest.raises(WorkerStartError, match=r"all 4 users of sessions are in use; give .* by --session-users"):
        users.borrow()
    users.give_back(1002)
    assert users.borrow() == 1002


def test_one_is_used_again_as_late_as_possible(tmp_path: Path) -> None:
    """What an earlier session has left would be the later one's."""
    users = opened(tmp_path)
    order = []
    for _ in range(8):
        order.append(users.borrow())
        users.give_back(order[-1])
    assert len(set(order[:4])) == 4
    assert order[:4] == order[4:]


def test_users_of_another_server_are_left_to_it(tmp_path: Path) -> None:
    """Until that server has ended, in whatever way."""
    words = [sys.executable, "-c", OTHER, str(tmp_path / "users"), "3"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = set(map(int, other.stdout.readline().split()))
        users = opened(tmp_path)
        assert {users.borrow()} | theirs == {1000, 1001, 1002, 1003}
        with pytest.raises(WorkerStartError, match="all 4 users of sessions are in use, 3 of them by other servers"):
            users.borrow()
        other.kill()
        other.wait()
        assert {users.borrow() for _ in range(3)} == theirs


def test_the_file_of_another_user_is_no_link(tmp_path: Path) -> None:
    """A link in its place is not followed."""
    (tmp_path / "users").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        opened(tmp_path)
