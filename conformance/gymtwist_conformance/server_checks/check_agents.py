"""Multi-agent environments: agents that act simultaneously, and agents that take turns."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist_conformance.reference_client import NETSTRING, ElementCodec, Failed
from gymtwist_conformance.reference_client.byte_stream import Violation, require
from gymtwist_conformance.server_checks.subject import ENDLESS, SEED, Probe, Subject, is_same

_FLAGS = ("terminations", "truncations")


class _Agents:
    """A session with a multi-agent environment.

    Args:
        subject: The server.
        api: How the agents act.
    """

    def __init__(self, subject: Subject, api: str) -> None:
        if not subject.options.agents:
            pytest.skip("no multi-agent environment is known: --agents ID")
        self.probe: Probe = subject.connect()
        try:
            self.made = self.probe.ask("make_agents", **subject.fields(subject.options.agents, api=api))
        except Failed as error:
            if error.code == "unknown-operation":
                pytest.skip("the server has no multi-agent environments")
            raise
        self._text = subject.encoding == NETSTRING
        self.spaces: dict[str, dict[str, Any]] = {}
        self._learn(self.made)

    def _learn(self, told: dict[str, Any]) -> None:
        for name, spaces in told.get("spaces", {}).items():
            if spaces is None:
                self.spaces.pop(name, None)
                continue
            # A name stands for the space of another agent.
            shared = {key: self.spaces[each][key] for key, each in spaces.items() if isinstance(each, str)}
            self.spaces[name] = {**spaces, **shared}

    def codec(self, name: str, which: str) -> ElementCodec:
        """Return the codec of an agent's observations or actions."""
        require(name in self.spaces, f"the agent {name!r} has no spaces: no reply has had them")
        return ElementCodec(self.spaces[name][f"{which}_space"], text=self._text, name=f"the {which} of {name!r}")

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the reply with decoded observations."""
        told = self.probe.ask(op, **fields)
        self._learn(told)
        told["observations"] = {
            name: None if value is None else self.codec(name, "observation").load(value)
            for name, value in told.get("observations", {}).items()
        }
        for name in ("agents", "rewards", "infos", *_FLAGS):
            told.setdefault(name, [] if name == "agents" else {})
        return told

    def action(self, name: str, index: int) -> Any:
        """Return an action of an agent for a message: those of a Discrete in turn."""
        space = self.spaces[name]["action_space"]
        if space["kind"] != "Discrete":
            raise Violation(f"the actions of {name!r} are a {space['kind']}; name an environment with Discrete ones")
        return self.codec(name, "action").dump(space.get("start", 0) + index % space["n"])


def _expect_keys(told: dict[str, Any], fields: tuple[str, ...], agents: set[str], what: str) -> None:
    for field in fields:
        require(set(told[field]) >= agents, f"`{field}` of {what} has {sorted(told[field])}; expected {sorted(agents)}")


def _play_at_once(session: _Agents) -> list[Any]:
    """Play an episode to its end; return its observations, rewards and flags."""
    told = session.ask("reset_agents", seed=SEED)
    found, agents = [told["observations"]], told["agents"]
    _expect_keys(told, ("observations", "infos"), set(agents), "a reset")
    for index in range(ENDLESS):
        told = session.ask("step_agents", actions={name: session.action(name, index) for name in agents})
        _expect_keys(told, ("observations", "rewards", "infos", *_FLAGS), set(agents), "a step")
        found.append([told[name] for name in ("observations", "rewards", *_FLAGS)])
        ended = {name for name in agents if any(told[flag][name] for flag in _FLAGS)}
        left = set(agents) & set(told["agents"])
        require(not ended & left, f"{sorted(ended & left)} have ended, and are still in `agents`")
        require(ended | left == set(agents), f"{sorted(set(agents) - ended - left)} have left without an end")
        agents = told["agents"]
        if not agents:
            return found
    raise Violation(f"no episode has ended after {ENDLESS} steps")


def test_at_once(subject: Subject) -> None:
    """Every agent has its observation, reward and flags in each step, up to its end; a seed gives the same episode."""
    session = _Agents(subject, "parallel")
    for name in session.made.get("possible_agents") or ():
        session.codec(name, "observation")
    first = _play_at_once(session)
    session.probe.say("step_agents", actions={})
    session.probe.expect_error("a step after the end of the episode", "reset-needed", reset_needed=True)
    require(is_same(_play_at_once(session), first), "an episode with the same seed has brought something else")


def test_in_turn(subject: Subject) -> None:
    """A reply says whose turn it is; only that agent acts, and one that has ended leaves with the action null."""
    session = _Agents(subject, "aec")
    told = session.ask("reset_agents", seed=SEED)
    for index in range(ENDLESS):
        agents, selection = set(told["agents"]), str(told.get("selection"))
        if not agents:
            return
        require(selection in agents, f"the turn is that of {selection!r}; expected one of {sorted(agents)}")
        require(selection in told["observations"], f"there is no observation of {selection!r}, whose turn it is")
        told.setdefault("cumulative_rewards", {})
        _expect_keys(told, ("rewards", "cumulative_rewards", "infos", *_FLAGS), agents, "a turn")
        for other in agents - {selection}:
            session.probe.say("step_agents", actions={other: session.action(other, 0)})
            session.probe.expect_error(f"an action of {other!r} in the turn of {selection!r}", "invalid-field")
        ended = any(told[flag][selection] for flag in _FLAGS)
        told = session.ask("step_agents", actions={selection: None if ended else session.action(selection, index)})
        if ended:
            require(selection not in told["agents"], f"{selection!r} has ended and acted, and is still there")
    raise Violation(f"no episode has ended after {ENDLESS} turns")


def test_observe(subject: Subject) -> None:
    """All agents can be observed, whosever turn it is, and their spaces are those of the reply to make_agents."""
    session = _Agents(subject, "aec")
    made = dict(session.spaces)
    told = session.ask("reset_agents", seed=SEED)
    agents, selection = told["agents"], told.get("selection")
    found = session.ask("observe_agents", agents=agents)["observations"]
    require(set(found) == set(agents), f"{sorted(found)} were observed; expected {sorted(agents)}")
    same = is_same(found[str(selection)], told["observations"].get(selection))
    require(same, f"the observation of {selection!r} is another one than in the reply to reset_agents")
    session.ask("describe_agents", agents=agents)
    for name in agents:
        same = session.spaces[name] == made.get(name, session.spaces[name])
        require(same, f"the spaces of {name!r} are others than in the reply to make_agents")


def test_kinds_of_sessions(subject: Subject) -> None:
    """Requests for another kind of environment are refused, and so is another make; the session continues."""
    session = _Agents(subject, "parallel")
    expected = session.ask("reset_agents", seed=SEED)["observations"]
    unsuitable: list[tuple[str, dict[str, Any]]] = [("reset", {}), ("step", {"action": 0}), ("sample", {})]
    for op, fields in unsuitable:
        session.probe.say(op, **fields)
        session.probe.expect_error(f"{op} in a session with agents", "bad-request")
    for op, fields in (("make", subject.fields()), ("make_agents", subject.fields(subject.options.agents, api="aec"))):
        session.probe.say(op, **fields)
        session.probe.expect_error(f"another {op}", "environment-made")
    found = session.ask("reset_agents", seed=SEED)["observations"]
    require(is_same(found, expected), "an episode with the same seed begins otherwise after requests that were refused")
    single = subject.session()
    single.say("reset_agents")
    single.expect_error("reset_agents in a session with one agent", "bad-request")
    single.reset()
    unmade = subject.connect()
    for wrong in ({"api": "in turn"}, {}):
        unmade.say("make_agents", **subject.fields(subject.options.agents, **wrong))
        unmade.expect_error(f"make_agents with the fields {wrong}", "invalid-field")
