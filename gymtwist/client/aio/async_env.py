"""A single environment at a server, whose methods are coroutines."""

from __future__ import annotations

from typing import Any, SupportsFloat

from gymnasium import logger

from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.aio.async_snapshots import Snapshot
from gymtwist.client.aio.awaited_attributes import AsyncAttributes
from gymtwist.client.aio.closing import Closing, Connecting
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import DescribedAttributes
from gymtwist.client.reset_arguments import seed_of, warn_unseeded
from gymtwist.client.resumable_connection import leave
from gymtwist.protocol import messages


class RemoteEnv(DescribedAttributes, AsyncAttributes, Closing):
    """An environment at a server; :func:`~gymtwist.client.aio.connect` makes it.

    Its methods are coroutines. They do the same as the methods of :class:`gymtwist.client.RemoteEnv`, and raise the
    same errors; its spaces, ``spec``, ``metadata`` and ``render_mode`` are the same, too. Only one coroutine at a time
    may wait for its replies; any number of coroutines can use their own environments in the same event loop.

    If a coroutine is cancelled, for example by ``asyncio.timeout``, the environment can still be used: the server
    completes the request, and its reply is discarded.

    Args:
        options: How the server was reached, and what was made there.
        session: A session that has received its make reply.

    Attributes:
        reward_space: The space of rewards that are arrays, as in MO-Gymnasium; not set if the environment has none.
    """

    def __init__(self, options: ConnectOptions, session: AsyncSession) -> None:
        self._session = session
        self._sessions = [session]
        self._set_attributes(session.session, options.without_origin())
        self._was_reset = bool(options.stored)
        #: See :class:`gymtwist.client.RemoteEnv`.
        self.resumed = session.session.last_step() if options.stored else None
        self._own = session.values.own

    @classmethod
    async def make(cls, options: ConnectOptions) -> RemoteEnv:
        """Connect and wait for the environment.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """
        (branch,) = options.branches or ("",)
        return cls(options, await AsyncSession.make(options, branch=branch))

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
        """Have the server play the beginning of an episode twice with a seed, then reset with the seed once more.

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
            The observation, the reward, whether the episode has terminated, whether it was truncated, and the info.

        Raises:
            RemoteError: The step failed.
        """
        return await self._session.step(action, self._own)

    async def send(self, action: Any) -> None:
        """Request a step without waiting for its reply, which :meth:`recv` returns.

        Args:
            action: An action of the action space.

        Raises:
            RemoteError: The action is invalid, or the connection is closed.
        """
        await self._session.send(action)

    async def recv(self) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Wait for the first step that was sent but not received; if this is cancelled, the next call returns the step.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        return await self._session.recv(self._own)

    async def step_many(
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
        return await self._session.step_many(actions, count, observations)

    async def sample(self, seed: int | None = None) -> Any:
        """Have the server sample an action.

        Args:
            seed: The seed of the action space's random numbers; None to keep their state.
        """
        reply = await self._session.ask(messages.Sample(seed_of(seed)), messages.Sampled)
        return self._session.session.read(lambda: self._session.values.action(reply.action))

    async def render(self) -> Any:
        """Render the environment.

        Returns:
            An array, text, or a list of them, depending on the render mode; None without a render mode.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect(..., render_mode="rgb_array")')
            return None
        return (await self._session.ask(messages.Render(before_reset=not self._was_reset), messages.Rendered)).frame

    async def snapshot(self) -> Snapshot:
        """Have the server take a snapshot of the environment.

        Returns:
            The snapshot, for :meth:`restore` and :meth:`branch`. Release it when you no longer need it; as an
            asynchronous context manager, it releases itself.

        Raises:
            RemoteError: The server refuses: the environment cannot be copied, or has the maximum number of snapshots.
        """
        return await Snapshot.take([self._session], (self._was_reset, self._session.values.has_plain_numbers))

    async def restore(self, here: Snapshot) -> None:
        """Return to a snapshot of this environment, which then steps as it did before, with the same random numbers.

        Args:
            here: The snapshot, which can be restored again.

        Raises:
            RemoteError: The server refuses.
        """
        self._go_on(await here.restore([self._session]))

    def branch(self, here: Snapshot) -> Connecting[RemoteEnv]:
        """Make another environment that continues from a snapshot, in its own session and process.

        Await it, or use it in ``async with``, which closes the other environment.

        Args:
            here: A snapshot of this environment, or of one made in the same way.

        Raises:
            RemoteError: The server refuses, or has no free session; when it is awaited.
        """
        return Connecting(lambda: self._branch(here))

    async def _branch(self, here: Snapshot) -> RemoteEnv:
        other = await type(self).make(here.branched(self._options))
        other._go_on(here.state)
        return other

    def _go_on(self, state: Any) -> None:
        """Adopt the client's state in a snapshot."""
        self._was_reset, plain = state
        self._session.values.use_plain_numbers(plain)
        self._own = self._session.values.own

    @property
    def resume_token(self) -> str:
        """See :attr:`gymtwist.client.RemoteEnv.resume_token`; :func:`~gymtwist.client.aio.resume` takes it."""
        return self._options.resume_token(self._session.session)

    async def detach(self) -> str:
        """Close the connection, but leave the session waiting for :func:`~gymtwist.client.aio.resume`.

        Returns:
            The resume token.

        Raises:
            RequestRefused: The session ends with its connection, because the environment was made without ``resume``.
        """
        token = self.resume_token
        leave(self._session.connection)
        await self._session.connection.wait_closed()
        return token

    async def __aenter__(self) -> RemoteEnv:
        return self

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {name} at {self._session.connection.name}>"
