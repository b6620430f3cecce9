"""Handlers of the requests that concern a multi-agent environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

import gymtwist
from gymtwist.envs import agent_environments
from gymtwist.envs.agent_environments import AgentEnvironment
from gymtwist.errors import EnvironmentFault, GymtwistError, InvalidAction, InvalidField, RequestError
from gymtwist.protocol import agent_messages, make_messages, messages
from gymtwist.protocol.agent_rewards import encoded_reward
from gymtwist.protocol.codec import MessageCodec
from gymtwist.spaces.gymnasium_spaces import are_alike, describe
from gymtwist.spaces.space_codecs import CutReport
from gymtwist.worker.access_policy import AllowList, KwargPolicy
from gymtwist.worker.agents_runner import RUNNERS, AgentsRunner, Turn
from gymtwist.worker.base_handler import BaseHandler, State
from gymtwist.worker.guarded_call import fault_of_value, guarded_call, print_cut
from gymtwist.worker.session_codecs import SpaceCodec
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings


class _Agent(NamedTuple):
    """The spaces of one agent, and their codecs.

    Attributes:
        spaces: The observation space and the action space.
        observations: The codec of observations.
        actions: The codec of actions.
        rewards: The codec of rewards that are arrays. Messages describe only their space.
    """

    spaces: tuple[Any, Any]
    observations: SpaceCodec
    actions: SpaceCodec
    rewards: SpaceCodec | None


class AgentsHandler(BaseHandler[AgentsRunner]):
    """Serves requests with one multi-agent environment; see :class:`~gymtwist.worker.base_handler.BaseHandler`.

    The first reply about an agent has its spaces; after a reset that has changed them, so does the next one.
    """

    _request: agent_messages.MakeAgents
    _found: AgentEnvironment | None

    def __init__(self, codec: MessageCodec, settings: WorkerSettings, status: SessionStatus) -> None:
        super().__init__(codec, settings, status)
        self._is_json = codec.framing.is_json
        #: The agents whose spaces the client knows.
        self._agents: dict[str, _Agent] = {}
        #: The first agent that has a space, by the ``id()`` of the space.
        self._owners: dict[int, str] = {}
        #: The spaces that the next reply will carry.
        self._news: agent_messages.SpacesOfAgents = {}
        #: The codecs by name and description: many agents may have equal spaces.
        self._codecs: dict[tuple[str, bytes], SpaceCodec] = {}
        #: The last turn: the present agents, and the agent whose turn it is.
        self._turn = Turn([], {}, {})
        self.handlers |= {
            agent_messages.ResetAgents: self.reset,
            agent_messages.StepAgents: self.step,
            agent_messages.ObserveAgents: self.observe,
            agent_messages.DescribeAgents: self.describe,
            agent_messages.GetState: self.state_of,
            messages.Render: self.render,
        }

    # Making the environment

    def make(self, request: agent_messages.MakeAgents) -> agent_messages.AgentsMade:
        """Make the environment.

        Raises:
            RequestError: The environment is not available with these options.
            EnvironmentFault: The environment cannot be made.
        """
        with self._status.request():
            self.resume(request)
            try:
                made = self._start()
            except BaseException:
                self.unmake()
                raise
        self.state = State.MADE
        return made

    def resume(self, request: agent_messages.MakeAgents) -> None:
        """Continue the session of a process that has died: the next reset makes the environment again.

        Args:
            request: The message that the environment was made from.
        """
        self._request, self._found = request, None
        self.state = State.BROKEN

    def _start(self) -> agent_messages.AgentsMade:
        """Make the environment, and describe it."""
        request, settings = self._request, self._settings
        with guarded_call(self._status, Operation.MAKE):
            found = self._found = self._found or self._check()
        kwargs = {**request.kwargs}
        if request.render_mode is not None:
            kwargs["render_mode"] = request.render_mode
        runner = self._runner = RUNNERS[request.api](found, kwargs, settings, self._status)
        self._agents, self._owners, self._news = {}, {}, {}
        for agent in runner.possible_agents or ():
            self._agent(agent)
        state_space = runner.attribute("state_space")
        metadata = runner.attribute("metadata")
        return agent_messages.AgentsMade(
            f"gymtwist {gymtwist.__version__}",
            runner.possible_agents,
            self._taken_news(),
            None if state_space is None else self._codec_of(state_space, "state").description,
            dict(metadata) if isinstance(metadata, Mapping) else {},
            runner.attribute("render_mode"),
            make_messages.Limits(settings.limits.idle or None, settings.limits.step or None, settings.max_frame),
        )

    def _check(self) -> AgentEnvironment:
        request, settings = self._request, self._settings
        self._check_asked(request)
        allowed = AllowList(settings.allow)
        allowed.check(request.id)
        found = agent_environments.find(request.id, request.api)
        if not agent_environments.is_same_id(request.id, found.id):
            allowed.check_meant(request.id, found.id)
        KwargPolicy(settings.kwargs, restricted=bool(settings.allow)).check(request.kwargs, {})
        return found

    # Spaces

    def _codec_of(self, space: Any, name: str) -> SpaceCodec:
        with guarded_call(self._status, Operation.SAMPLE):
            key = name, msgspec.msgpack.encode(describe(space, f"{name}_space"))
            codec = self._codecs.get(key)
            if codec is None:
                codec = SpaceCodec(space, name, self._framing, self._request.values, CutReport(print_cut))
                self._codecs[key] = codec
            return codec

    def _agent(self, name: str) -> _Agent:
        """Return an agent; the next reply describes it if it is new.

        Raises:
            EnvironmentFault: The environment does not know the agent.
        """
        agent = self._agents.get(name)
        if agent is None:
            spaces = self._running().spaces(name)
            rewards = self._running().reward_space(name)
            agent = _Agent(
                spaces,
                self._codec_of(spaces[0], "observation"),
                self._codec_of(spaces[1], "action"),
                None if rewards is None else self._codec_of(rewards, "reward"),
            )
            self._agents[name] = agent
            self._news[name] = self._described(name)
        return agent

    def _described(self, name: str) -> agent_messages.AgentSpaces:
        """Describe an agent's spaces for a message; agents that share a space can be seeded through each other."""
        agent = self._agents[name]
        shared = []
        for index, space in enumerate(agent.spaces):
            owner = self._owners.setdefault(id(space), name)
            known = self._agents.get(owner)
            if known is None or known.spaces[index] is not space:
                self._owners[id(space)] = owner = name
            shared.append(None if owner == name else owner)
        observations, actions = agent.observations, agent.actions
        return agent_messages.AgentSpaces(
            shared[0] or observations.description,
            shared[1] or actions.description,
            None if shared[0] else observations.layout,
            None if shared[1] else actions.layout,
            None if agent.rewards is None else agent.rewards.description,
        )

    def _compare_spaces(self) -> None:
        """Describe again the agents whose spaces changed at a reset."""
        runner = self._running()
        for name, agent in list(self._agents.items()):
            spaces = runner.spaces_if_known(name)
            if spaces is None:
                del self._agents[name]
                self._news[name] = None
            elif not all(
                one is other or are_alike(one, other) for one, other in zip(spaces, agent.spaces, strict=True)
            ):
                del self._agents[name]
                self._agent(name)

    def _taken_news(self) -> agent_messages.SpacesOfAgents:
        news, self._news = self._news, {}
        return news

    # Requests

    def locate(self, error: GymtwistError) -> None:
        """Do nothing: there is one environment."""

    def failed(self, fault: EnvironmentFault) -> bool:
        """Record that the environment has failed.

        Returns:
            Whether the environment must be reset. An exception of a step does not end the episode: environments of
            PettingZoo raise it for an action that is against the rules, before they change anything.
        """
        if fault.operation == "reset" and self.state is not State.UNMADE:
            self.state = State.BROKEN
        return self.state is State.BROKEN

    def reset(self, request: agent_messages.ResetAgents) -> agent_messages.AgentsReset:
        """Begin an episode; a broken environment is made again first."""
        with self._status.request():
            if self.state is State.BROKEN:
                self._close_runner()
                self._start()
                # The client may know the spaces of the previous environment.
                self._news = {name: self._described(name) for name in self._agents}
                self.state = State.MADE
            options = None if request.options is None else {**request.options}
            turn = self._running().reset(request.seed, options)
            self._compare_spaces()
            self.state = State.PLAYING
            return agent_messages.AgentsReset(**self._fields("reset", turn))

    def step(self, request: agent_messages.StepAgents) -> agent_messages.AgentsStepped:
        """Let agents act."""
        if self.state is not State.PLAYING:
            raise self._not_now("the next step")
        actions, selection = request.actions, self._turn.selection
        if selection is None:
            # Other agents may be gone by now; their actions are ignored.
            loaded = {name: self._load(name, actions[name]) for name in actions if name in self._turn.agents}
        elif actions.keys() == {selection}:
            loaded = {selection: self._load(selection, actions[selection])}
        else:
            raise InvalidField(f'step_agents: field `actions`: send the action of "{selection}", whose turn it is')
        return agent_messages.AgentsStepped(**self._fields("step", self._running().step(loaded)))

    def _load(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        try:
            return self._agent(name).actions.load(value)
        except InvalidAction as error:
            raise InvalidAction(f'the action of "{name}": {error}') from error

    def _fields(self, operation: str, turn: Turn) -> dict[str, Any]:
        """Return the fields of a reply."""
        self._turn = turn
        if not turn.agents:
            self.state = State.ENDED
        return {
            "observations": self._dumped(operation, turn.observations),
            "agents": turn.agents,
            "selection": turn.selection,
            "rewards": self._rewards(operation, turn.rewards),
            "cumulative_rewards": self._rewards(operation, turn.cumulative_rewards),
            "terminations": turn.terminations,
            "truncations": turn.truncations,
            "infos": turn.infos,
            "spaces": self._taken_news(),
        }

    def _dumped(self, operation: str, observations: Mapping[str, Any]) -> dict[str, Any]:
        dumped = {}
        for name, observation in observations.items():
            agent = self._agent(name)
            try:
                dumped[name] = None if observation is None else agent.observations.dump(observation)
            except BaseException as error:
                raise fault_of_value(operation, error) from error
        return dumped

    def _rewards(self, operation: str, rewards: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {name: encoded_reward(reward, is_json=self._is_json) for name, reward in rewards.items()}
        except Exception as error:
            raise fault_of_value(operation, error) from error

    def observe(self, request: agent_messages.ObserveAgents) -> agent_messages.AgentsObserved:
        """Return the observations of agents."""
        if self._request.api != "aec":
            raise RequestError('observe_agents is for the api "aec": a step of the others has all observations')
        self._check_begun("you observe")
        observations = self._dumped("get", self._running().observe(request.agents))
        return agent_messages.AgentsObserved(observations, self._taken_news())

    def describe(self, request: agent_messages.DescribeAgents) -> agent_messages.AgentsDescribed:
        """Describe the spaces of agents."""
        for name in request.agents:
            self._agent(name)
            self._news[name] = self._described(name)
        return agent_messages.AgentsDescribed(self._taken_news())

    def state_of(self, request: agent_messages.GetState) -> agent_messages.GotState:
        """Return the state of the environment."""
        self._check_begun("you ask for the state")
        return agent_messages.GotState(self._running().state())

    def render(self, request: messages.Render) -> messages.Rendered:
        """Render the environment."""
        if self._running().attribute("render_mode") is None:
            raise RequestError('the environment was made without a render mode: make it with one, such as "rgb_array"')
        self._check_begun("you render")
        return messages.Rendered(self._running().render())

    def _check_begun(self, purpose: str) -> None:
        if self.state not in (State.PLAYING, State.ENDED):
            raise self._not_now(purpose)
