"""After the environment's process has died or was too slow: the same connection goes on with a fresh one."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gymtwist.client import EnvironmentFailed, ResetNeeded, connect, connect_vec
from tests.conftest import Start
from tests.support.client_equivalence import SETUP, Remote, RemoteVec
from tests.support.server_process import connected

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)


@pytest.mark.parametrize("fault", ["Segfault", "Exit"])
def test_after_a_crash_the_connection_goes_on(remote: Remote, protocol: str, fault: str) -> None:
    """A step reports the crash, and a reset starts a fresh environment."""
    theirs = remote(f"Fault/{fault}InStep-v0", protocol=protocol)
    for _ in range(2):
        theirs.reset()
        with pytest.raises(EnvironmentFailed) as caught:
            theirs.step(0)
        assert caught.value.reset_needed
        with pytest.raises(ResetNeeded):
            theirs.step(0)
    theirs.reset()


def test_requests_sent_after_a_crash_are_answered(remote: Remote) -> None:
    """Each gets an error, in order."""
    theirs = remote("Fault/SegfaultInStep-v0")
    theirs.reset()
    for _ in range(3):
        theirs.send(0)
    with pytest.raises(EnvironmentFailed):
        theirs.recv()
    for _ in range(2):
        with pytest.raises(ResetNeeded):
            theirs.recv()
    theirs.reset()


def test_after_a_step_past_the_deadline_the_connection_goes_on(start: Start) -> None:
    """The server kills the process that exceeds the time limit."""
    server = start("--step-timeout", "0.5", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    with connect(("127.0.0.1", server.port), "Fault/HangInStep-v0") as theirs:
        theirs.reset()
        with pytest.raises(EnvironmentFailed, match=r"0\.5 s") as caught:
            theirs.step(0)
        assert caught.value.reset_needed
        theirs.reset()
    arguments: Any = {"processes": 2, "on_failure": "truncate"}
    with socket.create_server(("127.0.0.1", 0)) as gate:
        address, port = ("127.0.0.1", server.port), gate.getsockname()[1]
        with connect_vec(address, "Gated-v0", 2, port=port, **arguments) as several:
            several.reset()
            *_, truncated, infos = several.step([0, 1])
            assert truncated.tolist() == [False, True]
            assert "0.5 s" in infos["error"][1]
            assert several.step([0, 0])[0].ravel().tolist() == [2, 0]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_vector_environment_goes_on_too(remote_vec: RemoteVec, processes: int) -> None:
    """A reset of all environments continues after a crash."""
    theirs = remote_vec("Fault/SegfaultInStep-v0", 2, processes=processes)
    for _ in range(2):
        theirs.reset()
        with pytest.raises(EnvironmentFailed):
            theirs.step([0, 0])
        with pytest.raises(ResetNeeded):
            theirs.step([0, 0])
    theirs.reset()
