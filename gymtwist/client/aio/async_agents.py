"""Multi-agent environments at a server, whose methods are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from gymnasium import logger

from gymtwist.client.agents_session import AgentsSession
from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.aio.awaited_attributes import AsyncAttributes
from gymtwist.client.aio.closing import Closing
from gymtwist.client.client_errors import IllegalAction, InvalidAction
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.described_agents import AgentsAtOnce, AgentsInTurn, DescribedAgents, served_options
from gymtwist.client.reset_arguments import seed_of
from gymtwist.protocol import agent_messages, messages

A = TypeVar("A", bound="AsyncAgents")


class AsyncAgents(DescribedAgents, AsyncAttributes, Closing):
    """What both kinds of environments have in common.

    Args:
        options: How the server was reached, and what was made there.
        session: A session with a multi-agent environment, which has received its make reply.
    """

    def __init__(self, options: ConnectOptions, session: AsyncSession) -> None:
        self._session = session
        self._sessions = [session]
        assert isinstance(session.session, AgentsSession)
        self._describe(session.session, options, waits=False)
        #: When the window may show the next frame, by ``time.monotonic``.
        self._next_frame = 0.0

    @classmethod
    async def make(cls: type[A], options: ConnectOptions) -> A:
        """Connect and wait for the environment.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """
        served = served_options(options)
        return cls(options, await AsyncSession.begin(served, partial(AgentsSession, options=served, api=cls._api)))

    @property
    def num_agents(self) -> int:
        """The number of agents that are present; not set before the first reset."""
        return len(self.agents)

    @property
    def max_num_agents(self) -> int:
        """The number of agents that may appear; not set if the environment does not know it."""
        return len(self.possible_agents)

    async def state(self) -> Any:
        """Return the environment's global state, beyond what any one agent observes.

        Raises:
            NotImplementedError: The environment has none.
        """
        return (await self._session.ask(agent_messages.GetState(), agent_messages.GotState)).state

    async def render(self) -> Any:
        """Render the environment.

        Returns:
            An array or text, depending on the render mode; None without a render mode, and for "human", which shows a
            frame in a window at the client, and lets other coroutines run until the frame is due.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            return None
        frame = (await self._session.ask(messages.Render(), messages.Rendered)).frame
        if self._window is None:
            return frame
        await asyncio.sleep(self._next_frame - monotonic())
        if self._window is not None:  # it may have been closed meanwhile, and showing would reopen it
            self._next_frame = monotonic() + self._window.interval
            self._window.show(frame)
        return None

    async def close(self) -> None:
        """Close the environment and the connection; closing again does nothing."""
        await super().close()
        self._close_window()

    async def _ask_to_begin(self, seed: int | None, options: dict[str, Any] | None) -> agent_messages.AgentsReset:
        request = agent_messages.ResetAgents(seed_of(seed), options)
        await self._settle()
        return await self._session.ask(request, agent_messages.AgentsReset)

    async def _settle(self) -> None:
        """Apply the changes made by cancelled requests."""
        await self._session.settle()
        missed = self._agents.missed()
        if missed is not None:
            self._take(missed)

    async def _act(self, actions: Mapping[str, Any]) -> agent_messages.AgentsStepped:
        agents = self._agents
        if unknown := agents.unknown(actions):
            described = await self._session.ask(agent_messages.DescribeAgents(unknown), agent_messages.AgentsDescribed)
            agents.learn(described.spaces)
        request = agents.step_request(actions)
        try:
            return await self._session.ask(request, agent_messages.AgentsStepped)
        except InvalidAction as error:
            raise IllegalAction(error.message) from error

    async def _show(self) -> None:
        if self._window is not None:
            await self.render()

    async def __aenter__(self: A) -> A:
        return self

    def __repr__(self) -> str:
        name = self.metadata.get("name", self._agents.made_id)
        return f"<{type(self).__name__} {name} at {self._session.connection.name}>"


