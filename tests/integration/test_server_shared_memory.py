"""A real server whose clients share memory with it, and what becomes of that when either side comes to its end."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gymtwist.client import EnvironmentFailed, RemoteError, connect
from gymtwist.protocol import shared_memory as wire_sharing
from tests.conftest import Start
from tests.support.client_equivalence import SETUP, assert_same, local
from tests.support.harness import descriptor_count
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, descendants, descriptors, eventually, left_after
from tests.support.server_process import REPOSITORY, ServerProcess, connected
from tests.support.shared_memory_env import SHARING, by, passed, shares

pytest_plugins = ("tests.support.client_fixtures", "tests.support.shared_memory_fixtures")
pytestmark = [
    pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only"),
    pytest.mark.usefixtures("few_objects"),
]

CHOSEN = "Fault/Chosen-v0"
#: What Chosen can be told to do.
NOTHING, SEGFAULT = range(2)
MAPPED = "memfd:gymtwist-shared"


# The client's process dies


CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from gymtwist.client import connect
from tests.support.shared_memory_env import by
env = by(sys.argv[3], connect(int(sys.argv[2]), "CartPole-v1"))
env.reset()
print("there", flush=True)
if sys.argv[4] == "idle":
    sys.stdin.read(1)
while True:
    if any(env.step(0)[2:4]):
        env.reset()
"""


def polling(start_once: Start) -> ServerProcess:
    """Start a server that polls for a second, and that does not wait for its clients when it is told to stop."""
    server = start_once("--poll", "1000000", "--drain", "0.2", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    return server


@pytest.mark.parametrize("doing", ["idle", "stepping"])
def test_a_client_that_is_killed_frees_its_session(start_once: Start, way: str, doing: str) -> None:
    """The session ends while either side polls or waits."""
    server = polling(start_once)
    since = server.mark()
    words = [sys.executable, "-c", CLIENT, str(REPOSITORY), str(server.port), way, doing]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, text=True, **pipes) as player:  # type: ignore[call-overload]
        assert player.stdout.readline() == "there\n"
        session = server.wait_for(r"\[session (\d+)\] started: CartPole-v1 .*process (\d+)\)", since=since)
        handle = Handle(int(session.group(2)))
        player.send_signal(signal.SIGKILL)
    server.wait_for(rf"\[session {session.group(1)}\] ended: ")
    assert not left_after([handle], PATIENCE)


def test_a_client_that_is_stopped_does_not_hold_up_the_others(start_once: Start) -> None:
    """A session waits for its own client only."""
    server = polling(start_once)
    words = [sys.executable, "-c", CLIENT, str(REPOSITORY), str(server.port), "polling", "stepping"]
    with subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as player:
        assert player.stdout is not None
        assert player.stdout.readline() == "there\n"
        player.send_signal(signal.SIGSTOP)
        with connect(server.port, "CartPole-v1", timeout=PATIENCE) as theirs:
            ours = local("CartPole-v1")
            by("waiting", theirs)
            assert_same(theirs.reset(seed=1), ours.reset(seed=1))
            assert_same(theirs.step(0), ours.step(0))
        player.kill()


# The server comes to its end, or ends a session


def test_a_client_that_is_silent_for_too_long_is_hung_up_on(start_once: Start, way: str) -> None:
    """Requests through memory count as activity; after the timeout they fail."""
    server = start_once("--idle-timeout", "1", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    since = server.mark()
    with connect(server.port, "CartPole-v1", timeout=PATIENCE) as theirs:
        by(way, theirs)
        theirs.reset()
        theirs.step(0)
        server.wait_for(r"ended: idle for more than 1 s", since=since)
        with pytest.raises(RemoteError):
            theirs.step(0)
        with pytest.raises(RemoteError, match="connect again"):
            theirs.reset()


def test_a_client_that_steps_through_memory_is_not_idle(start_once: Start) -> None:
    """Requests through memory count as activity although the socket is silent."""
    server = start_once("--idle-timeout", "1", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    with connect(server.port, "Fault/SlowStep-v0", timeout=PATIENCE) as theirs:
        by("polling", theirs)
        theirs.reset()
        assert theirs.step(0)[1] == 1.0
        numbers = passed(theirs)
        until = time.monotonic() + 1.6
        while time.monotonic() < until:
            theirs.sample()
        assert passed(theirs) > numbers


def test_a_server_that_shuts_down_ends_shared_memory(start_once: Start) -> None:
    """The server shuts down in order and leaves no process behind."""
    server = polling(start_once)
    with ExitStack() as stack:
        sharing: list[Any] = []
        for way in SHARING:
            sharing.append(by(way, stack.enter_context(connect(server.port, "CartPole-v1", timeout=PATIENCE))))
            sharing[-1].reset()
        server.terminate()
        server.wait_shut_down()
        for theirs in sharing:
            with pytest.raises(RemoteError):
                for _ in range(2):
                    theirs.step(0)


# Nothing is left


class Holdings:
    """What a server and this process hold."""

    def __init__(self, server: ServerProcess) -> None:
        """Count."""
        gc.collect()
        process = server.process.pid
        self.counts = (
            len(descriptors(process)),
            len(descriptors(server.fork_server())),
            len(descendants(process)),
            descriptor_count(),
            Path("/proc/self/maps").read_text().count(MAPPED),
            len(names(server)),
        )

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same."""
        return isinstance(other, Holdings) and self.counts == other.counts

    def __repr__(self) -> str:
        """Show it."""
        return f"{self.counts}"


def names(server: ServerProcess) -> list[str]:
    """Return the abstract sockets at which a server receives memory; other tests have servers of their own."""
    processes = {server.process.pid, *descendants(server.process.pid)}
    held = {each for process in processes if Path(f"/proc/{process}").exists() for each in descriptors(process)}
    lines = Path("/proc/net/unix").read_text().splitlines()
    rows = [line.split() for line in lines if f"@{wire_sharing.NAMES}" in line]
    return [row[-1] for row in rows if f"socket:[{row[6]}]" in held]


@pytest.fixture
def quiet(start: Start) -> Iterator[ServerProcess]:
    """A server that has served a connection, and whose processes show their descriptors."""
    server = start("--debuggable", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    yield server


def test_sessions_that_shared_memory_leave_nothing(quiet: ServerProcess) -> None:
    """Neither side keeps descriptors, memory or processes, however the sessions ended."""
    port = quiet.port

    def one(index: int) -> None:
        theirs: Any = connect(port, CHOSEN, timeout=PATIENCE)
        by(SHARING[index % 2], theirs)
        theirs.reset()
        theirs.step(NOTHING)
        if index % 10 == 0:
            with pytest.raises(EnvironmentFailed):
                theirs.step(SEGFAULT)
            theirs.reset()
            assert shares(theirs)
        if index % 3 == 0:
            theirs.send(NOTHING)
        theirs.close()

    with ThreadPoolExecutor(1) as pool:
        list(pool.map(one, range(8)))
        eventually(lambda: len(descendants(quiet.process.pid)) <= 6, PATIENCE)
        before = settled(quiet)
        list(pool.map(one, range(20)))
        eventually(lambda: Holdings(quiet) == before, PATIENCE, f"{before} (now {Holdings(quiet)})")


def settled(server: ServerProcess) -> Holdings:
    """Return the holdings once they no longer change."""
    seen = [Holdings(server)]

    def same() -> bool:
        seen.append(Holdings(server))
        return len(seen) > 25 and all(each == seen[-1] for each in seen[-25:])

    eventually(same, PATIENCE)
    return seen[-1]
