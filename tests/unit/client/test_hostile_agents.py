"""Servers of multi-agent environments that lie: they ask for no memory beyond the limits, and are found out."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist.client import ProtocolBroken, RequestRefused, connect_aec, connect_parallel
from gymtwist_conformance.reference_client import INT32, message
from tests.support.scripted_server import Script

pytest.importorskip("pettingzoo")
pytest_plugins = ("tests.support.client_fixtures",)

_DISCRETE: dict[str, Any] = {"kind": "Discrete", "n": 3}
_HUGE: dict[str, Any] = {"kind": "Box", "shape": [1 << 26], "dtype": "float32", "low": 0, "high": 1}
_TWENTY: dict[str, Any] = {**_HUGE, "shape": [1 << 22]}
_SPACES = {"observation_space": _DISCRETE, "action_space": _DISCRETE}
_RESET: dict[str, Any] = {"observations": {"a": bytes(8)}, "agents": ["a"], "infos": {"a": {}}}


def agents_made(**fields: Any) -> bytes:
    """Return the reply to make_agents for an environment of one agent."""
    return message(
        INT32, "make_agents", **{"server": "s", "possible_agents": ["a"], "spaces": {"a": _SPACES}, **fields}
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"spaces": {"a": {**_SPACES, "observation_space": _HUGE}}},
        {"spaces": {"a": {**_SPACES, "action_space": _HUGE}}},
        {"spaces": {"a": {**_SPACES, "reward_space": _HUGE}}},
        {"spaces": {str(index): {**_SPACES, "observation_space": _TWENTY} for index in range(5)}},
        {"state_space": _HUGE},
    ],
)
def test_spaces_are_limited(scripted: Script, fields: dict[str, Any]) -> None:
    """Those of all agents together, before any is built."""
    with pytest.raises(RequestRefused, match="max_space_bytes"):
        connect_parallel(scripted(agents_made(**fields)).port, "Scripted")


def test_spaces_are_limited_later(scripted: Script) -> None:
    """Those that come with a reset, too."""
    later = {**_RESET, "spaces": {"b": {**_SPACES, "observation_space": _HUGE}}}
    environment = connect_parallel(scripted(agents_made(), message(INT32, "reset_agents", **later)).port, "Scripted")
    with pytest.raises(RequestRefused, match="max_space_bytes"):
        environment.reset()


@pytest.mark.parametrize(
    "fields",
    [
        {"spaces": {"a": {**_SPACES, "action_space": "b"}}},
        {"spaces": {"a": {**_SPACES, "action_space": {"kind": "Box"}}}},
        {"spaces": ["a"]},
        {"possible_agents": [1]},
        {"state_space": {"kind": "Discrete", "n": -1}},
    ],
)
def test_wrong_replies_to_make(scripted: Script, fields: dict[str, Any]) -> None:
    """Are violations of the protocol."""
    with pytest.raises(ProtocolBroken):
        connect_parallel(scripted(agents_made(**fields)).port, "Scripted")


@pytest.mark.parametrize(
    "fields",
    [
        {"observations": {"a": bytes(7)}},
        {"observations": {"a": [1]}},
        {"observations": {"b": bytes(8)}},
        {"agents": "a"},
        {"agents": [1]},
        {"infos": 7},
    ],
)
def test_wrong_replies_to_a_reset(scripted: Script, fields: dict[str, Any]) -> None:
    """Likewise."""
    told = message(INT32, "reset_agents", **{**_RESET, **fields})
    environment = connect_parallel(scripted(agents_made(), told).port, "Scripted")
    with pytest.raises(ProtocolBroken):
        environment.reset()


@pytest.mark.parametrize(
    "fields",
    [
        {"rewards": {"a": "many"}},
        {"rewards": {"a": [1.0]}},
        {"rewards": {"a": {"dtype": "float32", "value": {}}}},
        {"rewards": {"a": {"dtype": "object", "value": 1}}},
        {"rewards": {"a": {"dtype": "float32", "shape": [9], "data": bytes(4)}}},
        {"cumulative_rewards": {"a": None}},
        {"terminations": {"a": 1}},
        {"selection": 7},
    ],
)
def test_wrong_replies_to_a_step(scripted: Script, fields: dict[str, Any]) -> None:
    """Likewise."""
    begun = message(INT32, "reset_agents", **{**_RESET, "selection": "a"})
    stepped = message(INT32, "step_agents", **{**_RESET, "selection": "a", **fields})
    environment = connect_aec(scripted(agents_made(), begun, stepped).port, "Scripted")
    environment.reset()
    with pytest.raises(ProtocolBroken):
        environment.step(0)
