"""The messages of the framed protocol for PettingZoo's multi-agent environments."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from gymtwist.protocol.make_messages import Limits, Resumable
from gymtwist.protocol.messages import (
    MAX_ID,
    MAX_TOKEN,
    VERSION,
    AgentApi,
    Message,
    Name,
    Omitted,
    ResumeSeconds,
    Seed,
    Short,
    ValueForm,
    Warnings,
)
from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.layout import Layout

#: The maximum number of agents that one request names.
MAX_AGENTS = 10_000


class MakeAgents(Message, frozen=True, tag="make_agents", forbid_unknown_fields=True):
    """Make a PettingZoo environment; may be the first request of a connection.

    Attributes:
        id: The environment's id, as registered by PettingZoo, or ``module:name``.
        api: How its agents act.
        kwargs: The keyword arguments of the environment.
        render_mode: The render mode; see PettingZoo.
        values: The form of values in JSON.
        token: The token that the server's operator requires, if any.
        version: The client's version of the protocol.
        report_queue: Whether to send :class:`Queued` while the client waits for a session.
        resume: As in :class:`~gymtwist.protocol.make_messages.Make`.
    """

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    api: AgentApi
    kwargs: dict[str, Any] = {}
    render_mode: Short | None = None
    values: ValueForm = "nested"
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None
    version: Annotated[int, Meta(ge=1)] = VERSION
    report_queue: bool = False
    resume: ResumeSeconds | None = None


class ResetAgents(Message, frozen=True, tag="reset_agents", forbid_unknown_fields=True):
    """Begin an episode of a multi-agent environment.

    Attributes:
        seed: The seed.
        options: Options of the environment.
    """

    seed: Seed | None = None
    options: dict[str, Any] | None = None


class StepAgents(Message, frozen=True, tag="step_agents", forbid_unknown_fields=True):
    """Let agents act: all that are alive in a parallel environment, or the one whose turn it is.

    Attributes:
        actions: The action of each agent, or None for no action.
    """

    actions: dict[str, Any]


class ObserveAgents(Message, frozen=True, tag="observe_agents", forbid_unknown_fields=True):
    """Ask for agents' observations, no matter whose turn it is."""

    agents: Annotated[list[Name], Meta(min_length=1, max_length=MAX_AGENTS)]


class DescribeAgents(Message, frozen=True, tag="describe_agents", forbid_unknown_fields=True):
    """Ask for the spaces of agents that no reply has contained."""

    agents: Annotated[list[Name], Meta(min_length=1, max_length=MAX_AGENTS)]


class GetState(Message, frozen=True, tag="state", forbid_unknown_fields=True):
    """Ask for the global state of a multi-agent environment, beyond what any one agent observes."""


class AgentSpaces(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The spaces of one agent.

    Attributes:
        observation_space: The description of the observation space, or the name of an agent that shares the space.
        action_space: Likewise for the action space.
        observation_layout: The layout of the observations' bytes; None if they are structured values.
        action_layout: Likewise for actions.
        reward_space: The description of the space of rewards that are arrays; None if they are numbers.
    """

    observation_space: Description | str
    action_space: Description | str
    observation_layout: Layout | None = None
    action_layout: Layout | None = None
    reward_space: Description | None = None


#: The spaces of agents; None for an agent that no longer has any.
SpacesOfAgents: TypeAlias = dict[str, AgentSpaces | None]


class AgentsMade(Message, frozen=True, tag="make_agents"):
    """The reply to :class:`MakeAgents`.

    Attributes:
        server: The server's name and version.
        possible_agents: All agents that may appear; None if the environment does not know them.
        spaces: The spaces of the possible agents.
        state_space: The description of the space of states; None if the environment has none.
        metadata: The environment's metadata.
        render_mode: The environment's render mode.
        limits: The server's limits.
        version: The server's version of the protocol.
        omitted: The places of values omitted from the metadata.
        resume: As in :class:`~gymtwist.protocol.make_messages.Made`.
        warnings: What the client should know about its request.
    """

    server: str
    possible_agents: list[str] | None = None
    spaces: SpacesOfAgents = {}
    state_space: Description | None = None
    metadata: dict[str, Any] = {}
    render_mode: str | None = None
    limits: Limits | None = None
    version: int = VERSION
    omitted: Omitted = ()
    resume: Resumable | None = None
    warnings: Warnings = ()


class _Agents(Message, frozen=True):
    """The outcome of a reset or a step of a multi-agent environment.

    Attributes:
        observations: The observations of all agents in a parallel environment, otherwise of the agent whose turn it is.
        agents: The agents that are alive, or have ended but not left yet.
        selection: The agent whose turn it is; None in a parallel environment.
        rewards: The reward of each agent: a number, or an object that names a type.
        cumulative_rewards: The sum of each agent's rewards since it last acted, if agents take turns.
        terminations: Whether each agent has terminated.
        truncations: Whether each agent was truncated.
        infos: The info of each agent.
        spaces: The spaces of agents that no reply has contained, or that have changed since.
        omitted: The places of values omitted from the infos.
        warnings: What the client should know about its request.
    """

    observations: dict[str, Any] = {}
    agents: list[str] = []
    selection: str | None = None
    rewards: dict[str, Any] = {}
    cumulative_rewards: dict[str, Any] = {}
    terminations: dict[str, bool] = {}
    truncations: dict[str, bool] = {}
    infos: dict[str, Any] = {}
    spaces: SpacesOfAgents = {}
    omitted: Omitted = ()
    warnings: Warnings = ()


class AgentsReset(_Agents, frozen=True, tag="reset_agents"):
    """The reply to :class:`ResetAgents`."""


class AgentsStepped(_Agents, frozen=True, tag="step_agents"):
    """The reply to :class:`StepAgents`."""


class AgentsObserved(Message, frozen=True, tag="observe_agents"):
    """The reply to :class:`ObserveAgents`; of several agents, those that cannot be observed are left out."""

    observations: dict[str, Any] = {}
    spaces: SpacesOfAgents = {}
    warnings: Warnings = ()


class AgentsDescribed(Message, frozen=True, tag="describe_agents"):
    """The reply to :class:`DescribeAgents`."""

    spaces: SpacesOfAgents = {}
    warnings: Warnings = ()


class GotState(Message, frozen=True, tag="state"):
    """The reply to :class:`GetState`: an array (``dtype``, ``shape``, ``data``), or any other form of the state."""

    state: Any = None
    warnings: Warnings = ()
