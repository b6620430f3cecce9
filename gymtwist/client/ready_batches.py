"""Steps some of a session's environments, each of which has its own process."""

from __future__ import annotations

from typing import Any, NamedTuple

from gymnasium import spaces

from gymtwist.client.client_errors import RemoteError, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.client.group_requests import Wait, Waiting
from gymtwist.protocol import messages
from gymtwist.spaces.descriptions import kind_of


class ReadyBatch(NamedTuple):
    """Results of the environments that finished first.

    Attributes:
        env_ids: The indices of the environments, in ascending order.
        observations: A batch with an observation for each of them.
        rewards: float64, of shape (k,).
        terminated: bool, of shape (k,).
        truncated: bool, of shape (k,).
        info: Their infos, merged.
    """

    env_ids: list[int]
    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]


class ReadySteps:
    """Steps some of a session's environments, and receives the results of those that have finished.

    Args:
        session: The session.
        action_space: The action space of one environment.
        observation_space: The observation space of one environment.
        autoreset: Whether environments are reset after the end of an episode.
    """

    def __init__(
        self,
        session: Session,
        action_space: spaces.Space[Any],
        observation_space: spaces.Space[Any],
        *,
        autoreset: bool,
    ) -> None:
        self._session = session
        self._action, self._observation = action_space, observation_space
        self._values = session.single_values()
        self._autoreset = autoreset
        #: The environments of each request whose reply has not been received.
        self._sent: list[list[int]] = []

    def send(self, env_ids: list[int], actions: Any) -> Waiting[None]:
        """Begin a step of some environments, without waiting for the reply.

        Args:
            env_ids: The indices of the environments.
            actions: A batch of their actions, in the same order.

        Raises:
            RemoteError: An action is invalid, or the connection is closed.
        """
        session = self._session
        if session.outstanding != len(self._sent):
            session.check_idle()
        if busy := session.stepping.intersection(env_ids):
            raise RequestRefused(
                f"environments {sorted(busy)} are in a step; take their results with recv() first",
                code="replies-outstanding",
            )
        element = kind_of(self._action).element
        checked = []
        for place, index in enumerate(env_ids):
            try:
                checked.append(self._values.checked(element(self._action, actions, place)))
            except RemoteError as error:
                error.renumber(index, 1)
                raise
        session.send_step(session.encoded(messages.StepReady(env_ids, checked)))
        session.outstanding += 1
        self._sent.append(env_ids)
        session.stepping.update(env_ids)
        if not self._autoreset:  # the episode of one of them may have ended
            yield from self._receive_all()

    def ask(self, least: int) -> None:
        """Request results.

        Args:
            least: How many environments to wait for.

        Raises:
            RemoteError: The connection is closed.
        """
        session = self._session
        session.connection.check_open()
        session.send_step(session.encoded(messages.StepReady(min_ready=least)))
        session.outstanding += 1

    def receive(self, least: int) -> Waiting[ReadyBatch]:
        """Wait for the requested results.

        Args:
            least: As for :meth:`ask`.

        Raises:
            RemoteError: A step has failed, or could not begin.
        """
        reply = yield from self._receive_all()
        return self._session.read(lambda: self._read(reply, least))

    def _receive_all(self) -> Waiting[messages.SteppedReady]:
        """Receive all replies that are due; return the last one, or raise the first error."""
        session, sent = self._session, self._sent
        failure: RemoteError | None = None
        try:
            while session.outstanding:
                session.take()
                yield Wait([0], 1)
                try:
                    reply = session.receive(messages.SteppedReady)
                except RemoteError as error:
                    failure = failure or error
                    session.stepping.difference_update(sent[0] if sent else ())
                del sent[:1]
        except BaseException:
            # The replies that are still due are discarded, like those to interrupted requests.
            session.outstanding = 0
            sent.clear()
            session.stepping.clear()
            raise
        if failure is not None:
            raise failure
        return reply

    def _read(self, reply: messages.SteppedReady, least: int) -> ReadyBatch:
        env_ids, stepping = reply.env_ids, self._session.stepping
        if len(env_ids) != least or sorted(set(env_ids)) != env_ids or not stepping.issuperset(env_ids):
            raise ValueError(f"env_ids are {env_ids!r:.200}: expected {least} of {sorted(stepping)!r:.200}, ascending")
        observations, *results = self._values.stepped_each(reply, len(env_ids))
        stepping.difference_update(env_ids)
        return ReadyBatch(env_ids, kind_of(self._observation).batch_of(self._observation, observations), *results)
