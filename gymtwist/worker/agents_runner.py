"""Runs the session's multi-agent environment; no other module calls its code.

As for a :mod:`single environment <gymtwist.worker.environment_runner>`, the session status shows every call; every
exception is logged and becomes an :class:`~gymtwist.errors.EnvironmentFault`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from time import monotonic  # by name: an environment may replace the module's attributes
from typing import Any, NamedTuple

import numpy as np

from gymtwist.envs.agent_environments import AgentEnvironment
from gymtwist.errors import EnvironmentFault
from gymtwist.worker.guarded_call import guarded_call
from gymtwist.worker.live_frames import Attention
from gymtwist.worker.session_status import ATTENTION, EPISODES, STEPS, Operation, SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings


class Turn(NamedTuple):
    """The outcome of a reset or a step.

    Attributes:
        agents: The agents that are present.
        observations: The observation of each agent.
        infos: The info of each agent.
        rewards: The reward of each agent.
        terminations: Whether each agent has terminated.
        truncations: Whether each agent was truncated.
        selection: The agent whose turn it is; None if all act at once.
        cumulative_rewards: The sum of each agent's rewards since it last acted.
    """

    agents: list[str]
    observations: Mapping[str, Any]
    infos: Mapping[str, Any]
    rewards: Mapping[str, Any] = {}
    terminations: Mapping[str, Any] = {}
    truncations: Mapping[str, Any] = {}
    selection: str | None = None
    cumulative_rewards: Mapping[str, Any] = {}


class AgentsRunner:
    """A multi-agent environment.

    Args:
        found: The environment to make.
        kwargs: Its keyword arguments.
        settings: The operator's options.
        status: The session's status.

    Attributes:
        environment: The environment.
        possible_agents: All agents that may appear; None if the environment does not know them.

    Raises:
        GymtwistError: The environment cannot be made.
    """

    def __init__(
        self, found: AgentEnvironment, kwargs: dict[str, Any], settings: WorkerSettings, status: SessionStatus
    ) -> None:
        self._status = status
        self._seed = settings.seed
        # The environment may replace one that has failed in the same session.
        self._steps = status.steps
        self._steps_before, self._return = self._steps, 0.0
        self._attention = Attention(status)
        with guarded_call(status, Operation.MAKE):
            self.environment: Any = found.make(kwargs)
            possible = getattr(self.environment, "possible_agents", None)
            self.possible_agents = None if possible is None else _names("make", possible)

    def count_on(self) -> None:
        """Continue the session's count of steps; the episode has only the steps taken in this process."""
        missed = self._status.steps - self._steps
        self._steps += missed
        self._steps_before += missed

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> Turn:
        """Begin an episode; without a seed, the first one uses the operator's."""
        with guarded_call(self._status, Operation.RESET):
            returned = self.environment.reset(seed=self._seed if seed is None else seed, options=options)
            self._seed = None
            turn = self._begun(returned)
        self._steps_before, self._return = self._steps, 0.0
        self._status.keep_first_observation()
        if self._status.words[ATTENTION]:
            self._attention.attend(partial(self._picture, turn))
        return turn

    def step(self, actions: dict[str, Any]) -> Turn:
        """Let agents act."""
        began = monotonic()
        with guarded_call(self._status, Operation.STEP):
            turn = self._step(actions)
        with contextlib.suppress(Exception):  # rewards may be anything; the client is told what is wrong with them
            self._return += sum(float(np.sum(each)) for each in turn.rewards.values())
        words = self._status.words
        if words[ATTENTION]:
            self._attention.attend(partial(self._picture, turn), began)
        self._steps += 1
        words[STEPS] = self._steps
        if not turn.agents:
            self._status.keep_episode(int(words[EPISODES]), self._return, self._steps - self._steps_before)
            words[EPISODES] += 1
        return turn

    def _picture(self, turn: Turn) -> Any:
        """Return an image of the environment's state, or observations that may contain one."""
        if getattr(self.environment, "render_mode", None) == "rgb_array":
            return self.environment.render()
        return dict(turn.observations)

    def _begun(self, returned: Any) -> Turn:
        raise NotImplementedError

    def _step(self, actions: dict[str, Any]) -> Turn:
        raise NotImplementedError

    def observe(self, agents: Sequence[str]) -> dict[str, Any]:
        """Return the observations of agents; of several, only those that the environment returns without an error."""
        with guarded_call(self._status, Operation.GET):
            if len(agents) == 1:
                return {agents[0]: self.environment.observe(agents[0])}
            observations = {}
            for agent in agents:
                with contextlib.suppress(Exception):
                    # An environment may write the next observation into the same array.
                    observations[agent] = deepcopy(self.environment.observe(agent))
            return observations

    def spaces(self, agent: str) -> tuple[Any, Any]:
        """Return the observation space and the action space of an agent."""
        with guarded_call(self._status, Operation.GET):
            return self.environment.observation_space(agent), self.environment.action_space(agent)

    def spaces_if_known(self, agent: str) -> tuple[Any, Any] | None:
        """Return the spaces of an agent; None if the environment no longer knows it."""
        with guarded_call(self._status, Operation.GET):
            try:
                return self.environment.observation_space(agent), self.environment.action_space(agent)
            except Exception:
                return None

    def reward_space(self, agent: str) -> Any:
        """Return the space of an agent's array rewards, as MOMAland defines it; None if there is none."""
        with guarded_call(self._status, Operation.GET):
            find = getattr(self.environment, "reward_space", None)
            return find(agent) if callable(find) else None

    def attribute(self, name: str) -> Any:
        """Return an attribute, or None if there is none."""
        with guarded_call(self._status, Operation.GET):
            return getattr(self.environment, name, None)

    def state(self) -> Any:
        """Return the state of the environment."""
        with guarded_call(self._status, Operation.GET):
            return self.environment.state()

    def render(self) -> Any:
        """Return what the environment renders."""
        with guarded_call(self._status, Operation.RENDER):
            return self.environment.render()

    def close(self) -> None:
        """Close the environment; its errors are logged."""
        with contextlib.suppress(EnvironmentFault), guarded_call(self._status, Operation.CLOSE):
            self.environment.close()


