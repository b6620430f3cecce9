"""A client session with a multi-agent environment: the spaces and values of its agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from gymnasium import spaces

from gymtwist.client.client_errors import IllegalAction, InvalidAction, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.user_values import observation_reader
from gymtwist.protocol import agent_messages, messages
from gymtwist.protocol.agent_rewards import read_reward
from gymtwist.protocol.framing import MAX_OVERHEAD
from gymtwist.spaces import descriptions
from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.gymnasium_spaces import build, value_codec

T = TypeVar("T")
#: The outcome of a reset or a step.
AgentsAfter: TypeAlias = agent_messages.AgentsReset | agent_messages.AgentsStepped
#: The replies that may contain agents' spaces.
_WITH_SPACES = (
    agent_messages.AgentsReset,
    agent_messages.AgentsStepped,
    agent_messages.AgentsObserved,
    agent_messages.AgentsDescribed,
)


class _Space(NamedTuple):
    """A space of agents.

    Attributes:
        space: The space, always the same object, because a user may seed it.
        convert: Reads an observation from a message, or writes an action for one.
    """

    space: spaces.Space[Any]
    convert: Callable[[Any], Any]


class AgentsOwn(NamedTuple):
    """The spaces of an agent, which it may share with other agents.

    Attributes:
        observations: The observation space.
        actions: The action space.
        rewards: The space of rewards that are arrays; None if rewards are numbers.
    """

    observations: _Space
    actions: _Space
    rewards: spaces.Space[Any] | None


class AgentsSession(Session):
    """A session with one multi-agent environment.

    Args:
        connection: A new connection.
        options: How to reach the server, and what to make there.
        api: How the agents act.

    Attributes:
        agents_made: The server's description of the environment.
        state_space: The space of states; None if the environment has none.

    Raises:
        RemoteError: The request cannot be sent; see also :meth:`finish`.
    """

    _made_type = agent_messages.AgentsMade
    agents_made: agent_messages.AgentsMade
    state_space: spaces.Space[Any] | None

    def __init__(self, connection: FrameConnection, options: ConnectOptions, api: messages.AgentApi) -> None:
        super().__init__(connection, options.spoken, max_space_bytes=options.max_space_bytes)
        self._is_json = self._codec.framing.is_json
        self._agents: dict[str, AgentsOwn] = {}
        #: The bytes of an element of each agent's own spaces, and of the state (None).
        self._sizes: dict[str | None, int] = {}
        self._converters: dict[tuple[int, bytes], Callable[[Any], Any]] = {}
        #: The outcome of an interrupted reset or step, until it is taken.
        self._missed: AgentsAfter | None = None
        make = options.make
        self._kwargs, self._id = make.kwargs, make.id
        request = agent_messages.MakeAgents(
            make.id, api, make.kwargs, make.render_mode, token=make.token, report_queue=make.report_queue
        )
        self._or_close(lambda: self.send(request))

    def _understand(self, made: agent_messages.AgentsMade) -> None:
        if made.limits is not None:
            self._most = made.limits.max_frame + MAX_OVERHEAD
        self.agents_made = made
        described = made.state_space
        self._sizes[None] = 0 if described is None else self.read(lambda: descriptions.check(described))
        self.learn(made.spaces)
        self.state_space = None if described is None else self.read(lambda: build(described))

    def _share(self) -> None:
        """Do nothing: the values of agents have no common layout."""

    @property
    def made_id(self) -> str:
        """The id of the requested environment."""
        return self._id

    # Interrupted requests

    def discard(self) -> None:
        """Receive the reply to an interrupted request, because the server reports a change only once."""
        payload = self.connection.receive()
        self.connection.invalidate()
        reply = self._decoded(payload)
        if isinstance(reply, _WITH_SPACES):
            self.learn(reply.spaces)
        if isinstance(reply, AgentsAfter):
            # The reply's spaces are known now; learning them again would create new space objects.
            self._missed = msgspec.structs.replace(reply, spaces={})

    def settle(self) -> None:
        """Wait for the replies to interrupted requests, and discard them.

        Raises:
            RemoteError: A reply does not come.
        """
        while self.connection.due:
            self.discard()

    def missed(self) -> AgentsAfter | None:
        """Return the outcome of the last reset or step if it was interrupted; later calls return None."""
        missed, self._missed = self._missed, None
        return missed

    # Spaces

    def learn(self, news: agent_messages.SpacesOfAgents) -> None:
        """Take agents' spaces from a reply, in place of their previous spaces.

        Raises:
            RequestRefused: The spaces are too large; the connection is closed.
        """
        self._check_sizes(news)
        deadline = math.inf if self.connection.timeout is None else monotonic() + self.connection.timeout
        for name, described in news.items():
            if described is None:
                self._agents.pop(name, None)
            else:
                self._agents[name] = self.read(partial(self._agent_of, described, deadline))

    def _check_sizes(self, news: agent_messages.SpacesOfAgents) -> None:
        for name, each in news.items():
            self._sizes[name] = self.read(partial(_size_of, each))
        size = sum(self._sizes.values())
        if size > self._max_space_bytes:
            error = RequestRefused(
                f"the environment's spaces have elements of {size} bytes in all, and {self._max_space_bytes} are "
                f"allowed; if you trust the server, connect with max_space_bytes={size}",
                code="limit-exceeded",
            )
            self.connection.close(error)
            raise error

    def _agent_of(self, described: agent_messages.AgentSpaces, deadline: float) -> AgentsOwn:
        return AgentsOwn(
            self._space_of(described.observation_space, 0, deadline),
            self._space_of(described.action_space, 1, deadline),
            None if described.reward_space is None else build(described.reward_space, deadline=deadline),
        )

    def _space_of(self, described: Description | str, index: int, deadline: float) -> _Space:
        """Return a space.

        Args:
            described: Its description, or the name of an agent that shares it.
            index: 0 for observations, 1 for actions.
            deadline: The time at which to give up, by ``time.monotonic``.

        Raises:
            ValueError: There is no such space.
        """
        if isinstance(described, str):
            if described not in self._agents:
                raise ValueError(f"an agent shares a space with {described!r:.80}, which has none")
            agent = self._agents[described]
            return agent.actions if index else agent.observations
        space = build(described, deadline=deadline)
        # Agents with equal but separate spaces use the same codec.
        key = index, msgspec.msgpack.encode(described)
        convert = self._converters.get(key)
        if convert is None:
            compile_ = self._action_writer if index else self._observation_reader
            convert = self._converters[key] = compile_(space, described, deadline)
        return _Space(space, convert)

    def _observation_reader(
        self, space: spaces.Space[Any], described: Description, deadline: float
    ) -> Callable[[Any], Any]:
        compiled = partial(
            value_codec, space, name="observation", checked=False, description=described, deadline=deadline
        )
        return observation_reader(compiled(), partial(compiled, owned=True), is_json=self._is_json)

    def _action_writer(self, space: spaces.Space[Any], described: Description, deadline: float) -> Callable[[Any], Any]:
        codec = value_codec(space, name="action", checked=False, exact=True, description=described, deadline=deadline)
        return codec.to_json if self._is_json else codec.pack

    @property
    def has_reward_spaces(self) -> bool:
        """Whether rewards are arrays."""
        return any(agent.rewards is not None for agent in self._agents.values())

    def agent(self, name: str) -> AgentsOwn:
        """Return an agent; ask for its spaces if no reply has contained them.

        Raises:
            RemoteError: The environment does not know the agent; the error is also a KeyError.
        """
        if name not in self._agents:
            self.learn(self.ask(agent_messages.DescribeAgents([name]), agent_messages.AgentsDescribed).spaces)
        return self._agents[name]

    def known_agent(self, name: str) -> AgentsOwn:
        """Return an agent whose spaces a reply has contained.

        Raises:
            KeyError: No reply has contained them.
        """
        found = self._agents.get(name)
        if found is None:
            raise KeyError(f"no reply of the server has had the spaces of an agent {name!r:.80}")
        return found

    def unknown(self, actions: Mapping[str, Any]) -> list[str]:
        """Return the acting agents whose spaces no reply has contained."""
        return [name for name, action in actions.items() if action is not None and name not in self._agents]

    # Values

    def step_request(self, actions: Mapping[str, Any]) -> agent_messages.StepAgents:
        """Return the request for a step of agents whose spaces are known.

        Raises:
            IllegalAction: An action is not in its space.
        """
        return agent_messages.StepAgents({name: self._converted(name, action) for name, action in actions.items()})

    def _converted(self, name: str, action: Any) -> Any:
        """Convert an agent's action for a message; None stays None."""
        if action is None:
            return None
        actions = self._agents[name].actions
        try:
            return actions.convert(action)
        except ValueError as error:
            text = f"the action of {name!r}: {error}; its action space is {actions.space}"
            raise IllegalAction(text[:500]) from error

    def observation(self, name: str, value: Any) -> Any:
        """Read an agent's observation; its arrays are the caller's own."""
        return None if value is None else self.read(partial(self._read, name, value))

    def _read(self, name: str, value: Any) -> Any:
        if name not in self._agents:
            raise ValueError(f"there is an observation of the agent {name!r:.80}, whose spaces no reply has had")
        return self._agents[name].observations.convert(value)

    def observations(self, reply: AgentsAfter) -> dict[str, Any]:
        """Take the spaces from a reply, then return its observations in a new dictionary."""
        self.learn(reply.spaces)
        return {name: self.observation(name, value) for name, value in reply.observations.items()}

    def rewards(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rewards in a reply."""
        return self.read(lambda: {name: read_reward(value) for name, value in values.items()})

    def act(self, actions: Mapping[str, Any]) -> agent_messages.AgentsStepped:
        """Let agents act.

        Raises:
            RemoteError: The step failed.
        """
        for name in self.unknown(actions):
            self.agent(name)
        request = self.step_request(actions)
        try:
            return self.ask(request, agent_messages.AgentsStepped)
        except InvalidAction as error:
            raise IllegalAction(error.message) from error

    def observe(self, agents: list[str]) -> dict[str, Any]:
        """Ask for agents' observations, in encoded form; of several, only those that can be observed."""
        reply = self.ask(agent_messages.ObserveAgents(agents), agent_messages.AgentsObserved)
        self.learn(reply.spaces)
        return reply.observations


def _size_of(spaces_: agent_messages.AgentSpaces | None) -> int:
    """Return the bytes of an element of each of an agent's own spaces, added up.

    Raises:
        ValueError: One of them is not a space.
    """
    if spaces_ is None:
        return 0
    described = (spaces_.observation_space, spaces_.action_space, spaces_.reward_space)
    return sum(descriptions.check(each) for each in described if each is not None and not isinstance(each, str))
