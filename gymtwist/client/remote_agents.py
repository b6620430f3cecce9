"""Multi-agent environments at a server, with the interfaces of PettingZoo; this module imports it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.wrappers import HumanRendering
from pettingzoo.utils.env import AECEnv, ParallelEnv
from pettingzoo.utils.env_logger import EnvLogger

from gymtwist.client.address import Attempts, retried
from gymtwist.client.agents_session import AgentsSession
from gymtwist.client.client_errors import AttributeUnreachable, Closed, RequestRefused, ResetNeeded
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.entry_points import WINDOW
from gymtwist.client.remote_method import RemoteMethod, ask_for_attribute
from gymtwist.client.reset_arguments import seed_of
from gymtwist.protocol import agent_messages, messages

#: What PettingZoo's environments have, or lack at times: it is never looked for at the server.
_OWN = frozenset(
    {
        *("agents", "num_agents", "possible_agents", "max_num_agents", "agent_selection"),
        *("rewards", "terminations", "truncations", "infos"),
        *("state_space", "reward_space", "observation_spaces", "action_spaces", "metadata", "render_mode"),
    }
)


class _Frames(gymnasium.Env[Any, Any]):
    """Frames of a multi-agent environment for Gymnasium's window, which shows one after each step."""

    action_space = observation_space = spaces.Discrete(1)
    render_mode = "rgb_array"

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.frame: Any = None
        self.metadata = {"render_fps": 30, **metadata}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Do nothing."""
        return 0, 0.0, False, False, {}

    def render(self) -> Any:
        """Return the last frame."""
        return self.frame


class _RemoteAgents:
    """What both kinds of environments have in common.

    Args:
        options: How to reach the server and what to make there.

    Attributes:
        metadata: The environment's metadata.
        render_mode: Its render mode.
        possible_agents: All agents that there may be; absent if the environment does not know.
        state_space: The space of states; absent if the environment has none.

    Raises:
        RemoteError: The server cannot be reached, or has no such environment.
    """

    _api: messages.AgentApi
    metadata: dict[str, Any]
    render_mode: str | None
    agents: list[str]
    possible_agents: list[str]
    state_space: spaces.Space[Any]

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._window: HumanRendering[Any, Any] | None = None
        is_human = options.make.render_mode == WINDOW
        if is_human:
            make = msgspec.structs.replace(options.make, render_mode="rgb_array")
            options = dataclasses.replace(options, make=make)
        attempts = options.attempts()
        self._session = session = retried(lambda: self._make(options, attempts), attempts)
        made = session.agents_made
        self.metadata, self.render_mode = dict(made.metadata), made.render_mode
        if is_human:
            self.render_mode, self._frames = WINDOW, _Frames(self.metadata)
            self._window = HumanRendering(self._frames)
        if made.possible_agents is not None:
            self.possible_agents = list(made.possible_agents)
        if session.state_space is not None:
            self.state_space = session.state_space
        self._methods: dict[str, RemoteMethod] = {}
        self._np_random: np.random.Generator | None = None

    def _make(self, options: ConnectOptions, attempts: Attempts) -> AgentsSession:
        session = AgentsSession(options, self._api, attempts)
        session.finish(options.progress)
        return session

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the remote environment that this object does not have.

        Raises:
            AttributeError: It cannot be reached.
        """
        if name == "reward_space" and self._session.has_reward_spaces:
            return self._reward_space
        if name.startswith("_") or name in _OWN:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method = self._methods.get(name)
        if method is not None:
            return method
        try:
            reply = ask_for_attribute(self._session, messages.Get(name), messages.Got)
        except AttributeUnreachable:
            raise
        except (RequestRefused, Closed) as error:
            raise AttributeError(f"remote attribute {name!r}: {error}") from error
        if not reply.callable:
            return reply.value
        method = self._methods[name] = RemoteMethod(self._session, name)
        return method

    @property
    def np_random(self) -> np.random.Generator:
        """Random numbers for wrappers on this side, which ``reset(seed=...)`` seeds; the environment has its own."""
        if self._np_random is None:
            self._np_random, _ = seeding.np_random()
        return self._np_random

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the observation space of an agent: the same object until the environment changes it at a reset.

        Raises:
            KeyError: There is no such agent.
        """
        return self._session.agent(agent).observations.space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the action space of an agent; see :meth:`observation_space`."""
        return self._session.agent(agent).actions.space

    def _reward_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's rewards that are arrays, as MOMAland has it."""
        rewards = self._session.agent(agent).rewards
        if rewards is None:
            raise KeyError(agent)
        return rewards

    def state(self) -> Any:
        """Return the state of the environment, which no agent alone observes.

        Raises:
            NotImplementedError: The environment has none.
        """
        return self._session.ask(agent_messages.GetState(), agent_messages.GotState).state

    def render(self) -> Any:
        """Render the environment.

        Returns:
            An array or text, as the render mode says; None without a render mode, and for "human", which shows a frame
            in a window on this side.
        """
        if self.render_mode is None:
            return None
        frame = self._session.ask(messages.Render(), messages.Rendered).frame
        if self._window is None:
            return frame
        if isinstance(frame, np.ndarray):  # some environments have nothing to show
            self._frames.frame = frame
            self._window.step(0)
        return None

    def close(self) -> None:
        """Close the environment and the connection; closing again does nothing."""
        session = self.__dict__.get("_session")
        if session is not None:
            session.connection.close()
        window = self.__dict__.get("_window")
        if window is not None:
            window.close()

    def _begun(self, seed: int | None, options: dict[str, Any] | None) -> agent_messages.AgentsReset:
        seed = seed_of(seed)
        if seed is not None:
            self._np_random, _ = seeding.np_random(seed)
        return self._session.ask(agent_messages.ResetAgents(seed, options), agent_messages.AgentsReset)

    def _show(self) -> None:
        if self._window is not None:
            self.render()

    def _agents_before(self, purpose: str) -> list[str]:
        if "agents" not in self.__dict__:
            raise ResetNeeded(f"no episode was begun: reset before {purpose}")
        return self.agents

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy connects by itself: two objects cannot share a connection.
        return type(self), (dataclasses.replace(self._options, progress=None),)

    def __deepcopy__(self, memo: dict[int, Any]) -> _RemoteAgents:
        # A TLS context cannot be copied.
        return copy.copy(self)

    def __del__(self) -> None:
        self.close()


