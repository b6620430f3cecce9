"""Sessions that act together: a request to each, all their replies, and what is known of the environments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from gymtwist.client.client_errors import RemoteError, ResetNeeded
from gymtwist.client.client_session import Session
from gymtwist.client.group_requests import Wait, Waiting
from gymtwist.client.user_values import own
from gymtwist.error_texts import without_episode
from gymtwist.protocol import all_messages

T = TypeVar("T")


class JoinedSessions:
    """Sessions that each hold a share of the environments, which are numbered consecutively.

    Args:
        sessions: The sessions, in the order of their environments.
        counts: How many environments each session has.

    Attributes:
        sessions: The sessions.
        starts: The index of each session's first environment.
        resetting: The sessions whose next reply answers a reset; its observations are received like those of a step.
    """

    def __init__(self, sessions: list[Session], counts: list[int]) -> None:
        self.sessions, self._counts = sessions, counts
        self.starts = [sum(counts[:index]) for index in range(len(counts))]
        #: Which environments must be reset before the next step: bool, of shape (total,).
        self._waiting = np.ones(self.total, np.bool_)
        #: The sessions all of whose environments must be reset at once: none was reset yet, or one has failed.
        self._failed = set(range(len(sessions)))
        # The last observations of each session; None before its first reset. They may be views of the session's last
        # message, which is valid until the next request; see keep().
        self._views: list[Any] = [None] * len(sessions)
        self.resetting: set[int] = set()

    # What is known of the environments

    def keep(self) -> None:
        """Copy the last observations, before a request whose reply has none."""
        self._views = [own(each) for each in self._views]

    def state(self) -> Any:
        """Return the state of the environments, for :meth:`put_back`."""
        return self._waiting.copy(), set(self._failed), [own(each) for each in self._views]

    def put_back(self, state: Any) -> None:
        """Restore the state of the environments, when they are again as they were."""
        waiting, failed, views = state
        self._waiting, self._failed, self._views = waiting.copy(), set(failed), list(views)

    @property
    def total(self) -> int:
        """The number of all environments."""
        return sum(self._counts)

    def _part(self, index: int) -> slice:
        """Return the slice of a session's environments."""
        return slice(self.starts[index], self.starts[index] + self._counts[index])

    def _check_playing(self, waiting: Any) -> None:
        """Check that no environment to be stepped needs a reset."""
        # A single session's server checks this.
        if not waiting.any() or len(self.sessions) == 1:
            return
        for session in self.sessions:
            session.connection.check_open()
        indices = tuple(np.flatnonzero(waiting).tolist())
        raise ResetNeeded(without_episode(indices), reset_needed=True, environments=indices)

    # Requests and replies

    def _each(self, act: Callable[[int], T]) -> list[T]:
        """Do something for each session; errors name environments by their index among those of all sessions."""
        return [self._numbered(act, index) for index in range(len(self.sessions))]

    def _numbered(self, act: Callable[[int], T], index: int) -> T:
        try:
            return act(index)
        except RemoteError as error:
            if len(self.sessions) > 1:
                error.renumber(self.starts[index], self._counts[index])
            raise

    def _together(
        self, ask: Callable[[int], None], answer: Callable[[int], T], indices: Iterable[int] | None = None
    ) -> Waiting[list[T]]:
        """Send requests, then receive all replies; see :meth:`_answers`."""
        asked = list(range(len(self.sessions)) if indices is None else indices)
        self._ask(ask, asked)
        try:
            yield Wait(asked, len(asked))
        except BaseException:
            self.lose()
            raise
        return self._answers(answer, asked)

    def _answers(self, answer: Callable[[int], T], indices: Iterable[int] | None = None) -> list[T]:
        """Receive all replies, then raise the first error.

        The environments of the other sessions continue.
        """
        failure: RemoteError | None = None
        answers: list[T] = []
        try:
            for index in range(len(self.sessions)) if indices is None else indices:
                try:
                    answers.append(self._numbered(answer, index))
                except RemoteError as error:
                    self._note(error, index)
                    failure = failure or error
        except BaseException:
            self.lose()
            raise
        if failure is not None:
            raise failure
        return answers

    def _in_turn(self, request: Callable[[int], all_messages.Request], answer: Callable[[int], T]) -> Waiting[list[T]]:
        """Send a request to one session after another; after an error, later ones are sent nothing."""
        answers: list[T] = []
        for index in range(len(self.sessions)):
            self._numbered(lambda index: self.sessions[index].send(request(index)), index)
            yield Wait([index], 1)
            answers.append(self._numbered(answer, index))
        return answers

    def _ask(self, ask: Callable[[int], None], indices: Iterable[int] | None = None) -> None:
        try:
            for index in range(len(self.sessions)) if indices is None else indices:
                self._numbered(ask, index)
        except BaseException:
            self.lose()
            raise

    def _note(self, error: RemoteError, index: int) -> None:
        """Record which environments must be reset after an error, whose message has replaced their observations."""
        self._views[index] = None
        if isinstance(error, ResetNeeded) and error.environments:
            self._waiting[list(error.environments)] = True
        elif error.reset_needed:
            self._waiting[self._part(index)] = True
            self._failed.add(index)

    def lose(self) -> None:
        """Record that the environments are out of step, so that all must be reset."""
        self._waiting[:] = True
        self._failed.update(range(len(self.sessions)))
        self._views = [None] * len(self.sessions)
        self.resetting = {index for index in self.resetting if self.sessions[index].outstanding}

    def _check_idle(self, indices: Iterable[int] | None = None) -> None:
        for index in range(len(self.sessions)) if indices is None else indices:
            self.sessions[index].check_idle()
