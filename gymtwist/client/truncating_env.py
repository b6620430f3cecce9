"""An environment at a server whose failures end episodes, and which connects again after a loss."""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import Any

from gymtwist.client.client_errors import (
    Closed,
    ConnectionLost,
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    ResetNeeded,
    ServerFailed,
)
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.truncating_group import ERROR, cause_of, ends_episodes, spaces_of
from gymtwist.protocol import messages

#: How often a reset is tried at most while it loses the connection.
_ATTEMPTS = 3
_log = logging.getLogger("gymtwist.client")


class TruncatingEnv(RemoteEnv):
    """An environment that goes on after a failure; :func:`~gymtwist.client.api.connect` makes it.

    A step that fails because of the environment, or loses the connection, returns the last observation once more, as
    truncated. The next reset connects again if that is necessary.

    Args:
        arguments: Those of the base class.
    """

    def __init__(self, *arguments: Any) -> None:
        self._last: Any = None
        #: Whether the last episode has ended with a failure.
        self._has_failed = False
        #: Why a step could not be sent; recv() returns it.
        self._unsent: RemoteError | None = None
        super().__init__(*arguments)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, over another connection if the last one is lost; see :meth:`RemoteEnv.reset`.

        Raises:
            RemoteError: The reset failed, or the server is not up again within ``connect_timeout``.
        """
        for left in reversed(range(_ATTEMPTS)):
            self._connect_again()
            self._drop_outstanding()
            try:
                begun = super().reset(seed=seed, options=options)
            except (ConnectionLost, ServerFailed) as error:
                if not left:
                    raise
                _log.warning("%s; resetting again", error)
            else:
                self._last, self._has_failed, self._unsent = begun[0], False, None
                return begun
        raise AssertionError("unreachable")

    def _drop_outstanding(self) -> None:
        """Take the replies to steps that were sent before the failure: they say that a reset is needed."""
        while self._has_failed and self._session.outstanding:
            with contextlib.suppress(RemoteError):
                super().recv()

    def _connect_again(self) -> None:
        """Connect again if the connection is lost; the user's other requests raise the reason."""
        try:
            self._session.connection.check_open()
        except Closed:
            raise
        except RemoteError:
            (session,) = self._options.make_sessions(is_restart=True)
            if spaces_of(session) != spaces_of(self._session):
                session.connection.close()
                raise ProtocolBroken("the environment at the server has other spaces than before") from None
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
            return self._truncated(error)
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
        """Wait for the first step that was sent and not received; see :meth:`RemoteEnv.recv`."""
        self._check_going()
        try:
            if self._unsent is not None and not self._session.outstanding:
                raise self._unsent
            stepped = super().recv()
        except RemoteError as error:
            return self._truncated(error)
        self._last = stepped[0]
        return stepped

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Refuse several steps, in which the time of a failure would be unknown."""
        raise RequestRefused('step_many: on_failure="truncate" is for single steps', code="invalid-field")

    def _check_going(self) -> None:
        if self._has_failed:
            raise ResetNeeded("the episode has ended with a failure: reset", reset_needed=True)

    def _truncated(self, error: RemoteError) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the last step of an episode that has failed.

        Raises:
            RemoteError: The error, if it is of another kind.
        """
        error = cause_of(error, self._session)
        if self._last is None or not ends_episodes(error):
            raise error
        self._has_failed = True
        _log.warning("%s: %s; truncated", self._session.connection.name, error)
        return copy.deepcopy(self._last), 0.0, False, True, {ERROR: str(error)}
