"""An environment at a server whose failures end episodes, and which reconnects after a loss."""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import Any

from gymtwist.client.client_errors import (
    Closed,
    ConnectionLost,
    RemoteError,
    RequestRefused,
    ResetNeeded,
    ServerFailed,
)
from gymtwist.client.client_session import Session
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.truncating_group import ERROR, cause_of, check_same_spaces_again, ends_episodes
from gymtwist.protocol import messages

#: The maximum number of attempts to reset while the connection gets lost.
ATTEMPTS = 3
#: The errors of a reset that loses the connection.
LOSSES = (ConnectionLost, ServerFailed)
_log = logging.getLogger("gymtwist.client")


class TruncatedEpisodes:
    """The state of an episode that may end with a failure."""

    _last: Any = None
    #: Whether the last episode has ended with a failure.
    _has_failed = False
    #: Why a step could not be sent, until recv() reports it.
    _unsent: RemoteError | None = None

    def _begin(self, observation: Any) -> None:
        self._last, self._has_failed, self._unsent = observation, False, None

    def _check_going(self) -> None:
        if self._has_failed:
            raise ResetNeeded("the episode has ended with a failure: reset", reset_needed=True)

    def _truncated(self, error: RemoteError, session: Session) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the last step of an episode that has failed.

        Raises:
            RemoteError: The error, if it does not end episodes.
        """
        error = cause_of(error, session)
        if self._last is None or not ends_episodes(error):
            raise error
        self._has_failed = True
        _log.warning("%s: %s; truncated", session.connection.name, error)
        return copy.deepcopy(self._last), 0.0, False, True, {ERROR: str(error)}


def log_repeated(error: RemoteError) -> None:
    """Log why a reset is repeated."""
    _log.warning("%s; resetting again", error)


def refused_many() -> RequestRefused:
    """Return the error for requesting several steps, in which the time of a failure would be unknown."""
    return RequestRefused('step_many: on_failure="truncate" is for single steps', code="invalid-field")


class TruncatingEnv(TruncatedEpisodes, RemoteEnv):
    """An environment that continues after a failure; :func:`~gymtwist.client.api.connect` makes it.

    A step that fails because of the environment, or loses the connection, returns the last observation again, as
    truncated. The next reset reconnects if necessary.

    Args:
        arguments: The arguments of the base class.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, over a new connection if the last one is lost; see :meth:`RemoteEnv.reset`.

        Raises:
            RemoteError: The reset failed, or the server is not up again within ``connect_timeout``.
        """
        for left in reversed(range(ATTEMPTS)):
            self._connect_again()
            self._drop_outstanding()
            try:
                begun = super().reset(seed=seed, options=options)
            except LOSSES as error:
                if not left:
                    raise
                log_repeated(error)
            else:
                self._begin(begun[0])
                return begun
        raise AssertionError("unreachable")

    def _drop_outstanding(self) -> None:
        """Take the replies to steps that were sent before the failure, which say that a reset is needed."""
        while self._has_failed and self._session.outstanding:
            with contextlib.suppress(RemoteError):
                super().recv()

    def _connect_again(self) -> None:
        """Reconnect if the connection is lost; the user's other requests raise the reason."""
        try:
            self._session.connection.check_open()
        except Closed:
            raise
        except RemoteError:
            (session,) = self._options.make_sessions(is_restart=True)
            check_same_spaces_again(session, self._session)
            self._use(session)

    def _go_on(self, state: Any) -> None:
        super()._go_on(state)
        self._has_failed, self._unsent = False, None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; see :meth:`RemoteEnv.step`."""
        self._check_going()
        try:
            stepped = self._step(action, self._own)
        except RemoteError as error:
            return self._truncated(error, self._session)
        self._last = stepped[0]
        return stepped

    def send(self, action: Any) -> None:
        """Request a step without waiting for its reply; see :meth:`RemoteEnv.send`."""
        self._check_going()
        try:
            super().send(action)
        except RemoteError as error:
            if not ends_episodes(error):
                raise
            self._unsent = error

    def recv(self) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Wait for the first step that was sent but not received; see :meth:`RemoteEnv.recv`."""
        self._check_going()
        try:
            if self._unsent is not None and not self._session.outstanding:
                raise self._unsent
            stepped = super().recv()
        except RemoteError as error:
            return self._truncated(error, self._session)
        self._last = stepped[0]
        return stepped

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Refuse several steps, in which the time of a failure would be unknown."""
        raise refused_many()
