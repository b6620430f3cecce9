"""A group of sessions whose failures end episodes: a failed session's episodes are truncated, and new ones begin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from gymtwist.client import batching
from gymtwist.client.client_errors import (
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    ResetNeeded,
    ServerFailed,
    TimedOut,
)
from gymtwist.client.client_session import Session, spaces_of
from gymtwist.client.group_requests import Waiting
from gymtwist.client.joined_sessions import T
from gymtwist.client.message_values import Steps
from gymtwist.client.session_group import SessionGroup
from gymtwist.client.session_requests import Stepped
from gymtwist.client.user_values import own
from gymtwist.protocol import all_messages, messages
from gymtwist.spaces.info_merging import FINAL_OBSERVATION, add_info, row

#: The infos key with the text of the error.
ERROR = "error"
#: The maximum number of attempts to begin an episode after a failure, before the reset's error is raised.
_ATTEMPTS = 3
_log = logging.getLogger("gymtwist.client")


class TruncatingGroup(SessionGroup):
    """Sessions that continue after a failure.

    The step that failed returns the last observations again, as truncated. The next episodes begin according to the
    autoreset mode.

    Args:
        arguments: The arguments of the base class.
        autoreset_mode: When environments are reset after the end of an episode.
        restart: Starts a new session in place of the one at an index, whose connection has ended. None if the caller
            does so before the request that needs it; resets are then not repeated while replies are received.
    """

    # A process that ends takes all environments of its session with it.
    _steps_some = False

    def __init__(
        self, *arguments: Any, autoreset_mode: AutoresetMode, restart: Callable[[int], Session] | None, **keywords: Any
    ) -> None:
        super().__init__(*arguments, autoreset=autoreset_mode is not AutoresetMode.DISABLED, **keywords)
        self._mode, self._restart = autoreset_mode, restart
        #: The sessions that begin an episode with the next step, because they failed in the last one.
        self._fresh: set[int] = set()
        #: Errors in sending a step; the replies are waited for as usual.
        self._unsent: dict[int, RemoteError] = {}

    # Resets

    def _before_reset(self, index: int) -> None:
        """Start a new session if the connection of this one has ended."""
        lost = self.sessions[index]
        try:
            lost.connection.check_open()
        except Closed:
            raise
        except RemoteError:
            if self._restart is None:
                raise
            self.replace(index, self._restart(index))
        super()._before_reset(index)

    def replace(self, index: int, session: Session) -> None:
        """Replace a session whose connection has ended.

        Raises:
            ProtocolBroken: The new session's environments have other spaces.
        """
        check_same_spaces_again(session, self.sessions[index])
        self.sessions[index] = session

    def lost(self, *, is_reset: bool) -> list[int]:
        """Return the sessions to replace before a reset, or before a step that begins episodes."""
        found = []
        for index in range(len(self.sessions)) if is_reset else sorted(self._fresh):
            try:
                self.sessions[index].connection.check_open()
            except Closed:
                raise
            except RemoteError:
                found.append(index)
        return found

    def _reset_done(self, index: int, mask: Any) -> messages.ResetDone:
        reply = super()._reset_done(index, mask)
        self._views[index] = own(self._views[index])
        self._fresh.discard(index)
        return reply

    # Steps

    def send(self, actions: Any) -> None:
        """See :meth:`SessionGroup.send`; a session takes no step until the reply to its last one was received."""
        self._check_idle()
        super().send(actions)

    def step_many(self, actions: Any, count: int | None, observations: messages.ObservationsWanted) -> Waiting[Steps]:
        """Refuse several steps, in which the time of a failure would be unknown."""
        raise RequestRefused('step_many: on_failure="truncate" is for single steps', code="invalid-field")

    def _check_idle(self, indices: Iterable[int] | None = None) -> None:
        # A connection may have ended, which is a failure like any other.
        for index in range(len(self.sessions)) if indices is None else indices:
            if self.sessions[index].outstanding:
                self.sessions[index].check_idle()

    def _sender(self, frames: Mapping[int, bytes] | Sequence[bytes]) -> Callable[[int], None]:
        def put(index: int) -> None:
            if index in self._fresh:
                self.resetting.add(index)
                self._begin(index)
            else:
                self.sessions[index].send_step(frames[index])

        return self._noting(put)

    def _asker(self, frames: Mapping[int, bytes] | Sequence[bytes]) -> Callable[[int], None]:
        return self._noting(super()._asker(frames))

    def _noting(self, put: Callable[[int], None]) -> Callable[[int], None]:
        """Return a function that sends something, and keeps a failure for whoever waits for the reply."""

        def noting(index: int) -> None:
            try:
                put(index)
            except RemoteError as error:
                if not ends_episodes(error):
                    raise
                self._unsent[index] = error

        return noting

    def _stepped(self, index: int) -> Stepped:
        try:
            self._check_sent(index)
            session = self.sessions[index]
            stepped = session.receive_step(session.values.own)
        except RemoteError as raised:
            error = cause_of(raised, self.sessions[index])
            if self._views[index] is None or not ends_episodes(error):
                raise
            return self._truncated(index, error)
        self._views[index] = stepped[0]
        return stepped

    def _begun(self, index: int) -> Stepped:
        try:
            self._check_sent(index)
            return super()._begun(index)
        except RemoteError as error:
            # A reset that the user requested has its own options and seeds.
            if index not in self._fresh or not ends_episodes(error) or self._restart is None:
                raise
            return self._begun_anew(index)

    def _wait_for(self, indices: Sequence[int]) -> list[int]:
        return [index for index in indices if index in self._unsent] or super()._wait_for(indices)

    def _check_sent(self, index: int) -> None:
        if index in self._unsent:
            raise self._unsent.pop(index)

    def _joined(self, stepped: Sequence[Stepped], views: Sequence[Any], counts: Sequence[int]) -> Stepped:
        *results, infos = super()._joined(stepped, views, counts)
        # In same_step mode, the server puts the errors of a step that ended an episode there.
        final = infos.get("final_info")
        if isinstance(final, dict) and ERROR in final:
            infos = {**infos, **({f"_{ERROR}": infos[f"_{ERROR}"].copy()} if ERROR in infos else {})}
            for index in np.flatnonzero(final[f"_{ERROR}"] & results[3]).tolist():
                error = row(final, index)
                # An environment may use this key, too, beside others.
                if error.keys() == {ERROR} and isinstance(error[ERROR], str):
                    add_info(sum(counts), infos, error, index)
        return (*results, infos)

    # Failures

    def _reach(self, request: Callable[[int], all_messages.Request], answer: Callable[[int], T]) -> Waiting[list[T]]:
        def answer_if_sent(index: int) -> T:
            self._check_sent(index)
            return answer(index)

        return super()._reach(request, answer_if_sent)

    def _note(self, error: RemoteError, index: int) -> None:
        # The next step reports the failure of another request, and needs the last observations.
        is_lost = ends_episodes(error) and not isinstance(error, EnvironmentFailed)
        if not (is_lost or self.sessions[index].failure or index in self._fresh):
            super()._note(error, index)

    def _truncated(self, index: int, error: RemoteError) -> Stepped:
        """Return the last step of a failed session's episodes, and prepare the next episodes."""
        text = str(error)
        if len(self.sessions) > 1:
            error.renumber(self.starts[index], self._counts[index])
        _log.warning("%s: %s; truncated", self.sessions[index].connection.name, error)
        count, last = self._counts[index], self._views[index]
        if count > 1:
            text = str(error)
        info: dict[str, Any] = {}
        for each in range(count):
            add_info(count, info, {ERROR: text}, each)
        if self._mode is AutoresetMode.SAME_STEP:
            for each in range(count):
                final = {FINAL_OBSERVATION: batching.element(self._observation, last, each)}
                add_info(count, info, {**final, "final_info": {ERROR: text}}, each)
            begun = self._begun_anew(index)
            last, info = begun[0], {**begun[4], **info}
        elif self._mode is AutoresetMode.NEXT_STEP:
            self._fresh.add(index)
        else:
            self._failed.add(index)
        return last, self._no_rewards(index), np.zeros(count, np.bool_), np.ones(count, np.bool_), info

    def _begun_anew(self, index: int) -> Stepped:
        """Begin new episodes, and wait for their first observations."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._begin(index)
                return super()._begun(index)
            except RemoteError as error:
                if not left or not ends_episodes(error):
                    raise
        raise AssertionError("unreachable")

    def _begin(self, index: int) -> None:
        """Request new episodes."""
        self._before_reset(index)
        self.sessions[index].send(messages.Reset())


def check_same_spaces_again(session: Session, lost: Session) -> None:
    """Check that a session which replaces another has the same spaces; otherwise close it.

    Raises:
        ProtocolBroken: Its spaces differ.
    """
    if spaces_of(session.made) != spaces_of(lost.made):
        session.connection.close()
        raise ProtocolBroken("the environment at the server has other spaces than before") from None


def cause_of(error: RemoteError, session: Session) -> RemoteError:
    """Return why a step has failed: an earlier request, such as to render, may have ended the episode."""
    failure, session.failure = session.failure, None
    return failure if failure is not None and isinstance(error, ResetNeeded) else error


def ends_episodes(error: RemoteError) -> bool:
    """Return whether an error ends a session's episodes, but not the session."""
    if isinstance(error, EnvironmentFailed):
        return error.reset_needed
    return isinstance(error, (ConnectionLost, TimedOut, ServerFailed))
