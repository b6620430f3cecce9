"""The users of sessions: each session has its own user id, which belongs to no account.

Servers on the same machine, and the old and new processes of an upgrade, may have the same users; locks show which are
taken.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from gymtwist.errors import WorkerStartError

#: The lock file: a process whose session has a user locks the byte at that user's id. Only root may write to the
#: directory, so that no other user can take the locks.
LOCKS = Path("/run/gymsock.users")


class SessionUsers:
    """Users for sessions to borrow, one each.

    A user is reused as late as possible, because the files of an earlier session would belong to the later one.

    Args:
        ids: The ids of the users.
        locks: The lock file.
    """

    def __init__(self, ids: range, locks: Path = LOCKS) -> None:
        self._ids = ids
        self._locks = locks
        self._file = -1
        # Another process may have begun with the first user.
        self._next = secrets.randbelow(len(ids))
        self._borrowed: set[int] = set()

    def open(self) -> None:
        """Open the lock file.

        Raises:
            OSError: It cannot be opened.
        """
        # The kernel drops a process's locks on a file when any descriptor of the file is closed, so this is the only
        # one.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._locks, flags, 0o600)

    def close(self) -> None:
        """Give back every user, and close the lock file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._borrowed.clear()

    def borrow(self) -> int:
        """Return the id of a user that no other session has, on this server or another.

        Raises:
            WorkerStartError: All users are taken.
        """
        for _ in self._ids:
            user = self._ids[self._next]
            self._next = (self._next + 1) % len(self._ids)
            if user not in self._borrowed and self._lock(user):
                self._borrowed.add(user)
                return user
        elsewhere = len(self._ids) - len(self._borrowed)
        others = f", {elsewhere} of them by other servers" if elsewhere else ""
        raise WorkerStartError(
            f"all {len(self._ids)} users of sessions are in use{others}; give this server more, or others, by "
            "--session-users"
        )

    def give_back(self, user: int) -> None:
        """Let another session have a user."""
        self._borrowed.discard(user)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, user)

    def _lock(self, user: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, user)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        return True
