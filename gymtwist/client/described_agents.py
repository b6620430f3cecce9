"""What the blocking and the asyncio client of multi-agent environments share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
from gymnasium import spaces

from gymtwist.client.agents_session import AgentsAfter, AgentsOwn, AgentsSession
from gymtwist.client.agents_window import AgentsWindow
from gymtwist.client.client_errors import ResetNeeded
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.entry_points import WINDOW
from gymtwist.protocol import messages


class DescribedAgents:
    """An environment's agents, as a server describes them.

    Attributes:
        metadata: The environment's metadata.
        render_mode: Its render mode.
        agents: The agents that are present; not set before the first reset.
        possible_agents: All agents that may appear; not set if the environment does not know them.
        state_space: The space of states; not set if the environment has none.
    """

    _api: messages.AgentApi
    _agents: AgentsSession
    _window: AgentsWindow | None = None
    metadata: dict[str, Any]
    render_mode: str | None
    agents: list[str]
    possible_agents: list[str]
    state_space: spaces.Space[Any]

    def _describe(self, session: AgentsSession, options: ConnectOptions, *, waits: bool) -> None:
        """Set the attributes from the server's reply.

        Args:
            session: The session.
            options: What the user asked for; see :func:`served_options`.
            waits: Whether a window may wait until its next frame is due.
        """
        self._agents, made = session, session.agents_made
        self.metadata, self.render_mode = dict(made.metadata), made.render_mode
        if options.make.render_mode == WINDOW:
            self.render_mode, self._window = WINDOW, AgentsWindow(self.metadata, waits=waits)
        if made.possible_agents is not None:
            self.possible_agents = list(made.possible_agents)
        if session.state_space is not None:
            self.state_space = session.state_space

    def _agent(self, name: str) -> AgentsOwn:
        """Return an agent's spaces.

        Raises:
            KeyError: No reply has contained them.
        """
        return self._agents.known_agent(name)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return an agent's observation space: the same object until a reset changes it.

        Raises:
            KeyError: There is no such agent.
        """
        return self._agent(agent).observations.space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the action space of an agent; see :meth:`observation_space`."""
        return self._agent(agent).actions.space

    @property
    def reward_space(self) -> Any:
        """A function that returns the space of an agent's array rewards, as in MOMAland.

        Raises:
            AttributeError: Rewards are numbers.
        """
        if not self._agents.has_reward_spaces:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'reward_space'")
        return self._reward_space

    def _reward_space(self, agent: str) -> spaces.Space[Any]:
        rewards = self._agent(agent).rewards
        if rewards is None:
            raise KeyError(agent)
        return rewards

    def _before(self, purpose: str) -> list[str]:
        """Return the present agents, before a request.

        Raises:
            ResetNeeded: No episode was begun.
        """
        if "agents" not in self.__dict__:
            raise ResetNeeded(f"no episode was begun: reset before {purpose}")
        return self.agents

    def _take(self, reply: AgentsAfter) -> None:
        """Update the agents from a reply."""
        self.agents = reply.agents

    def _close_window(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.close()


class AgentsAtOnce(DescribedAgents):
    """Agents that act at once."""

    _api = "parallel"

    def _begun(self, reply: AgentsAfter) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a reset returns."""
        observations = self._agents.observations(reply)
        self._take(reply)
        return observations, reply.infos

    def _stepped(
        self, reply: AgentsAfter
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Return what a step returns."""
        observations = self._agents.observations(reply)
        self._take(reply)
        rewards = self._agents.rewards(reply.rewards)
        return observations, rewards, reply.terminations, reply.truncations, reply.infos


class AgentsInTurn(DescribedAgents):
    """Agents that take turns.

    Attributes:
        agent_selection: The agent whose turn it is.
        rewards: The rewards of all agents for the last step.
        terminations: Whether the episode of each agent has terminated.
        truncations: Whether the episode of each agent is truncated.
        infos: The infos of all agents.
    """

    _api = "aec"
    agent_selection: str
    rewards: dict[str, Any]
    terminations: dict[str, bool]
    truncations: dict[str, bool]
    infos: dict[str, dict[str, Any]]
    _cumulative_rewards: dict[str, Any]
    #: The observations in the replies so far, in encoded form.
    _observations: dict[str, Any]

    def _take(self, reply: AgentsAfter) -> None:
        session = self._agents
        session.learn(reply.spaces)
        super()._take(reply)
        self._observations = reply.observations
        if reply.selection is not None:
            self.agent_selection = reply.selection
        self.rewards = session.rewards(reply.rewards)
        self._cumulative_rewards = session.rewards(reply.cumulative_rewards)
        self.terminations, self.truncations, self.infos = reply.terminations, reply.truncations, reply.infos

    @property
    def _has_moved(self) -> bool:
        """Whether there is something new to see: if agents could act at once, only after all have acted."""
        takes_turns = not self.metadata.get("is_parallelizable")
        return takes_turns or not self.agents or self.agent_selection == self.agents[0]

    def _unobserved(self, agent: str) -> Iterator[list[str]]:
        """Yield the agents to ask about, one request after another, until an agent's observation is known.

        The last reply contains the observation of the agent whose turn it is; one request asks for all others.
        """
        agents = self._before("observe")
        if agent not in self._observations and agent in agents:
            others = [each for each in agents if each not in self._observations]
            if len(others) > 1:
                yield others
        if agent not in self._observations:
            yield [agent]

    def _observed(self, agent: str) -> Any:
        """Read an agent's observation, anew each time: the arrays are the caller's own."""
        return self._agents.observation(agent, self._observations[agent])


def served_options(options: ConnectOptions) -> ConnectOptions:
    """Return the options for the server, which sends frames for a window at the client."""
    if options.make.render_mode != WINDOW:
        return options
    return dataclasses.replace(options, make=msgspec.structs.replace(options.make, render_mode="rgb_array"))
