"""A group of sessions that acts as one: splits requests among them and joins their replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces

from gymtwist.client import batching, vector_infos
from gymtwist.client.client_errors import RemoteError, RequestRefused, ResetNeeded
from gymtwist.client.client_session import Session, Stepped
from gymtwist.client.message_values import Steps
from gymtwist.client.reset_arguments import warn_unseeded
from gymtwist.client.user_values import own
from gymtwist.protocol import messages
from gymtwist.spaces.gymnasium_spaces import info_restorer

T = TypeVar("T")


class SessionGroup:
    """Sessions that each hold a share of the environments.

    Args:
        sessions: The sessions, in the order of their environments.
        counts: How many environments each has.
        single_action_space: The action space of one environment.
        single_observation_space: The observation space of one environment.
    """

    def __init__(
        self,
        sessions: list[Session],
        counts: list[int],
        single_action_space: spaces.Space[Any],
        single_observation_space: spaces.Space[Any],
    ) -> None:
        self.sessions = sessions
        self._counts = counts
        self.starts = [sum(counts[:index]) for index in range(len(counts))]
        self._action, self._observation = single_action_space, single_observation_space
        self._restore = info_restorer(single_observation_space)
        #: True after one session has failed while others went on, so that the environments are out of step.
        self._apart = False
        # The last observations of each session. They may be views of its last message, which is valid until the next
        # request; see keep().
        self._views: list[Any] = [None] * len(sessions)

    def keep(self) -> None:
        """Copy the last observations, before a request whose reply contains none."""
        self._views = [own(each) for each in self._views]

    @property
    def total(self) -> int:
        """The number of all environments."""
        return sum(self._counts)

    # Resets

    def reset(self, seeds: Any, options: dict[str, Any] | None, mask: Any) -> tuple[Any, dict[str, Any]]:
        """Begin episodes.

        Args:
            seeds: One seed for all environments, one for each, or None.
            options: Options of the environments.
            mask: Which environments to reset: bool, of shape (total,); None for all.
        """
        for session in self.sessions:
            session.check_idle()
        if mask is not None and self._apart:
            raise ResetNeeded("a process has failed: reset all environments before some of them", reset_needed=True)
        requests = self._resets(seeds, options, mask)
        self.keep()
        for session in self.sessions:
            session.before_reset()

        def ask(index: int) -> None:
            request = requests[index]
            if request is not None:
                self.sessions[index].send(request)

        def answer(index: int) -> dict[str, Any]:
            if requests[index] is None:
                return {}
            session = self.sessions[index]
            reply = session.receive(messages.ResetDone)
            warn_unseeded(reply)
            self._views[index] = session.read(lambda: session.values.view(reply.observation))
            return reply.info

        infos = self._together(ask, answer)
        self._apart = False
        return self._whole(self._views), self.infos(infos)

    def _resets(self, seeds: Any, options: dict[str, Any] | None, mask: Any) -> list[messages.Reset | None]:
        """Make the request for each session; None for a session without environments to reset."""
        requests: list[messages.Reset | None] = []
        for start, count in zip(self.starts, self._counts, strict=True):
            chosen = None if mask is None else mask[start : start + count].tolist()
            if chosen is not None and not any(chosen):
                requests.append(None)
                continue
            seed = seeds
            if isinstance(seeds, list):
                seed = seeds[start : start + count]
            elif seeds is not None:  # as in Gymnasium, each environment gets its own
                seed = seeds + start
            requests.append(messages.Reset(seed, options, chosen))
        return requests

    # Steps

    def send(self, actions: Any) -> None:
        """Request a step."""
        self._check_together()
        parts = zip(self.sessions, self._parts(actions), strict=True)
        # Check all actions before sending any.
        frames = [session.values.written(each) for session, each in parts]
        self._ask(lambda index: self.sessions[index].send_step(frames[index]))

    def receive(self) -> Stepped:
        """Wait for the replies to a step."""

        def answer(index: int) -> Stepped:
            session = self.sessions[index]
            stepped = session.receive_step(session.values.view)
            self._views[index] = stepped[0]
            return stepped

        stepped = self._together(None, answer)
        return (
            self._whole(self._views),
            np.concatenate([each[1] for each in stepped]),
            np.concatenate([each[2] for each in stepped]),
            np.concatenate([each[3] for each in stepped]),
            self.infos([each[4] for each in stepped]),
        )

    def step_many(self, actions: Any, count: int | None, observations: messages.ObservationsWanted) -> Steps:
        """Take several steps."""
        self._check_together()
        for session in self.sessions:
            session.check_idle()
        if count is None:
            try:
                listed = [self._parts(each) for each in actions]
            except TypeError as error:
                raise RequestRefused(f"step_many: {error}", code="invalid-field") from error
            shares: list[Any] = [[each[index] for each in listed] for index in range(len(self.sessions))]
        else:
            shares = self._parts(actions)
        requests = [
            session.values.many(share, count, observations)
            for session, share in zip(self.sessions, shares, strict=True)
        ]
        done = self._together(
            lambda index: self.sessions[index].send(requests[index]),
            lambda index: self.sessions[index].receive_many(observations),
        )
        taken = {len(each.rewards) for each in done}
        if len(taken) > 1:
            # An episode has ended without autoreset, while the other sessions went on.
            self._apart = True
            raise ResetNeeded(
                "the processes took different numbers of steps, as an episode has ended in one of them; reset all "
                "environments, and take single steps where autoreset is disabled",
                reset_needed=True,
            )
        return self._joined(done, taken.pop() if observations == "all" else None)

    def _joined(self, done: list[Steps], each_of: int | None) -> Steps:
        if each_of is None:
            self._views = [each.observations for each in done]
            seen: Any = self._whole(self._views)
        else:
            self._views = [each.observations[-1] for each in done]
            steps = [self._whole([each.observations[index] for each in done]) for index in range(each_of)]
            seen = np.array(steps) if isinstance(steps[0], np.ndarray) else steps
        return Steps(
            seen,
            np.concatenate([each.rewards for each in done], axis=1),
            np.concatenate([each.terminated for each in done]),
            np.concatenate([each.truncated for each in done]),
            self.infos([each.info for each in done]),
        )

    # All sessions

    def _together(self, ask: Callable[[int], None] | None, answer: Callable[[int], T]) -> list[T]:
        """Send all requests, then receive all replies; raise the first error once no reply is due."""
        failure: RemoteError | None = None
        answers: list[T] = []
        if ask is not None:
            self._ask(ask)
        for index in range(len(self.sessions)):
            try:
                answers.append(answer(index))
            except RemoteError as error:
                failure = failure or error
        if failure is not None:
            self._apart = failure.reset_needed = True
            raise failure
        return answers

    def _ask(self, ask: Callable[[int], None]) -> None:
        try:
            for index in range(len(self.sessions)):
                ask(index)
        except BaseException:
            self._apart = True
            raise

    def _check_together(self) -> None:
        if self._apart:
            for session in self.sessions:
                session.connection.check_open()
            raise ResetNeeded("a process has failed: reset all environments", reset_needed=True)

    def _parts(self, actions: Any) -> list[Any]:
        try:
            if batching.length(self._action, actions) != self.total:
                raise ValueError(f"no batch of {self.total} actions: {actions!r:.200}")
            return [
                batching.part(self._action, actions, start, start + count)
                for start, count in zip(self.starts, self._counts, strict=True)
            ]
        except (ValueError, TypeError, IndexError) as error:
            text = f"{error}; the action space of each is {self._action}"
            raise RequestRefused(text[:500], code="invalid-action") from error

    def _whole(self, views: list[Any]) -> Any:
        return batching.whole(self._observation, views)

    def infos(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        """Join the infos of all sessions."""
        is_json = self.sessions[0].values.is_json
        parts = [
            vector_infos.restored(each, count, self._restore, is_json=is_json)
            for each, count in zip(infos, self._counts, strict=True)
        ]
        return vector_infos.joined(parts, self._counts)

    def sample(self, seed: int | None) -> Any:
        """Let each session sample actions."""
        self.keep()
        drawn = []
        for session, start in zip(self.sessions, self.starts, strict=True):
            reply = session.ask(messages.Sample(None if seed is None else seed + start), messages.Sampled)
            drawn.append(session.read(lambda: session.values.action(reply.action)))  # noqa: B023
        return batching.whole(self._action, drawn)
