"""Multi-agent environments at a server, with PettingZoo's interfaces; this module imports PettingZoo."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from pettingzoo.utils.env import AECEnv, ParallelEnv
from pettingzoo.utils.env_logger import EnvLogger

from gymtwist.client.address import Attempts, retried
from gymtwist.client.agents_session import AgentsOwn, AgentsSession
from gymtwist.client.client_errors import AttributeUnreachable, Closed, RequestRefused
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.described_agents import AgentsAtOnce, AgentsInTurn, DescribedAgents, served_options
from gymtwist.client.remote_method import RemoteMethod, ask_for_attribute
from gymtwist.client.reset_arguments import seed_of
from gymtwist.protocol import agent_messages, messages

#: Attributes that PettingZoo's environments have, or sometimes lack; they are never looked up at the server.
_OWN = frozenset(
    {
        *("agents", "num_agents", "possible_agents", "max_num_agents", "agent_selection"),
        *("rewards", "terminations", "truncations", "infos"),
        *("state_space", "reward_space", "observation_spaces", "action_spaces", "metadata", "render_mode"),
    }
)


class _RemoteAgents(DescribedAgents):
    """What both kinds of environments have in common.

    Args:
        options: How to reach the server, and what to make there.

    Raises:
        RemoteError: The server cannot be reached, or has no such environment.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        served, attempts = served_options(options), options.attempts()
        self._session = session = retried(lambda: self._make(served, attempts), attempts)
        self._describe(session, options, waits=True)
        self._methods: dict[str, RemoteMethod] = {}
        self._np_random: np.random.Generator | None = None

    def _make(self, options: ConnectOptions, attempts: Attempts) -> AgentsSession:
        session = AgentsSession(options.open_connection(attempts), options, self._api)
        session.finish(options.progress)
        return session

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the remote environment that this object does not have.

        Raises:
            AttributeError: The attribute cannot be reached.
        """
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
        """Random generator for wrappers at the client, seeded by ``reset(seed=...)``; the environment has its own."""
        if self._np_random is None:
            self._np_random, _ = seeding.np_random()
        return self._np_random

    def _agent(self, name: str) -> AgentsOwn:
        return self._session.agent(name)

    def state(self) -> Any:
        """Return the environment's global state, beyond what any one agent observes.

        Raises:
            NotImplementedError: The environment has none.
        """
        return self._session.ask(agent_messages.GetState(), agent_messages.GotState).state

    def render(self) -> Any:
        """Render the environment.

        Returns:
            An array or text, depending on the render mode; None without a render mode, and for "human", which shows a
            frame in a window at the client.
        """
        if self.render_mode is None:
            return None
        frame = self._session.ask(messages.Render(), messages.Rendered).frame
        if self._window is None:
            return frame
        self._window.show(frame)
        return None

    def close(self) -> None:
        """Close the environment and the connection; closing again does nothing."""
        session = self.__dict__.get("_session")
        if session is not None:
            session.connection.close()
        self._close_window()

    def _ask_to_begin(self, seed: int | None, options: dict[str, Any] | None) -> agent_messages.AgentsReset:
        seed = seed_of(seed)
        if seed is not None:
            self._np_random, _ = seeding.np_random(seed)
        self._settle()
        return self._session.ask(agent_messages.ResetAgents(seed, options), agent_messages.AgentsReset)

    def _settle(self) -> None:
        """Apply the changes made by interrupted requests."""
        session = self._session
        session.settle()
        missed = session.missed()
        if missed is not None:
            self._take(missed)

    def _show(self) -> None:
        if self._window is not None:
            self.render()

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy makes its own connection: two objects cannot share one.
        return type(self), (dataclasses.replace(self._options, progress=None),)

    def __deepcopy__(self, memo: dict[int, Any]) -> _RemoteAgents:
        # A TLS context cannot be copied.
        return copy.copy(self)

    def __del__(self) -> None:
        self.close()


class RemoteParallelEnv(_RemoteAgents, AgentsAtOnce, ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # it is not typed
    """A multi-agent environment at a server, whose agents act at once; ``connect_parallel`` makes it.

    Use it in one thread at a time. As with a local environment, an exception in a step does not end the episode; an
    exception in a reset does. An error that closes the connection is final.
    """

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode.

        Returns:
            The observations and the infos of the agents.

        Raises:
            RemoteError: The reset failed.
        """
        begun = self._begun(self._ask_to_begin(seed, options))
        self._show()
        return begun

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let all present agents act.

        Args:
            actions: The action of each agent; actions of absent agents are ignored.

        Returns:
            The observations, rewards, terminations, truncations and infos of the agents; five empty dictionaries if no
            agents are present.

        Raises:
            RemoteError: The step failed.
        """
        self._settle()
        agents = self._before("step")
        if not agents:
            return {}, {}, {}, {}, {}
        stepped = self._stepped(self._session.act({agent: actions[agent] for agent in agents if agent in actions}))
        self._show()
        return stepped


class RemoteAECEnv(_RemoteAgents, AgentsInTurn, AECEnv[str, Any, Any]):  # type: ignore[misc]  # it is not typed
    """A multi-agent environment at a server, whose agents take turns; ``connect_aec`` makes it.

    Each turn is one message. See also :class:`RemoteParallelEnv`.
    """

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode.

        Raises:
            RemoteError: The reset failed.
        """
        self._take(self._ask_to_begin(seed, options))
        self._show_moved()

    def step(self, action: Any) -> None:
        """Let the agent whose turn it is act; an agent whose episode has ended leaves with the action None.

        Raises:
            RemoteError: The step failed.
        """
        self._settle()
        if not self._before("step"):
            EnvLogger.warn_step_after_terminated_truncated()
            return
        self._take(self._session.act({self.agent_selection: action}))
        self._show_moved()

    def _show_moved(self) -> None:
        if self._has_moved:
            self._show()

    def agent_iter(self, max_iter: int = 2**63) -> Iterator[str]:
        """Yield the agent whose turn it is, for a loop that steps each time, until no agents are left.

        Args:
            max_iter: The maximum number of turns.
        """
        for _ in range(max_iter):
            self._settle()
            if not self.agents:
                return
            yield self.agent_selection

    def last(self, observe: bool = True) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return the results of the agent whose turn it is since it last acted; see PettingZoo's ``AECEnv.last``.

        Raises:
            RemoteError: The reply to an interrupted request does not come.
        """
        self._settle()  # whose turn it is may not be known yet
        last: tuple[Any, Any, bool, bool, dict[str, Any]] = super().last(observe)
        return last

    def observe(self, agent: str) -> Any:
        """Return an agent's observation, no matter whose turn it is.

        The last reply contains the observation of the agent whose turn it is; one request asks for all others.

        Raises:
            RemoteError: The agent cannot be observed.
        """
        self._settle()
        for agents in self._unobserved(agent):
            self._observations |= self._session.observe(agents)
        return self._observed(agent)
