"""A single environment at a server, with the interface of a local environment."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
from gymnasium import logger

from gymtwist.client.client_errors import AttributeUnreachable, Closed, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import RemoteAttributes
from gymtwist.client.remote_method import RemoteMethod, ask_for_attribute
from gymtwist.client.reset_arguments import seed_of, warn_unseeded
from gymtwist.client.resumable_connection import leave
from gymtwist.client.session_requests import Stepped
from gymtwist.client.snapshots import Snapshot
from gymtwist.protocol import messages


class RemoteEnv(RemoteAttributes, gymnasium.Env[Any, Any]):
    """An environment at a server; :func:`~gymtwist.client.api.connect` makes it.

    Use it in one thread at a time. After :class:`~gymtwist.client.client_errors.EnvironmentFailed`, ``reset`` makes it
    usable again. An error that closes the connection is final.

    Args:
        options: How to reach the server, and what to make there.

    Attributes:
        reward_space: The space of rewards that are arrays, as in MO-Gymnasium; not set if the environment has none.
        resumed: If :func:`~gymtwist.client.api.resume` returned the environment, what the last step before that
            returned, or the last reset, with a reward of 0. None if the last request was another one.

    Raises:
        RemoteError: The server cannot be reached, or has no such environment.
    """

    resumed: Stepped | None = None

    def __init__(self, options: ConnectOptions) -> None:
        (session,) = options.make_sessions()
        self._use(session)
        self._set_attributes(session, options.without_origin())  # after a reconnect, a new environment is made
        if options.stored:
            self._was_reset, self.resumed = True, session.last_step()
            self._own = session.values.own
        #: From here on, missing attributes are looked up in the remote environment.
        self._is_made = True

    def _use(self, session: Session) -> None:
        """Use a session from now on."""
        self._session = session
        # Bound methods save time in each step.
        self._step, self._own = session.step, session.values.own
        self._was_reset = False
        self._methods: dict[str, RemoteMethod] = {}

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the remote environment that this object does not have.

        Raises:
            AttributeError: The attribute cannot be reached.
            RequestRefused: Replies to steps are outstanding, so it is unknown whether the attribute can be reached.
        """
        if name.startswith("__") or "_is_made" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        try:
            return self._remote_attribute(name)
        except AttributeUnreachable:
            raise
        except (RequestRefused, Closed) as error:
            if error.code == "replies-outstanding":
                raise  # hasattr() must not say that there is no such attribute
            raise AttributeError(f"remote attribute {name!r}: {error}") from error

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the remote environment, unless this object has it.

        Raises:
            RemoteError: The attribute cannot be set.
        """
        own = self.__dict__
        if "_is_made" not in own or name in own or name.startswith("__") or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self.set_wrapper_attr(name, value)

    def has_wrapper_attr(self, name: str) -> bool:
        """Return whether this object has an attribute, or the remote environment has it and it may be read.

        Raises:
            RemoteError: The server does not answer.
        """
        return hasattr(self, name)

    def get_wrapper_attr(self, name: str, *, as_text: bool = False) -> Any:
        """Read an attribute of this object or, if it has none, of the remote environment or its wrappers.

        Args:
            name: The attribute's name.
            as_text: Whether to return the ``repr`` of the remote environment's value, for objects that cannot be sent.

        Returns:
            The value; for a method, an object that calls it.

        Raises:
            AttributeUnreachable: There is no such attribute, its value cannot be sent, or the operator does not allow
                it.
        """
        if as_text:
            return ask_for_attribute(self._session, messages.Get(name, True), messages.Got).value
        return getattr(self, name)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> bool:
        """Set an attribute of this object or, if it has none, of the remote environment or its wrappers.

        Args:
            name: The attribute's name.
            value: The new value.
            force: Whether to raise an error if there is no such attribute, because setting it would have no effect.

        Returns:
            Whether there is such an attribute.

        Raises:
            AttributeUnreachable: The attribute cannot be set.
        """
        if name in self.__dict__ or hasattr(type(self), name):
            object.__setattr__(self, name, value)
            return True
        try:
            ask_for_attribute(self._session, messages.Set(name, value), messages.AttributeSet)
        except AttributeUnreachable as error:
            if force or error.code != "unknown-attribute":
                raise
            return False
        self._methods.pop(name, None)
        return True

    def _remote_attribute(self, name: str) -> Any:
        method = self._methods.get(name)
        if method is None:
            reply = ask_for_attribute(self._session, messages.Get(name), messages.Got)
            if not reply.callable:
                return reply.value
            # Later calls need no request to find it.
            method = self._methods[name] = RemoteMethod(self._session, name)
        return method

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: The seed of the environment's random numbers; None to keep their state.
            options: Options of the environment.

        Returns:
            The first observation and the info.

        Raises:
            RemoteError: The reset failed.
        """
        seed = seed_of(seed)
        super().reset(seed=seed)
        reply = self._reset(messages.Reset(seed, options))
        warn_unseeded(reply)
        return self._session.read(lambda: self._own(reply.observation)), reply.info

    def _reset(self, request: messages.Reset) -> messages.ResetDone:
        session = self._session
        session.before_reset()
        reply = session.ask(request, messages.ResetDone)
        self._was_reset = True
        session.values.use_plain_numbers(reply.plain_numbers)
        self._own = session.values.own
        return reply

    def verify_seed(self, seed: int) -> bool:
        """Have the server play the beginning of an episode twice with a seed, then reset with the seed once more.

        Args:
            seed: The seed of the environment's random numbers, and of the actions.

        Returns:
            Whether the reset infos, observations, rewards and flags of both were the same, for up to fifty steps.

        Raises:
            RemoteError: A reset failed.
        """
        return bool(self._reset(messages.Reset(seed_of(seed), verify_seed=True)).seeded)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step.

        Args:
            action: An action of the action space.

        Returns:
            The observation, the reward (an array in the ``reward_space``, if there is one), whether the episode has
            terminated, whether it was truncated, and the info.

        Raises:
            RemoteError: The step failed.
        """
        return self._step(action, self._own)

    def send(self, action: Any) -> None:
        """Request a step without waiting for its reply, which :meth:`recv` returns.

        Any number of steps can be requested; the server takes them in order. Steps after the end of an episode, or
        after an error, fail with :class:`~gymtwist.client.client_errors.ResetNeeded`.

        Args:
            action: An action of the action space.

        Raises:
            RemoteError: The action is invalid, or the connection is closed.
        """
        self._session.send_step(self._session.values.written(action))
        self._session.outstanding += 1

    def recv(self) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Wait for the first step that was sent but not received.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        self._session.take()
        return self._session.receive_step(self._own)

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip, stopping at the end of the episode.

        Args:
            actions: One action per step; or, with ``count``, one action for all steps.
            count: How often to take that action.
            observations: Whether to return the last observation or all.

        Raises:
            RemoteError: The steps failed.
        """
        self._session.send(self._session.values.many(actions, count, observations))
        return self._session.receive_many(observations)

    def sample(self, seed: int | None = None) -> Any:
        """Have the server sample an action, so that clients in all languages get the same one.

        Args:
            seed: The seed of the action space's random numbers; None to keep their state.
        """
        reply = self._session.ask(messages.Sample(seed_of(seed)), messages.Sampled)
        return self._session.read(lambda: self._session.values.action(reply.action))

    def render(self) -> Any:
        """Render the environment.

        Returns:
            An array, text, or a list of them, depending on the render mode; None without a render mode.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect(..., render_mode="rgb_array")')
            return None
        # Before the first reset, an environment without wrappers decides by itself whether it can render.
        return self._session.ask(messages.Render(before_reset=not self._was_reset), messages.Rendered).frame

    def monitor(
        self, directory: str | None, *, resume: bool = False, force: bool = False, video_every: int = 0
    ) -> None:
        """Have the server record episodes from the next reset on, or stop recording.

        Args:
            directory: The directory at the server, relative to the operator's directory; None to stop, and complete the
                files.
            resume: Whether to keep the files of an earlier monitor, and write beside them.
            force: Whether to remove the files of an earlier monitor.
            video_every: Record a video of each episode whose number is a multiple of this; 0 for none. The environment
                must have been made with the render mode ``rgb_array``.

        Raises:
            RemoteError: The server cannot record there, or is recording already.
        """
        self._session.ask(messages.Monitor(directory, resume, force, video_every), messages.Monitored)

    def snapshot(self) -> Snapshot:
        """Have the server take a snapshot of the environment.

        Returns:
            The snapshot, for :meth:`restore` and :meth:`branch`. Release it when you no longer need it; as a context
            manager, it releases itself.

        Raises:
            RemoteError: The server refuses: the environment cannot be copied, or has the maximum number of snapshots.
        """
        return Snapshot([self._session], (self._was_reset, self._session.values.has_plain_numbers))

    def restore(self, here: Snapshot) -> None:
        """Return to a snapshot of this environment, which then steps as it did before, with the same random numbers.

        State at the client stays as it is: wrappers, and the random numbers of ``action_space``.

        Args:
            here: The snapshot, which can be restored again.

        Raises:
            RemoteError: The server refuses.
        """
        self._go_on(here.restore([self._session]))

    def branch(self, here: Snapshot) -> RemoteEnv:
        """Make another environment that continues from a snapshot, in its own session and process.

        Args:
            here: A snapshot of this environment, or of one made in the same way.

        Raises:
            RemoteError: The server refuses, or has no free session.
        """
        other = type(self)(here.branched(self._options))
        other._go_on(here.state)
        return other

    def _go_on(self, state: Any) -> None:
        """Adopt the state of a snapshot.

        Args:
            state: The client's state in the snapshot.
        """
        self._was_reset, plain = state
        self._session.values.use_plain_numbers(plain)
        self._own = self._session.values.own

    @property
    def resume_token(self) -> str:
        """The token with which :func:`~gymtwist.client.api.resume` continues this session in another process.

        It stays the same until the environment is closed. Once it has been read, a program that ends without closing
        the environment leaves the session waiting. Keep it secret: anybody with the token and the same identity at the
        server can take over the session.

        Raises:
            RequestRefused: The session ends with its connection, because the environment was made without ``resume``.
        """
        return self._options.resume_token(self._session)

    def detach(self) -> str:
        """Close the connection, but leave the session waiting for :func:`~gymtwist.client.api.resume`.

        Returns:
            The resume token.

        Raises:
            RequestRefused: The session ends with its connection, because the environment was made without ``resume``.
        """
        token = self.resume_token
        leave(self._session.connection)
        return token

    def __del__(self) -> None:
        session = self.__dict__.get("_session")
        if session is not None and not session.connection.leaves_session:  # otherwise it leaves the session waiting
            self.close()

    def close(self) -> None:
        """Close the environment and the connection; closing again does nothing."""
        # There is no session if the constructor failed.
        session = self.__dict__.get("_session")
        if session is not None:
            session.connection.close()

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {name} at {self._session.connection.name}>"
