"""A single environment at a server, whose methods are coroutines."""

from __future__ import annotations

from typing import Any, SupportsFloat

from gymnasium import logger

from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.aio.closing import Closing
from gymtwist.client.client_errors import AttributeUnreachable
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import DescribedAttributes
from gymtwist.client.reset_arguments import seed_of, warn_unseeded
from gymtwist.protocol import messages


class RemoteEnv(DescribedAttributes, Closing):
    """An environment at a server; :func:`~gymtwist.client.aio.connect` makes it.

    Its methods are coroutines. They do what those of :class:`gymtwist.client.RemoteEnv` do, and raise the same errors;
    its spaces, ``spec``, ``metadata`` and ``render_mode`` are the same. One coroutine at a time may wait for a reply of
    it; any number can use environments of their own in the same event loop.

    If a coroutine is cancelled, by ``asyncio.timeout`` for instance, the environment can still be used: the server does
    what it was asked to, and its reply is discarded.

    Args:
        options: How the server was reached and what was made there.
        session: A session that has its make reply.

    Attributes:
        reward_space: The space of rewards that are arrays, as MO-Gymnasium has it; only if the environment has one.
    """

    def __init__(self, options: ConnectOptions, session: AsyncSession) -> None:
        self._session = session
        self._sessions = [session]
        self._set_attributes(session.session, options)
        self._own = session.values.own
        self._was_reset = False

    @classmethod
    async def make(cls, options: ConnectOptions) -> RemoteEnv:
        """Connect and wait for the environment.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """
        return cls(options, await AsyncSession.make(options))

    async def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: The seed of the environment's random numbers; None to keep their state.
            options: Options of the environment.

        Returns:
            The first observation and the info.

        Raises:
            RemoteError: The reset failed.
        """
        reply = await self._reset(messages.Reset(seed_of(seed), options))
        warn_unseeded(reply)
        return self._session.session.read(lambda: self._own(reply.observation)), reply.info

    async def _reset(self, request: messages.Reset) -> messages.ResetDone:
        reply = await self._session.ask(request, messages.ResetDone)
        self._was_reset = True
        values = self._session.values
        values.use_plain_numbers(reply.plain_numbers)
        self._own = values.own
        return reply

    async def verify_seed(self, seed: int) -> bool:
        """Let the server play the beginning of an episode twice with a seed, then reset with it once more.

        Args:
            seed: The seed of the environment's random numbers, and of the actions.

        Returns:
            Whether both were the same.

        Raises:
            RemoteError: A reset failed.
        """
        return bool((await self._reset(messages.Reset(seed_of(seed), verify_seed=True))).seeded)

    async def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step.

        Args:
            action: An action of the action space.

        Returns:
            The observation, the reward, whether the episode has terminated, whether it is truncated, and the info.

        Raises:
            RemoteError: The step failed.
        """
        return await self._session.step(action, self._own)

    async def send(self, action: Any) -> None:
        """Request a step without waiting for its reply; :meth:`recv` returns that.

        Args:
            action: An action of the action space.

        Raises:
            RemoteError: The action is invalid, or the connection is closed.
        """
        await self._session.send(action)

    async def recv(self) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Wait for the first step that was sent and not received; if it is cancelled, the next call returns that step.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        return await self._session.recv(self._own)

    async def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip; they stop at the end of the episode.

        Args:
            actions: One action per step; or with ``count`` one action for all steps.
            count: How often to take that action.
            observations: Whether to return the last observation or all.

        Raises:
            RemoteError: The steps failed.
        """
        return await self._session.step_many(actions, count, observations)

    async def sample(self, seed: int | None = None) -> Any:
        """Let the server sample an action.

        Args:
            seed: The seed of the action space's random numbers; None to keep their state.
        """
        reply = await self._session.ask(messages.Sample(seed_of(seed)), messages.Sampled)
        return self._session.session.read(lambda: self._session.values.action(reply.action))

    async def render(self) -> Any:
        """Render the environment.

        Returns:
            As the render mode says: an array, text, or a list of them; None without a render mode.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect(..., render_mode="rgb_array")')
            return None
        return (await self._session.ask(messages.Render(before_reset=not self._was_reset), messages.Rendered)).frame

    async def get(self, name: str, *, as_text: bool = False) -> Any:
        """Read an attribute of the environment, or of one of its wrappers at the server.

        Args:
            name: The attribute's name.
            as_text: Whether to return its ``repr``, for objects that cannot be sent.

        Raises:
            AttributeUnreachable: There is no such attribute, its value cannot be sent, it is a method, or the operator
                does not allow it.
        """
        reply = await self._session.ask_for_attribute(messages.Get(name, as_text), messages.Got)
        if reply.callable:
            raise AttributeUnreachable(f"{name!r} is a method: await call({name!r})", code="unsendable-value")
        return reply.value

    async def set(self, name: str, value: Any) -> None:
        """Set an attribute that the environment, or one of its wrappers at the server, has.

        Args:
            name: The attribute's name.
            value: The new value.

        Raises:
            AttributeUnreachable: The attribute cannot be set.
        """
        await self._session.ask_for_attribute(messages.Set(name, value), messages.AttributeSet)

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the environment, or of one of its wrappers at the server.

        Args:
            name: The method's name.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What the method returned.

        Raises:
            AttributeUnreachable: There is no such method, or the operator does not allow it.
            EnvironmentFailed: The method raised an exception.
        """
        return (await self._session.ask_for_attribute(messages.Call(name, list(args), kwargs), messages.Called)).value

    async def __aenter__(self) -> RemoteEnv:
        return self

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {name} at {self._session.connection.name}>"