class RemoteParallelEnv(_RemoteAgents, ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # it is not typed
    """A multi-agent environment at a server whose agents act at once; ``connect_parallel`` makes it.

    Use it in one thread at a time. An exception of the environment does not end the episode, as in a local one; one of
    a reset does. An error that closes the connection is final.
    """

    _api = "parallel"

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode.

        Returns:
            The observations and the infos of the agents.

        Raises:
            RemoteError: The reset failed.
        """
        reply = self._begun(seed, options)
        observations = self._session.observations(reply)
        self.agents = reply.agents
        self._show()
        return observations, reply.infos

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let all agents that are there act.

        Args:
            actions: The action of each; those of others are ignored.

        Returns:
            The observations, rewards, terminations, truncations and infos of the agents; without agents, five empty
            dictionaries.

        Raises:
            RemoteError: The step failed.
        """
        agents = self._agents_before("step")
        if not agents:
            return {}, {}, {}, {}, {}
        session = self._session
        reply = session.act({agent: actions[agent] for agent in agents if agent in actions})
        observations = session.observations(reply)
        self.agents = reply.agents
        self._show()
        return observations, session.rewards(reply.rewards), reply.terminations, reply.truncations, reply.infos


class RemoteAECEnv(_RemoteAgents, AECEnv[str, Any, Any]):  # type: ignore[misc]  # it is not typed
    """A multi-agent environment at a server whose agents take turns; ``connect_aec`` makes it.

    Each turn is one message. See also :class:`RemoteParallelEnv`.
    """

    _api = "aec"
    agent_selection: str
    rewards: dict[str, Any]
    terminations: dict[str, bool]
    truncations: dict[str, bool]
    infos: dict[str, dict[str, Any]]
    _cumulative_rewards: dict[str, Any]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode.

        Raises:
            RemoteError: The reset failed.
        """
        self._take(self._begun(seed, options))

    def step(self, action: Any) -> None:
        """Let the agent act whose turn it is; one that has ended leaves with the action None.

        Raises:
            RemoteError: The step failed.
        """
        if not self._agents_before("step"):
            EnvLogger.warn_step_after_terminated_truncated()
            return
        self._take(self._session.act({self.agent_selection: action}))

    def _take(self, reply: agent_messages.AgentsReset | agent_messages.AgentsStepped) -> None:
        session = self._session
        session.learn(reply.spaces)
        self._observations = reply.observations
        self.agents = reply.agents
        if reply.selection is not None:
            self.agent_selection = reply.selection
        self.rewards = session.rewards(reply.rewards)
        self._cumulative_rewards = session.rewards(reply.cumulative_rewards)
        self.terminations, self.truncations, self.infos = reply.terminations, reply.truncations, reply.infos
        # Agents that could act at once change what is to be seen when all have acted.
        takes_turns = not self.metadata.get("is_parallelizable")
        if takes_turns or not self.agents or self.agent_selection == self.agents[0]:
            self._show()

    def observe(self, agent: str) -> Any:
        """Return what an agent observes, no matter whose turn it is.

        That of the agent whose turn it is has come with the last reply; those of all others are asked for at once.

        Raises:
            RemoteError: The agent cannot be asked.
        """
        agents = self._agents_before("observe")
        known, session = self._observations, self._session
        if agent not in known and agent in agents:
            others = [each for each in agents if each not in known]
            if len(others) > 1:
                known |= session.observe(others)
        if agent not in known:
            known |= session.observe([agent])
        # Read anew each time: the arrays are the caller's own.
        return session.observation(agent, known[agent])