class ParallelRunner(AgentsRunner):
    """An environment whose agents act at once."""

    def _begun(self, returned: Any) -> Turn:
        observations, infos = _values("reset", returned, 2)
        return Turn(_names("reset", self.environment.agents), observations, infos)

    def _step(self, actions: dict[str, Any]) -> Turn:
        observations, rewards, terminations, truncations, infos = _values("step", self.environment.step(actions), 5)
        return Turn(
            _names("step", self.environment.agents),
            observations,
            infos,
            rewards,
            _flags(terminations),
            _flags(truncations),
        )


class AecRunner(AgentsRunner):
    """An environment whose agents act one after another."""

    def _begun(self, returned: Any) -> Turn:
        return self._turn("reset")

    def _step(self, actions: dict[str, Any]) -> Turn:
        (action,) = actions.values()
        self.environment.step(action)
        return self._turn("step")

    def _turn(self, operation: str) -> Turn:
        environment = self.environment
        agents, selection = _names(operation, environment.agents), environment.agent_selection
        observations = {}
        if selection in agents:
            # An agent that cannot be observed may not need to be. A client that asks for the observation gets the
            # error.
            with contextlib.suppress(Exception):
                observations[selection] = environment.observe(selection)
        return Turn(
            agents,
            observations,
            environment.infos,
            environment.rewards,
            _flags(environment.terminations),
            _flags(environment.truncations),
            selection,
            environment._cumulative_rewards,
        )


RUNNERS: dict[str, Callable[..., AgentsRunner]] = {"parallel": ParallelRunner, "aec": AecRunner}


def _names(operation: str, agents: Iterable[Any]) -> list[str]:
    names = list(agents)
    for name in names:
        if not isinstance(name, str):
            raise EnvironmentFault(
                operation, f"the environment has an agent {name!r:.80}: the names of agents must be strings"
            )
    return names


def _values(operation: str, returned: Any, count: int) -> tuple[Mapping[str, Any], ...]:
    """Return the values of a reset or a step, each of which maps agents to something.

    Raises:
        EnvironmentFault: The environment returned something else.
    """
    if not isinstance(returned, (tuple, list)) or len(returned) != count:
        length = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else f"a {type(returned).__name__}"
        raise EnvironmentFault(operation, f"the environment returned {length} from {operation}: expected {count}")
    for each in returned:
        if not isinstance(each, Mapping):
            raise EnvironmentFault(
                operation, f"the environment returned a {type(each).__name__} from {operation}: expected dictionaries"
            )
        _names(operation, each)
    return tuple(returned)


def _flags(flags: Mapping[str, Any]) -> dict[str, bool]:
    return {agent: bool(flag) for agent, flag in flags.items()}
