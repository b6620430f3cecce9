"""The users of sessions: each session has one of its own, which no account has."""

from __future__ import annotations

from gymtwist.errors import WorkerStartError


class SessionUsers:
    """Users, of whom each session borrows one.

    A user is used again as late as possible: files of an earlier session would be the later one's.

    Args:
        ids: The ids of the users.
    """

    def __init__(self, ids: range) -> None:
        self._ids = ids
        self._next = 0
        self._borrowed: set[int] = set()

    def borrow(self) -> int:
        """Return the id of a user that no other session has.

        Raises:
            WorkerStartError: There is none.
        """
        if len(self._borrowed) == len(self._ids):
            raise WorkerStartError(f"all {len(self._ids)} users of sessions are in use (--session-users)")
        while True:
            user = self._ids[self._next]
            self._next = (self._next + 1) % len(self._ids)
            if user not in self._borrowed:
                self._borrowed.add(user)
                return user

    def give_back(self, user: int) -> None:
        """Let another session have a user."""
        self._borrowed.discard(user)