class RemoteParallelEnv(AgentsAtOnce, AsyncAgents):
    """A multi-agent environment, whose agents act at once; :func:`~gymtwist.client.aio.connect_parallel` makes it.

    Its methods are coroutines, and do the same as the methods of a ``pettingzoo.ParallelEnv``. Only one coroutine at a
    time may wait for its replies.

    As with a local environment, an exception in a step does not end the episode; an exception in a reset does. If a
    coroutine is cancelled, the environment can still be used: the server completes the request, and the next reset or
    step waits until it has done so.
    """

    async def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode.

        Args:
            seed: The seed of the environment's random numbers; None to keep their state.
            options: Options of the environment.

        Returns:
            The observations and the infos of the agents.

        Raises:
            RemoteError: The reset failed.
        """
        begun = self._begun(await self._ask_to_begin(seed, options))
        await self._show()
        return begun

    async def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let all present agents act.

        Args:
            actions: The action of each agent; actions of absent agents are ignored.

        Returns:
            The observations, rewards, terminations, truncations and infos of the agents; five empty dictionaries if no
            agents are present.

        Raises:
            IllegalAction: An action is not in its space.
            RemoteError: The step failed.
        """
        await self._settle()
        agents = self._before("step")
        if not agents:
            return {}, {}, {}, {}, {}
        stepped = self._stepped(await self._act({agent: actions[agent] for agent in agents if agent in actions}))
        await self._show()
        return stepped


class RemoteAECEnv(AgentsInTurn, AsyncAgents):
    """A multi-agent environment, whose agents take turns; :func:`~gymtwist.client.aio.connect_aec` makes it.

    Its methods are coroutines, and do the same as the methods of a ``pettingzoo.AECEnv``; each turn is one message. See
    also :class:`RemoteParallelEnv`. It has PettingZoo's attributes, as of the last reply.
    """

    async def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; see :meth:`RemoteParallelEnv.reset`.

        Raises:
            RemoteError: The reset failed.
        """
        self._take(await self._ask_to_begin(seed, options))
        await self._show_moved()

    async def step(self, action: Any) -> None:
        """Let the agent whose turn it is act; an agent whose episode has ended leaves with the action None.

        Raises:
            IllegalAction: The action is not in its space.
            RemoteError: The step failed.
        """
        await self._settle()
        if not self._before("step"):
            logger.warn("there are no agents left to step: reset to begin another episode")
            return
        self._take(await self._act({self.agent_selection: action}))
        await self._show_moved()

    async def _show_moved(self) -> None:
        if self._has_moved:
            await self._show()

    async def agent_iter(self, max_iter: int = 2**63) -> AsyncIterator[str]:
        """Yield the agent whose turn it is, for a loop that steps each time, until no agents are left.

        Args:
            max_iter: The maximum number of turns.
        """
        for _ in range(max_iter):
            await self._settle()
            if not self._before("agent_iter"):
                return
            yield self.agent_selection

    async def last(self, observe: bool = True) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the results of the agent whose turn it is since it last acted, after any cancelled request.

        Args:
            observe: Whether to return its observation, instead of None.

        Returns:
            The observation, the reward, whether the agent's episode has terminated, whether it was truncated, and the
            info.

        Raises:
            KeyError: No agents are left.
        """
        await self._settle()
        self._before("last")
        agent = self.agent_selection
        observation = await self.observe(agent) if observe else None
        ends = self.terminations[agent], self.truncations[agent]
        return observation, self._cumulative_rewards[agent], *ends, self.infos[agent]

    async def observe(self, agent: str) -> Any:
        """Return an agent's observation, no matter whose turn it is.

        The last reply contains the observation of the agent whose turn it is; one request asks for all others.

        Raises:
            RemoteError: The agent cannot be observed.
        """
        await self._settle()
        for agents in self._unobserved(agent):
            reply = await self._session.ask(agent_messages.ObserveAgents(agents), agent_messages.AgentsObserved)
            self._agents.learn(reply.spaces)
            self._observations |= reply.observations
        return self._observed(agent)
