"""Environments at a server that step together, and whose methods are coroutines."""

from __future__ import annotations

from typing import Any

from gymnasium import logger

from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.aio.closing import Closing
from gymtwist.client.client_session import Stepped
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import DescribedVectorAttributes
from gymtwist.client.reset_arguments import mask_of, seed_of, seeds_of, values_of, warn_unseeded
from gymtwist.client.session_group import SessionGroup, frames_of, listed
from gymtwist.protocol import messages


class RemoteVectorEnv(DescribedVectorAttributes, Closing):
    """Environments at a server; :func:`~gymtwist.client.aio.connect_vec` makes them.

    One process of the server holds them. Its methods are coroutines, which do what those of
    :class:`gymtwist.client.RemoteVectorEnv` do; see also :class:`RemoteEnv`.

    Args:
        options: How the server was reached and what was made there.
        session: A session that has its make reply.

    Attributes:
        num_envs: The number of environments.
        reward_space: The space of each environment's rewards that are arrays; only if they have one.
    """

    def __init__(self, options: ConnectOptions, session: AsyncSession) -> None:
        self._session = session
        self._sessions = [session]
        self.num_envs = options.make.num_envs or 1
        self._describe(session.session, options)
        self._group = SessionGroup(
            [session.session], [self.num_envs], self.single_action_space, self.single_observation_space, autoreset=True
        )

    @classmethod
    async def make(cls, options: ConnectOptions) -> RemoteVectorEnv:
        """Connect and wait for the environments.

        Raises:
            RemoteError: The server cannot be reached, or has no such environments.
        """
        session = await AsyncSession.make(options, options.make.num_envs)
        try:
            return cls(options, session)
        except BaseException:
            session.connection.close()
            raise

    async def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: One seed, from which each environment gets its own (``seed + index``), or a list with one for each.
            options: Options of the environments. ``"reset_mask"``, an array of num_envs bools, selects those to reset.

        Returns:
            Observations and infos of all environments; those that were not reset keep their observations.

        Raises:
            RemoteError: The reset failed.
        """
        mask, options = mask_of(options, self.num_envs)
        request = messages.Reset(seeds_of(seed, self.num_envs), options, None if mask is None else mask.tolist())
        reply = await self._session.ask(request, messages.ResetDone)
        warn_unseeded(reply)
        session = self._session.session
        return session.read(lambda: session.values.own(reply.observation)), self._group.infos([reply.info])

    async def verify_seed(self, seed: int | list[int | None]) -> bool:
        """Let the server play the beginning of episodes twice with a seed, then reset with it once more.

        Args:
            seed: One seed, or one for each environment, as for :meth:`reset`; the first seeds the actions as well.

        Returns:
            Whether both were the same.

        Raises:
            RemoteError: A reset failed.
        """
        request = messages.Reset(seeds_of(seed, self.num_envs), verify_seed=True)
        return bool((await self._session.ask(request, messages.ResetDone)).seeded)

    async def step(self, actions: Any) -> Stepped:
        """Take a step in every environment.

        Args:
            actions: A batch of actions.

        Returns:
            Observations; rewards; terminated and truncated, bool of shape (num_envs,); infos.

        Raises:
            RemoteError: The step failed.
        """
        return self._with_infos(await self._session.step(actions, self._session.values.own))

    async def send(self, actions: Any) -> None:
        """Request a step without waiting for its reply; :meth:`recv` returns that.

        Args:
            actions: A batch of actions.

        Raises:
            RemoteError: The actions are invalid, or the connection is closed.
        """
        await self._session.send(actions)

    async def recv(self) -> Stepped:
        """Wait for the first step that was sent and not received; if it is cancelled, the next call returns that step.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        return self._with_infos(await self._session.recv(self._session.values.own))

    def _with_infos(self, stepped: Stepped) -> Stepped:
        return (*stepped[:4], self._group.infos([stepped[4]]))

    async def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip; the autoreset mode applies to episodes that end.

        Args:
            actions: One batch per step; or with ``count`` one batch for all steps.
            count: How often to take that batch.
            observations: Whether to return the last observations or all.

        Raises:
            RemoteError: The steps failed.
        """
        steps = await self._session.step_many(actions, count, observations)
        return steps._replace(info=self._group.infos([steps.info]))

    async def sample(self, seed: int | None = None) -> Any:
        """Let the server sample an action for every environment.

        Args:
            seed: The seed of the action spaces' random numbers; None to keep their state.
        """
        reply = await self._session.ask(messages.Sample(seed_of(seed)), messages.Sampled)
        return self._session.session.read(lambda: self._session.values.action(reply.action))

    async def render(self) -> tuple[Any, ...] | None:
        """Render the environments.

        Returns:
            The frame of each environment; None without a render mode.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect_vec(..., render_mode="rgb_array")')
            return None
        reply = await self._session.ask(messages.Render(), messages.Rendered)
        return tuple(self._session.session.read(lambda: frames_of(reply)))

    async def get(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of each environment; a method is called without arguments.

        Args:
            name: The name of the attribute.

        Raises:
            AttributeUnreachable: There is no such attribute, its value cannot be sent, or the operator does not allow
                it.
        """
        return await self.call(name)

    async def set(self, name: str, values: Any) -> None:
        """Set an attribute that each environment has.

        Args:
            name: The name of the attribute.
            values: A list or tuple with a value for each environment, or one value for all.

        Raises:
            ValueError: There is another number of values.
            AttributeUnreachable: The attribute cannot be set.
        """
        request = messages.Set(name, values_of(values, self.num_envs))
        await self._session.ask_for_attribute(request, messages.AttributeSet)

    async def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of each environment; an attribute that is none is read.

        Args:
            name: The name of the method.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What each of the environments returned.

        Raises:
            AttributeUnreachable: There is no such method, or the operator does not allow it.
            EnvironmentFailed: The method of an environment raised an exception.
        """
        reply = await self._session.ask_for_attribute(messages.Call(name, list(args), kwargs), messages.Called)
        return tuple(self._session.session.read(lambda: listed(reply.value, self.num_envs)))

    async def __aenter__(self) -> RemoteVectorEnv:
        return self

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {self.num_envs} of {name} at {self._session.connection.name}>"
