"""What is missing on the client's machine, as opposed to the server's."""

from __future__ import annotations

import sys

import pytest
from gymnasium.error import DependencyNotInstalled

from gymtwist.client import agents_api, api


def test_a_window_needs_pygame_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anything is made."""
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(DependencyNotInstalled, match="needs pygame on this machine: pip install pygame"):
        api.reconnect({"address": "unix:no-server", "env_id": "CartPole-v1"}, render_mode="human")


def test_multi_agent_environments_need_pettingzoo_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As well as at the server."""
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(ImportError, match=r'on this machine, too: pip install "pettingzoo>=1\.27"'):
        agents_api.connect_parallel("unix:no-server", "butterfly/pistonball_v6")
