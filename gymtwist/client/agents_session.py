"""A client session with a multi-agent environment: the spaces and values of its agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import msgspec
from gymnasium import spaces

from gymtwist.client.client_errors import IllegalAction, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.user_values import observation_reader
from gymtwist.protocol import messages
from gymtwist.protocol.agent_rewards import read_reward
from gymtwist.protocol.framing import MAX_OVERHEAD, Framing
from gymtwist.spaces import descriptions
from gymtwist.spaces.gymnasium_spaces import build, value_codec

T = TypeVar("T")


class _Codecs(NamedTuple):
    """What converts the values of agents with equal spaces."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


class _Agent(NamedTuple):
    """An agent.

    Attributes:
        observation_space: Its observation space, always the same object: a user may seed it.
        action_space: Its action space, likewise.
        codecs: What converts its values.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    codecs: _Codecs


class AgentsSession(Session):
    """A session with one multi-agent environment.

    Args:
        options: How to reach the server and what to make there.
        api: How the agents act.

    Attributes:
        agents_made: The server's description of the environment.
        state_space: The space of states; None if the environment has none.

    Raises:
        RemoteError: The server cannot be reached; see also :meth:`finish`.
    """

    _made_type = messages.AgentsMade
    agents_made: messages.AgentsMade
    state_space: spaces.Space[Any] | None

    def __init__(self, options: ConnectOptions, api: messages.AgentApi) -> None:
        super().__init__(options.open_connection(), options.protocol, max_space_bytes=options.max_space_bytes)
        self._is_json = self._codec.framing is Framing.NETSTRING
        self._agents: dict[str, _Agent] = {}
        self._codecs: dict[bytes, _Codecs] = {}
        self._sizes: dict[str, int] = {}
        make = options.make
        self._kwargs, self._id = make.kwargs, make.id
        request = messages.MakeAgents(
            make.id, api, make.kwargs, make.render_mode, token=make.token, report_queue=make.report_queue
        )
        self._or_close(lambda: self.send(request))

    def _understand(self, made: messages.AgentsMade) -> None:  # type: ignore[override]  # see _made_type
        if made.limits is not None:
            self._most = made.limits.max_frame + MAX_OVERHEAD
        self.agents_made = made
        self.learn(made.spaces)
        described = made.state_space
        self.state_space = None if described is None else self.read(lambda: build(described))

    def _share(self) -> None:
        """Do nothing: the values of agents have no common layout."""

    @property
    def made_id(self) -> str:
        """The id of the environment that was asked for."""
        return self._id

    # Spaces

    def learn(self, news: messages.SpacesOfAgents) -> None:
        """Take the spaces of agents from a reply; they replace those that an agent had before."""
        if not news:
            return
        deadline = math.inf if self.connection.timeout is None else monotonic() + self.connection.timeout
        for name, described in news.items():
            self._agents.pop(name, None)
            self._sizes.pop(name, None)
            if described is not None:
                self._agents[name] = self.read(partial(self._agent_of, name, described, deadline))

    def _agent_of(self, name: str, described: messages.AgentSpaces, deadline: float) -> _Agent:
        both = described.observation_space, described.action_space
        self._sizes[name] = sum(map(descriptions.check, both))
        size = sum(self._sizes.values())
        if size > self._max_space_bytes:
            raise RequestRefused(
                f"the spaces of the agents have elements of {size} bytes in all, and {self._max_space_bytes} are "
                f"allowed; if you trust the server, connect with max_space_bytes={size}",
                code="limit-exceeded",
            )
        observation_space, action_space = (build(each, deadline=deadline) for each in both)
        key = msgspec.msgpack.encode(both)
        codecs = self._codecs.get(key)
        if codecs is None:
            compiled = partial(
                value_codec,
                observation_space,
                name="observation",
                checked=False,
                description=described.observation_space,
                deadline=deadline,
            )
            actions = value_codec(
                action_space,
                name="action",
                checked=False,
                exact=True,
                description=described.action_space,
                deadline=deadline,
            )
            read = observation_reader(compiled(), partial(compiled, owned=True), is_json=self._is_json)
            codecs = self._codecs[key] = _Codecs(read, actions.to_json if self._is_json else actions.pack)
        return _Agent(observation_space, action_space, codecs)

    def agent(self, name: str) -> _Agent:
        """Return an agent, whose spaces are asked for if no reply has had them.

        Raises:
            RemoteError: The environment does not know it; then this is a KeyError, too.
        """
        found = self._agents.get(name)
        if found is None:
            self.learn(self.ask(messages.DescribeAgents([name]), messages.AgentsDescribed).spaces)
            found = self._agents.get(name)
        if found is None:
            raise KeyError(name)
        return found

    # Values

    def written(self, name: str, action: Any) -> Any:
        """Convert the action of an agent for a message; None stays None.

        Raises:
            IllegalAction: It is not in the action space.
        """
        if action is None:
            return None
        agent = self.agent(name)
        try:
            return agent.codecs.write(action)
        except ValueError as error:
            text = f"the action of {name!r}: {error}; its action space is {agent.action_space}"
            raise IllegalAction(text[:500]) from error

    def observation(self, name: str, value: Any) -> Any:
        """Read an observation of an agent, whose arrays are the caller's own."""
        return None if value is None else self.read(partial(self.agent(name).codecs.read, value))

    def observations(self, reply: messages.AgentsReset | messages.AgentsStepped) -> dict[str, Any]:
        """Take the spaces from a reply, then its observations, in a new dictionary."""
        self.learn(reply.spaces)
        return {name: self.observation(name, value) for name, value in reply.observations.items()}

    def rewards(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take the rewards from a reply."""
        return self.read(lambda: {name: read_reward(value) for name, value in values.items()})

    def act(self, actions: Mapping[str, Any]) -> messages.AgentsStepped:
        """Let agents act.

        Raises:
            RemoteError: The step failed.
        """
        written = {name: self.written(name, action) for name, action in actions.items()}
        return self.ask(messages.StepAgents(written), messages.AgentsStepped)

    def observe(self, agents: list[str]) -> dict[str, Any]:
        """Ask for what agents observe, unread; of several, it is that of those who can be asked."""
        reply = self.ask(messages.ObserveAgents(agents), messages.AgentsObserved)
        self.learn(reply.spaces)
        return reply.observations
