"""The users of sessions: each session has one of its own, which no account has.

Servers of a machine, and the processes of an upgrade, may have the same users: locks tell them which are taken.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from gymtwist.errors import WorkerStartError

#: The file of the locks: the byte at the number of a user is locked by the process whose session has that user. Only
#: root may write to its directory, so that no other user can take the locks.
LOCKS = Path("/run/gymsock.users")


class SessionUsers:
    """Users, of whom each session borrows one.

    A user is used again as late as possible: files of an earlier session would be the later one's.

    Args:
        ids: The ids of the users.
        locks: The file of the locks.
    """

    def __init__(self, ids: range, locks: Path = LOCKS) -> None:
        self._ids = ids
        self._locks = locks
        self._file = -1
        # Another process may have begun with the first of them.
        self._next = secrets.randbelow(len(ids))
        self._borrowed: set[int] = set()

    def open(self) -> None:
        """Open the file of the locks.

        Raises:
            OSError: It cannot be opened.
        """
        # The kernel drops a process's locks on a file when any descriptor of it is closed: this is the only one.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._locks, flags, 0o600)

    def close(self) -> None:
        """Give back every user, and close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._borrowed.clear()

    def borrow(self) -> int:
        """Return the id of a user that no other session has, of this server or another one.

        Raises:
            WorkerStartError: There is none.
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
        except (BlockingIOError, PermissionError):  # which of them it is, POSIX leaves open
            return False
        return True
