"""Many environments that run at a server, and step together as a vector environment does here."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from gymnasium import logger, spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from gymtwist.client import batching
from gymtwist.client.client_errors import ProtocolBroken
from gymtwist.client.client_session import Session, Stepped
from gymtwist.client.connect_options import AUTORESET_MODES, ConnectOptions
from gymtwist.client.entry_points import EntryPoint, VectorEntryPoint, kwargs_of, metadata_of, spec_of
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.reset_arguments import mask_of, seed_of, seeds_of
from gymtwist.client.session_group import SessionGroup
from gymtwist.protocol import messages
from gymtwist.spaces.gymnasium_spaces import build


class RemoteVectorEnv(VectorEnv[Any, Any, Any]):
    """Environments at a server; :func:`~gymtwist.client.api.connect_vec` makes them.

    They are in one process there, or in several that each hold their share of them and step side by side. The object
    can be used by one thread at a time. After :class:`~gymtwist.client.client_errors.EnvironmentFailed` it goes on with
    ``reset``.

    Args:
        options: How to reach the server and what to make there.

    Raises:
        RemoteError: There is no connection, or there are no such environments.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self.num_envs = options.make.num_envs or 1
        counts = batching.shares(self.num_envs, options.processes)
        self._sessions: list[Session] = []
        try:
            # They are made side by side.
            for count in counts:
                self._sessions.append(options.start_session(count))
            for session in self._sessions:
                session.finish()
            self._sessions[0].read(lambda: self._describe(options))
        except BaseException:
            self.close()
            raise
        self._group = SessionGroup(self._sessions, counts, self.single_action_space, self.single_observation_space)
        #: The only session, if there is one alone: nothing has to be divided and joined for it.
        self._one = self._sessions[0] if options.processes == 1 else None

    def _describe(self, options: ConnectOptions) -> None:
        made, whole = self._sessions[0].made, self._sessions[0].translation
        if made.single_action_space is None or made.single_observation_space is None:
            raise ProtocolBroken("the server does not describe the spaces of a single environment")
        self.single_action_space: spaces.Space[Any] = build(made.single_action_space)
        self.single_observation_space: spaces.Space[Any] = build(made.single_observation_space)
        self.action_space, self.observation_space = whole.action_space, whole.observation_space
        if options.processes > 1:
            self.action_space = batch_space(self.single_action_space, self.num_envs)
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.render_mode = made.render_mode
        self.metadata = {**metadata_of(made), "autoreset_mode": AUTORESET_MODES[made.autoreset_mode or "next_step"]}
        known = options, kwargs_of(made), metadata_of(made)
        self.spec = spec_of(made, EntryPoint(RemoteEnv, *known), VectorEntryPoint(RemoteVectorEnv, *known))

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: One from which each environment gets its own (``seed + index``), or a list with one for each.
            options: What the environments make of them; ``"reset_mask"``, an array of num_envs bools, says which of
                them begin an episode.

        Returns:
            Observations and infos of all environments; of those that were not reset, the observations that they had.

        Raises:
            RemoteError: There are no new episodes.
        """
        mask, options = mask_of(options, self.num_envs)
        seeds = seeds_of(seed, self.num_envs)
        session = self._one
        if session is None:
            return self._group.reset(seeds, options, mask)
        session.before_reset()
        request = messages.Reset(seeds, options, None if mask is None else mask.tolist())
        reply = session.ask(request, messages.ResetDone)
        return session.read(lambda: session.translation.own(reply.observation)), self._group.infos([reply.info])

    def step(self, actions: Any) -> Stepped:
        """Take a step in every environment.

        Args:
            actions: A batch of the action space.

        Returns:
            Observations; rewards, float64 of shape (num_envs,); terminated and truncated, bool of that shape; infos.

        Raises:
            RemoteError: There was no such step.
        """
        for session in self._sessions:
            if session.outstanding:
                session.check_idle()
        self._send(actions)
        return self._recv()

    def send(self, actions: Any) -> None:
        """Ask for a step, and go on without its reply: :meth:`recv` takes that.

        Args:
            actions: A batch of the action space.

        Raises:
            RemoteError: The actions are none, or a connection is closed.
        """
        self._send(actions)
        for session in self._sessions:
            session.outstanding += 1

    def recv(self) -> Stepped:
        """Wait for the first of the steps that were sent and not received.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: There was no such step, or none was sent.
        """
        for session in self._sessions:
            session.take()
        return self._recv()

    def _send(self, actions: Any) -> None:
        session = self._one
        if session is None:
            self._group.send(actions)
        else:
            session.send_step(session.translation.written(actions))

    def _recv(self) -> Stepped:
        session = self._one
        if session is None:
            return self._group.receive()
        stepped = session.receive_step(session.translation.own)
        return (*stepped[:4], self._group.infos([stepped[4]])) if stepped[4] else stepped

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip; environments whose episodes end go on as the autoreset mode says.

        Args:
            actions: A batch for each step; or with ``count`` the one batch for all of them.
            count: How often to take that batch.
            observations: Whether the last observations are wanted or all of them.

        Raises:
            RemoteError: There were no such steps.
        """
        session = self._one
        if session is None:
            return self._group.step_many(actions, count, observations)
        session.send(session.translation.many(actions, count, observations))
        steps = session.receive_many(observations)
        return steps._replace(info=self._group.infos([steps.info]))

    def sample(self, seed: int | None = None) -> Any:
        """Let the server draw an action for every environment.

        Args:
            seed: For the action spaces' random numbers; None to go on with those that they have. What is drawn with it
                depends on the number of processes.
        """
        return self._group.sample(seed_of(seed))

    def render(self) -> tuple[Any, ...] | None:
        """Render the environments.

        Returns:
            What each of them renders; None if they were made without a render mode.

        Raises:
            RemoteError: There is nothing to render.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect_vec(..., render_mode="rgb_array")')
            return None
        self._group.keep()
        frames = [
            session.read(partial(_frames, session.ask(messages.Render(), messages.Rendered)))
            for session in self._sessions
        ]
        return tuple(frame for group in frames for frame in group)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the connections; :meth:`close` calls it."""
        # There are none if one could not be made.
        for session in self.__dict__.get("_sessions", ()):
            session.connection.close()

    def __enter__(self) -> RemoteVectorEnv:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # A copy would use the same connection, and close it in the end.
        raise TypeError(
            "a remote vector environment cannot be copied or pickled, as its connection cannot be; "
            "its spec can, and makes another"
        )

    def __del__(self) -> None:
        self.close()


def _frames(reply: messages.Rendered) -> list[Any]:
    if reply.frame is not None and not isinstance(reply.frame, list):
        raise ValueError("several environments render a list of frames")
    return reply.frame or []
