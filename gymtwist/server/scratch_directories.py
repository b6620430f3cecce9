"""Scratch directories: each session has its own working directory, since environments write to it.

They are in a directory that the server creates in the system's directory for temporary files. The server holds a lock
on it, so that the next server can recognize and remove the directories of servers that were killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymtwist.server.line_limit import LineLimit, listed
from gymtwist.server.server_log import log
from gymtwist.worker.session_users import SessionUsers

PREFIX = "gymsock-"
#: The name of a directory that is not locked yet: no other server may mistake it for one left behind.
_UNLOCKED_PREFIX = f".{PREFIX}"


class ScratchDirectories:
    """The scratch directories of a server's sessions.

    Args:
        reactor: The reactor; provides threads that remove directories.
        users: The pool of users for sessions; None if sessions run as the server's user.
    """

    def __init__(self, reactor: Any, users: SessionUsers | None = None) -> None:
        self._reactor = reactor
        self._users = users
        self._user_of: dict[str, int] = {}
        self._shared: dict[str, frozenset[int]] = {}
        self._root: Path | None = None
        self._lock = -1
        self._limit = LineLimit(reactor, 1, 1.0, _log_left_out)

    def start(self) -> None:
        """Start removing what killed servers have left; do not wait."""
        self._reactor.callInThread(_remove_stale)

    def make(self, session: int) -> str:
        """Make the directory of a session.

        Returns:
            Its path; empty if it cannot be made, so that the session works where the workers started.
        """
        try:
            if self._root is None or not self._root.is_dir():
                self.close()
                self._make_root()
            path = f"{self._root}/{session}"
            os.mkdir(path, 0o700)
        except OSError as error:
            if self._limit.allows("sessions"):
                log.error(
                    "No scratch directory can be made ({error}); session {session} works in the server's directory",
                    error=error,
                    session=session,
                )
            return ""
        return path

    def user(self, path: str) -> int:
        """Return the id of the user for a directory, borrowing one if needed; 0 for the server's own.

        Raises:
            WorkerStartError: Other sessions have all the users.
        """
        if self._users is None or not path:
            return 0
        if path not in self._user_of:
            self._user_of[path] = self._users.borrow()
        return self._user_of[path]

    def share_users(self, path: str, origin: str) -> None:
        """Keep the users of one session until a session branched off from it has ended, too.

        Args:
            path: The directory of the session that begins.
            origin: The directory of the session that it branches off from.
        """
        if self._users is not None:
            self._shared[path] = self._users_of(origin)

    def _users_of(self, path: str) -> frozenset[int]:
        own = self._user_of.get(path)
        return self._shared.get(path, frozenset()) | (frozenset() if own is None else {own})

    def _give_back_users(self, path: str) -> None:
        users = self._users_of(path)
        self._user_of.pop(path, None)
        self._shared.pop(path, None)
        kept = frozenset[int]().union(*map(self._users_of, {*self._user_of, *self._shared}))
        for user in users - kept:
            assert self._users is not None
            self._users.give_back(user)

    def _make_root(self) -> None:
        root = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX))
        try:
            self._lock = _locked(root)
            self._root = root.rename(root.with_name(root.name.removeprefix(".")))
        except OSError:
            root.rmdir()
            raise

    def remove(self, path: str) -> None:
        """Remove the directory of an ended session; do not wait."""
        if not path:
            return
        self._give_back_users(path)
        try:
            os.rmdir(path)  # most environments leave nothing behind
        except FileNotFoundError:
            pass
        except OSError:
            self._reactor.callInThread(_remove, path)

    def close(self) -> None:
        """Remove all directories."""
        if self._root is not None:
            _remove(str(self._root))
            self._root = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove(path: str) -> None:
    """Remove a directory, or whatever an environment has put in its place."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(path)


def _locked(directory: Path) -> int:
    """Lock a directory until the returned descriptor is closed.

    Raises:
        OSError: Another process has locked it, or it is gone.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_stale() -> None:
    """Remove the directories of this user's servers that were killed."""
    found: list[Path] = []
    with contextlib.suppress(OSError):  # there is no directory for temporary files
        found += Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    for path in found:
        with contextlib.suppress(OSError):
            descriptor = _locked(path)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    _remove(str(path))
            finally:
                os.close(descriptor)


def _log_left_out(left_out: Mapping[str, int]) -> None:
    log.error("More without a scratch directory, not logged: {what}", what=listed(left_out))
