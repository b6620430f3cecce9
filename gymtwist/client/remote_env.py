"""One environment that runs at a server, and is used as if it ran here."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsFloat

import gymnasium
from gymnasium import logger

from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.entry_points import EntryPoint, kwargs_of, metadata_of, spec_of
from gymtwist.client.message_values import Steps
from gymtwist.client.reset_arguments import seed_of
from gymtwist.protocol import messages


class RemoteEnv(gymnasium.Env[Any, Any]):
    """An environment at a server; :func:`~gymtwist.client.api.connect` makes it.

    It can be used by one thread at a time. After :class:`~gymtwist.client.client_errors.EnvironmentFailed` it goes on
    with ``reset``; after errors that say that the connection is closed it does not.

    Args:
        options: How to reach the server and what to make there.

    Raises:
        RemoteError: There is no connection, or no such environment.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self._session = session = options.start_session().finish()
        made = session.made
        translation = session.translation
        self.action_space, self.observation_space = translation.action_space, translation.observation_space
        self.metadata = metadata_of(made)
        self.render_mode = made.render_mode
        self.spec = spec_of(made, EntryPoint(RemoteEnv, options, kwargs_of(made), self.metadata))
        # Spelt out for the way of a step.
        self._step, self._own = session.step, translation.own

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: For the environment's random numbers; None to go on with those that it has.
            options: What the environment makes of them.

        Returns:
            The first observation, and the info.

        Raises:
            RemoteError: There is no new episode.
        """
        seed = seed_of(seed)
        super().reset(seed=seed)
        self._session.before_reset()
        reply = self._session.ask(messages.Reset(seed, options), messages.ResetDone)
        return self._session.read(lambda: self._own(reply.observation)), reply.info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step.

        Args:
            action: Of the action space.

        Returns:
            The observation, the reward, whether the episode has terminated, whether it is truncated, and the info.

        Raises:
            RemoteError: There was no such step.
        """
        return self._step(action, self._own)

    def send(self, action: Any) -> None:
        """Ask for a step, and go on without its reply: :meth:`recv` takes that.

        Any number of steps can be asked for, and are taken in order. What lies behind the end of an episode, or behind
        an error, is answered with :class:`~gymtwist.client.client_errors.ResetNeeded`.

        Args:
            action: Of the action space.

        Raises:
            RemoteError: The action is none, or the connection is closed.
        """
        self._session.send_step(self._session.translation.written(action))
        self._session.outstanding += 1

    def recv(self) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Wait for the first of the steps that were sent and not received.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: There was no such step, or none was sent.
        """
        self._session.take()
        return self._session.receive_step(self._own)

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip, which end with the episode.

        Args:
            actions: One for each step; or with ``count`` the one action for all of them.
            count: How often to take that action.
            observations: Whether the last observation is wanted or all of them.

        Raises:
            RemoteError: There were no such steps.
        """
        self._session.send(self._session.translation.many(actions, count, observations))
        return self._session.receive_many(observations)

    def sample(self, seed: int | None = None) -> Any:
        """Let the server draw an action, so that it is the same whatever the client is written in.

        Args:
            seed: For the action space's random numbers; None to go on with those that it has.
        """
        reply = self._session.ask(messages.Sample(seed_of(seed)), messages.Sampled)
        return self._session.read(lambda: self._session.translation.action(reply.action))

    def render(self) -> Any:
        """Render the environment.

        Returns:
            What its render mode says: an array, text, or a list of them; None if it was made without one.

        Raises:
            RemoteError: There is nothing to render.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect(..., render_mode="rgb_array")')
            return None
        return self._session.ask(messages.Render(), messages.Rendered).frame

    def close(self) -> None:
        """Close the environment and the connection; to do it again does nothing."""
        # There is no session if it could not be made.
        session = self.__dict__.get("_session")
        if session is not None:
            session.connection.close()

    def __reduce__(self) -> NoReturn:
        # A copy would use the same connection, and close it in the end.
        raise TypeError(
            "a remote environment cannot be copied or pickled, as its connection cannot be; "
            "its spec can, and makes another"
        )

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {name} at {self._session.connection.name}>"
