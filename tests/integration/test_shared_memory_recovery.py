"""The process of a session that shares memory dies: the client is told, and shares memory with the next one."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist.client import EnvironmentFailed, RequestRefused, ResetNeeded, connect
from gymtwist.protocol import shared_memory as wire_sharing
from tests.conftest import Start
from tests.support.client_equivalence import SETUP, Remote, RemoteVec
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, connected
from tests.support.shared_memory_env import by, connections, hold, passed, shares

pytest_plugins = ("tests.support.client_fixtures", "tests.support.shared_memory_fixtures")
pytestmark = pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")

CHOSEN = "Fault/Chosen-v0"
#: What Chosen can be told to do.
NOTHING, SEGFAULT = range(2)
MAPPED = "memfd:gymtwist-shared"


@pytest.fixture
def overdue(start_once: Start) -> ServerProcess:
    """A server with a time limit of half a second for a step."""
    server = start_once("--step-timeout", "0.5", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    return server


def again(theirs: Any, way: str) -> None:
    """Reset an environment whose process died and check that memory is shared again."""
    before = connections(theirs)[0]
    with pytest.raises(ResetNeeded):
        theirs.step(NOTHING)
    theirs.reset()
    assert connections(theirs)[0] is before
    assert shares(theirs), "memory is not shared anew"
    hold(way, before)
    numbers = passed(theirs)
    for count in range(1, 6):
        assert theirs.step(NOTHING)[4]["steps"] == count
    assert passed(theirs) == numbers + 5


@pytest.mark.parametrize(
    ("protocol", "way", "fault"),
    [
        ("int32", "polling", "SegfaultInStep"),
        ("int32", "waiting", "ExitInStep"),
        ("int32", "waiting", "SegfaultInReset"),
        ("netstring", "polling", "ExitInStep"),
        ("netstring", "waiting", "SegfaultInStep"),
    ],
)
def test_a_process_that_dies_over_a_request_in_memory(remote: Remote, protocol: str, way: str, fault: str) -> None:
    """The client gets the same error as through a socket, every time."""
    theirs = by(way, remote(f"Fault/{fault}-v0", protocol=protocol))
    for _ in range(3):
        numbers = passed(theirs)
        with pytest.raises(EnvironmentFailed, match=r"SIGSEGV|status 3") as caught:
            theirs.reset()
            theirs.step(0)
        assert caught.value.reset_needed
        assert passed(theirs) <= numbers  # its memory is of no use any more
        with pytest.raises(ResetNeeded):
            theirs.step(0)


def test_memory_is_shared_anew_after_a_crash(remote: Remote, protocol: str, way: str) -> None:
    """The next process maps new memory, and steps are correct."""
    theirs = by(way, remote(CHOSEN, protocol=protocol))
    theirs.reset()
    for _ in range(3):
        with pytest.raises(EnvironmentFailed):
            theirs.step(SEGFAULT)
        again(theirs, way)


def test_memory_is_shared_anew_after_a_step_past_the_deadline(overdue: ServerProcess, way: str) -> None:
    """The next process maps new memory after a timeout as well."""
    with connect(overdue.port, CHOSEN, timeout=PATIENCE) as theirs:
        by(way, theirs)
        theirs.reset()
        with pytest.raises(EnvironmentFailed, match=r"0\.5 s"):
            theirs.step(2)
        again(theirs, way)


def test_a_crash_over_a_request_behind_one_in_memory(remote: Remote, protocol: str, way: str) -> None:
    """A crash during a pipelined request on the socket invalidates the memory, too."""
    theirs = by(way, remote(CHOSEN, protocol=protocol, timeout=PATIENCE))
    theirs.reset()
    for action in (NOTHING, SEGFAULT, NOTHING):
        theirs.send(action)
    assert theirs.recv()[4]["steps"] == 1
    with pytest.raises(EnvironmentFailed):
        theirs.recv()
    with pytest.raises(ResetNeeded):
        theirs.recv()
    again(theirs, way)


def test_a_crash_over_a_request_that_had_no_room_in_memory(remote: Remote, protocol: str, way: str) -> None:
    """A crash during a large request on the socket invalidates the memory, too."""
    theirs = by(way, remote(CHOSEN, protocol=protocol, timeout=PATIENCE))
    theirs.reset()
    with pytest.raises(EnvironmentFailed):
        theirs.reset(options={"reset": SEGFAULT, "long": "x" * 300_000})
    again(theirs, way)


def test_a_crash_while_polling_does_not_pay(remote: Remote, protocol: str) -> None:
    """Small requests then go through the socket; when it pays again, they must not go to memory that nobody has."""
    theirs = by("waiting", remote(CHOSEN, protocol=protocol, timeout=PATIENCE))
    theirs.reset()
    connection = connections(theirs)[0]
    connection._is_large = False
    numbers = passed(theirs)
    with pytest.raises(EnvironmentFailed):
        theirs.step(SEGFAULT)
    assert connection._number == numbers
    again(theirs, "polling")


def test_a_crash_while_no_reply_is_awaited(remote: Remote, protocol: str, way: str) -> None:
    """As its step was interrupted: the reply is dropped, and says nevertheless that the memory is of no use."""
    theirs = by(way, remote(CHOSEN, protocol=protocol, timeout=PATIENCE))
    theirs.reset()
    connection = connections(theirs)[0]
    for in_memory in (True, False):
        # What an interrupt between a request and its reply leaves behind.
        connection._is_large, connection._policy.poll_seconds = in_memory, 0.0
        theirs._session.send_step(theirs._session.values.written(SEGFAULT))
        hold(way, connection)
        theirs.reset()
        theirs.reset()
        hold(way, connection)
        for count in (1, 2, 3):
            assert theirs.step(NOTHING)[4]["steps"] == count
        assert shares(theirs)


@pytest.mark.parametrize("large", [True, False], ids=["memory", "socket"])
def test_a_process_of_a_vector_environment_dies(remote_vec: RemoteVec, protocol: str, large: bool) -> None:
    """A reset of all environments shares new memory with this process only."""
    theirs = by("waiting", remote_vec(CHOSEN, 4, processes=2, protocol=protocol, timeout=PATIENCE))
    for index in range(2):
        theirs.reset()
        hold_all(theirs, large=large)
        with pytest.raises(EnvironmentFailed):
            theirs.step([NOTHING, NOTHING, SEGFAULT, NOTHING])
        theirs.reset()
        assert shares(theirs)
        hold_all(theirs, large=True)
        # The first process goes on as it was.
        for count in (1, 2, 3):
            told = theirs.step([NOTHING] * 4)[4]["steps"].tolist()
            assert told == [4 * index + 1 + count] * 2 + [count] * 2


def hold_all(theirs: Any, *, large: bool) -> None:
    """Make all connections of an environment wait, with memory in use or not."""
    for connection in connections(theirs):
        hold("waiting", connection)
        connection._is_large = large


def test_a_reset_that_is_refused_does_not_forget_the_memory(remote: Remote, way: str) -> None:
    """Replies are outstanding, and one of them says that the process has died."""
    theirs = by(way, remote(CHOSEN))
    theirs.reset()
    for action in (SEGFAULT, NOTHING):
        theirs.send(action)
    with pytest.raises(EnvironmentFailed):
        theirs.recv()
    with pytest.raises(RequestRefused, match="outstanding"):
        theirs.reset()
    with pytest.raises(ResetNeeded):
        theirs.recv()
    again(theirs, way)
