"""Environments at a server that step together, whose methods are coroutines."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from gymnasium import logger
from gymnasium.vector import AutoresetMode

from gymtwist.client import batching
from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.aio.async_snapshots import Snapshot
from gymtwist.client.aio.closing import Closing, Connecting
from gymtwist.client.client_errors import RequestRefused
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.group_requests import Wait, Waiting
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import DescribedVectorAttributes
from gymtwist.client.reset_arguments import mask_of, seed_of, seeds_of, values_of, warn_unseeded
from gymtwist.client.session_group import SessionGroup, check_same_spaces
from gymtwist.client.session_requests import Stepped
from gymtwist.client.truncating_group import TruncatingGroup
from gymtwist.protocol import messages

T = TypeVar("T")


class RemoteVectorEnv(DescribedVectorAttributes, Closing):
    """Environments at a server; :func:`~gymtwist.client.aio.connect_vec` makes them.

    One server process holds all of them, or several processes step their shares in parallel. The methods are
    coroutines, and do the same as the methods of :class:`gymtwist.client.RemoteVectorEnv`; see also :class:`RemoteEnv`.

    If a coroutine is cancelled, environments in a single process can still be used, as described for
    :class:`RemoteEnv`. Environments in several processes must be reset after a cancelled request, except ``recv``,
    whose next call returns the step.

    Args:
        options: How the server was reached, and what was made there.
        sessions: Sessions that have received their make replies.

    Attributes:
        num_envs: The number of environments.
        reward_space: The space of each environment's rewards that are arrays; not set if they have none.
    """

    _sessions: list[AsyncSession]

    def __init__(self, options: ConnectOptions, sessions: list[AsyncSession]) -> None:
        self._sessions = sessions
        self._make_options = options.without_origin()
        self.num_envs = options.make.num_envs or 1
        self._describe(sessions[0].session, options.without_origin())
        self._counts = batching.shares(self.num_envs, options.processes)
        blocking = [each.session for each in sessions]
        parts = blocking, self._counts, self.single_action_space, self.single_observation_space
        self._truncating: TruncatingGroup | None = None
        if options.on_failure == "truncate":
            self._truncating = TruncatingGroup(*parts, autoreset_mode=self.autoreset_mode, restart=None)
        autoreset = self.autoreset_mode is not AutoresetMode.DISABLED
        self._group: SessionGroup = self._truncating or SessionGroup(*parts, autoreset=autoreset)
        if options.make.each:
            check_same_spaces(blocking, self._group.starts)
        #: The session if there is only one, so that nothing must be split and joined; otherwise None.
        self._one = sessions[0] if len(sessions) == 1 and self._truncating is None else None

    @classmethod
    async def make(cls, options: ConnectOptions) -> RemoteVectorEnv:
        """Connect and wait for the environments.

        Raises:
            RemoteError: The server cannot be reached, or has no such environments.
        """
        counts = batching.shares(options.make.num_envs or 1, options.processes)
        starts = [sum(counts[:index]) for index in range(len(counts))]
        # The server makes all of them in parallel.
        making = [
            asyncio.ensure_future(AsyncSession.make(options, count, start, branch))
            for count, start, branch in zip(counts, starts, options.branches or [""] * len(counts), strict=True)
        ]
        try:
            return cls(options, await asyncio.gather(*making))
        except BaseException:
            for each in making:
                each.cancel()
            for made in await asyncio.gather(*making, return_exceptions=True):
                if isinstance(made, AsyncSession):
                    made.connection.close()
            raise

    async def _finished(self, waiting: Waiting[T]) -> T:
        """Return the result of a request; this coroutine waits for its replies."""
        self._check_free()
        try:
            while True:
                await self._wait(next(waiting))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            waiting.close()

    async def _wait(self, wait: Wait) -> None:
        """Wait for replies; an ended connection counts as a reply, and receiving it raises the reason."""
        waits = [asyncio.ensure_future(self._sessions[index].replied(int(wait.taken))) for index in wait.indices]
        try:
            while sum(each.done() for each in waits) < wait.least:
                left = [each for each in waits if not each.done()]
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wait_for_all(self, *, taken: bool) -> None:
        count = len(self._sessions)
        await self._wait(Wait(list(range(count)), count, taken))

    def _check_free(self) -> None:
        for each in self._sessions:
            each.connection.check_free()

    async def _restart(self, *, is_reset: bool) -> None:
        """Start new sessions in place of those whose connections have ended."""
        group = self._truncating
        for index in () if group is None else group.lost(is_reset=is_reset):
            share = self._counts[index], group.starts[index] if group else 0
            session = await AsyncSession.make(self._make_options, *share, is_restart=True)
            if group is not None:
                group.replace(index, session.session)
            self._sessions[index] = session

    async def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: One seed, from which each environment gets its own (``seed + index``), or a list with a seed for each.
            options: Options of the environments. ``"reset_mask"``, an array of num_envs bools, selects the environments
                to reset.

        Returns:
            Observations and infos of all environments; environments that were not reset keep their observations.

        Raises:
            RemoteError: The reset failed.
        """
        mask, options = mask_of(options, self.num_envs)
        seeds, one = seeds_of(seed, self.num_envs), self._one
        if one is None:
            await self._restart(is_reset=True)
            return await self._finished(self._group.reset(seeds, options, mask))
        session = one.session
        session.stepping.clear()
        request = messages.Reset(seeds, options, None if mask is None else mask.tolist())
        reply = await one.ask(request, messages.ResetDone)
        warn_unseeded(reply)
        return session.read(lambda: session.values.own(reply.observation)), self._group.infos([reply.info])

    async def verify_seed(self, seed: int | list[int | None]) -> bool:
        """Have the server play the beginning of episodes twice with a seed, then reset with the seed once more.

        Args:
            seed: One seed, or one for each environment, as for :meth:`reset`; the first seeds the actions as well.

        Returns:
            Whether both were the same.

        Raises:
            RemoteError: A reset failed.
        """
        seeds, one = seeds_of(seed, self.num_envs), self._one
        if one is None:
            await self._restart(is_reset=True)
            return await self._finished(self._group.verify_seed(seeds))
        return bool((await one.ask(messages.Reset(seeds, verify_seed=True), messages.ResetDone)).seeded)

    async def step(self, actions: Any) -> Stepped:
        """Take a step in every environment.

        Args:
            actions: A batch of actions.

        Returns:
            Observations; rewards; terminated and truncated, bool of shape (num_envs,); infos.

        Raises:
            RemoteError: The step failed.
        """
        one = self._one
        if one is not None:
            return self._with_infos(await one.step(actions, one.values.own))
        self._check_free()
        for each in self._sessions:
            if each.session.outstanding:
                each.session.check_idle()
        await self._restart(is_reset=False)
        self._group.send(actions)
        try:
            await self._wait_for_all(taken=True)
        except BaseException:
            self._group.lose()
            raise
        return self._group.receive()

    async def async_reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> None:
        """Begin episodes without waiting for the first observations, which :meth:`recv` returns like a step's.

        Args:
            seed: See :meth:`reset`.
            options: See :meth:`reset`.

        Raises:
            RemoteError: The request cannot be sent.
        """
        mask, options = mask_of(options, self.num_envs)
        await self._restart(is_reset=True)
        self._group.send_resets(seeds_of(seed, self.num_envs), options, mask)

    async def send(self, actions: Any, env_ids: Any = None) -> None:
        """Request a step without waiting for its reply, which :meth:`recv` returns.

        Args:
            actions: A batch of actions.
            env_ids: The indices of the environments that the actions are for; None for all. See
                :meth:`gymtwist.client.RemoteVectorEnv.send`.

        Raises:
            RemoteError: The actions are invalid, or a connection is closed.
        """
        await self._restart(is_reset=False)
        if env_ids is not None:
            await self._finished(self._group.send_to(actions, env_ids))
            return
        self._group.check_sending_all()
        if self._one is not None:
            await self._one.send(actions)
            return
        self._group.send(actions)
        for each in self._sessions:
            each.session.outstanding += 1

    async def recv(self, min_ready: int | None = None) -> Stepped:
        """Wait for the first step that was sent but not received; if this is cancelled, the next call returns the step.

        Args:
            min_ready: Wait only until this many environments have finished a step; see
                :meth:`gymtwist.client.RemoteVectorEnv.recv`. None for all.

        Returns:
            What :meth:`step` returns.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        if min_ready is not None or self._group.is_stepping_some:
            return await self._finished(self._group.receive_ready(min_ready))
        if self._one is not None and not self._group.resetting:
            return self._with_infos(await self._one.recv(self._one.values.own))
        self._check_free()
        if all(each.session.outstanding for each in self._sessions):
            await self._wait_for_all(taken=False)
        self._group.take()
        return self._group.receive()

    def _with_infos(self, stepped: Stepped) -> Stepped:
        return (*stepped[:4], self._group.infos([stepped[4]]))

    async def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip; the autoreset mode applies to episodes that end.

        Args:
            actions: One batch per step; or, with ``count``, one batch for all steps.
            count: How often to take that batch.
            observations: Whether to return the last observations or all.

        Raises:
            RemoteError: The steps failed.
        """
        if self._one is None:
            return await self._finished(self._group.step_many(actions, count, observations))
        steps = await self._one.step_many(actions, count, observations)
        return steps._replace(info=self._group.infos([steps.info]))

    async def sample(self, seed: int | None = None) -> Any:
        """Have the server sample an action for every environment.

        Args:
            seed: The seed of the action spaces' random numbers; None to keep their state.
        """
        return await self._finished(self._group.sample(seed_of(seed)))

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
        return await self._finished(self._group.render())

    async def get(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of each environment, or call a method without arguments.

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
            ValueError: The number of values is wrong.
            AttributeUnreachable: The attribute cannot be set.
        """
        await self._finished(self._group.set(name, values_of(values, self.num_envs)))

    async def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of each environment, or read an attribute that is not a method.

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
        return await self._finished(self._group.call(messages.Call(name, list(args), kwargs)))

    async def snapshot(self) -> Snapshot:
        """Have the server take a snapshot of the environments; see :meth:`RemoteEnv.snapshot`.

        Raises:
            RemoteError: The server refuses: the environments cannot be copied, or have the maximum number of snapshots.
        """
        if self._truncating is not None:
            raise RequestRefused('snapshot: on_failure="truncate" makes fresh environments; use "raise"')
        self._check_free()
        return await Snapshot.take(self._sessions, self._group.state())

    async def restore(self, here: Snapshot) -> None:
        """Return to a snapshot of these environments; see :meth:`RemoteEnv.restore`.

        Args:
            here: The snapshot, which can be restored again.

        Raises:
            RemoteError: The server refuses.
        """
        self._check_free()
        self._group.put_back(await here.restore(self._sessions))

    def branch(self, here: Snapshot) -> Connecting[RemoteVectorEnv]:
        """Make other environments that continue from a snapshot, in their own sessions and processes.

        Await it, or use it in ``async with``, which closes the other environments.

        Args:
            here: A snapshot of these environments, or of environments made in the same way.

        Raises:
            RemoteError: The server refuses, or has no free session; when it is awaited.
        """
        return Connecting(lambda: self._branch(here))

    async def _branch(self, here: Snapshot) -> RemoteVectorEnv:
        other = await self.make(here.branched(self._make_options))
        other._group.put_back(here.state)
        return other

    async def __aenter__(self) -> RemoteVectorEnv:
        return self

    def __repr__(self) -> str:
        name = "?" if self.spec is None else self.spec.id
        return f"<{type(self).__name__} {self.num_envs} of {name} at {self._sessions[0].connection.name}>"
