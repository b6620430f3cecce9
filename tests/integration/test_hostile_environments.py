"""Environments that reach for what is gymtwist's own spoil their own session, and nothing else."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gymtwist.client import connect
from gymtwist_conformance.reference_client import INT32, FramedClient
from gymtwist_conformance.reference_client.classic_client import error_text, handshake, step
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, eventually, hold, left_after
from tests.support.server_process import ServerProcess, connected

#: A step that takes longer than this has hung.
DEADLINE = 2
#: What a process of a session tells of itself.
ISOLATED = {"CORE": 0, "dumpable": 0, "no_new_privs": True, "oom_score_adj": 500}
OPTIONS = ("--step-timeout", str(DEADLINE), "--idle-timeout", "60")


def provoke(server: ServerProcess, name: str) -> str:
    """Let an environment do it in a step; return why its session ended, when its process has."""
    with server.open(f"Hostile/{name}-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(step(0))
        client.wait_closed()
        assert not left_after(hold([session.process]), PATIENCE)
        return server.end(session)


def test_the_session_status_cannot_be_taken_away(server: ServerProcess) -> None:
    """The server would be killed by SIGBUS at its next look."""
    assert "PermissionError in step" in provoke(server, "ShortenVitals")


@pytest.mark.parametrize("name", ["ScrawlNan", "ScrawlInfinity", "ScrawlFuture"])
def test_an_invalid_session_status_is_survived(server: ServerProcess, name: str) -> None:
    """The session is watched over as if it had not begun, and its place is given back."""
    reason = provoke(server, name)
    assert f"took more than {DEADLINE} s" in reason


def test_a_worker_that_closed_its_link_is_killed(server: ServerProcess) -> None:
    """Closing the link can not end it any more."""
    assert f"a step took more than {DEADLINE} s" in provoke(server, "CloseAllAndHang")


def test_the_server_answers_for_a_worker_that_closed_its_client(server: ServerProcess) -> None:
    """The server still holds the connection, and the handshake is owed an answer."""
    with server.connect() as client:
        client.send(handshake("Hostile/CloseAllInMake-v0"))
        assert "its process exited with status 1" in error_text(client.read_to_end())


def test_streams_that_were_closed_do_not_keep_the_process(server: ServerProcess) -> None:
    """Nor the thread beside them."""
    with server.open("Hostile/CloseStreams-v0") as client:
        handle = Handle(server.session(client).process)
        client.reset()
        client.step(0)
    assert not left_after([handle], PATIENCE)


def test_replacing_the_clock_does_not_affect_the_worker(server: ServerProcess) -> None:
    """The session goes on."""
    with server.open("Hostile/StopTheClock-v0") as client:
        client.play(3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RaiseOdd", "the environment raised Odd in step: not yours; "),
        ("RaiseSilent", "the environment raised Silent in step; "),
        ("RaiseSurrogate", "the environment raised ValueError in step: ?; "),
    ],
)
def test_whatever_is_raised_is_the_environments_fault(server: ServerProcess, name: str, reason: str) -> None:
    """Also one that is not an Exception, has no message, or one that UTF-8 cannot encode."""
    assert provoke(server, name).startswith(reason)


def test_any_exception_of_a_constructor_is_reported(server: ServerProcess) -> None:
    """As an error string."""
    with server.connect() as client:
        client.send(handshake("Hostile/RaiseOddInMake-v0"))
        assert error_text(client.read_to_end()) == "the environment raised Odd in make: not yours"


def test_a_space_that_cannot_be_described_is_the_environments_fault(server: ServerProcess) -> None:
    """Not gymtwist's."""
    with server.open("Hostile/BadSpace-v0") as client:
        session = server.session(client)
        client.send(b"\x02\x00")
        client.wait_closed()
    assert server.end(session).startswith("the environment's space raised RuntimeError in space: no bounds")


def test_descriptors_that_are_sent_to_the_server_do_not_stay_there(server: ServerProcess) -> None:
    """It closes them, and serves the next twenty clients; only the link of that session is damaged."""

    def held() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    with server.open("Hostile/SendDescriptors-v0") as client:
        session = server.session(client)
        client.reset()
        before = held()  # its idle workers may not be complete
        for _ in range(3):
            assert client.step(0).info["links"] == 1
        eventually(lambda: held() < before + 100, PATIENCE, "few descriptors")
        for _ in range(20):
            with server.open("CartPole-v1") as another:
                another.play(1)
        client.play(1)
        os.kill(session.process, signal.SIGKILL)
    server.end(session)


def test_empty_lines_are_limited_like_others(server: ServerProcess) -> None:
    """Each costs the server time, however short it is."""
    since = server.mark()
    with server.open("Hostile/PrintEmptyLines-v0") as client:
        client.reset()
        client.step(0)
    assert server.mark() - since < 10_000


@pytest.fixture(scope="module", autouse=True)
def core_files() -> Iterator[None]:
    """Let what is started meanwhile leave core files, as far as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def assert_isolated(server: ServerProcess, environment: str = "Hostile/ReportIsolation-v0") -> None:
    """Check the process of a session, and those that an asynchronous vector environment starts; not the server's."""
    assert resource.prlimit(server.process.pid, resource.RLIMIT_CORE) == resource.getrlimit(resource.RLIMIT_CORE)
    with server.open(environment) as client:
        client.reset()
        assert client.step(0).info.items() >= ISOLATED.items()
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as several:
        several.make(environment, num_envs=2, vectorization_mode="async")
        several.reset()
        infos = several.step(np.zeros(2, np.int64)).info
    assert {name: infos[name].tolist() for name in ISOLATED} == {name: [value] * 2 for name, value in ISOLATED.items()}


def test_a_session_is_isolated(server: ServerProcess) -> None:
    """Others cannot read its memory, it gains no privileges and leaves no core, and it is killed before the server."""
    assert_isolated(server)


def test_what_is_branched_off_a_snapshot_is_isolated(server: ServerProcess) -> None:
    """So is what goes on from it: each is a process that was forked from another one."""
    with connect(("127.0.0.1", server.port), "Hostile/ReportIsolation-v0") as env:
        env.reset()
        with env.snapshot() as here, env.branch(here) as other:
            assert other.step(0)[4].items() >= ISOLATED.items()
            env.restore(here)
            assert env.step(0)[4].items() >= ISOLATED.items()


def test_the_fork_server_is_isolated(server: ServerProcess) -> None:
    """It has imported what the operator has named, of which sessions are copies."""
    process = server.fork_server()
    assert "NoNewPrivs:\t1\n" in Path(f"/proc/{process}/status").read_text()
    assert resource.prlimit(process, resource.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize(("method", "inner"), [("forkserver", "spawn"), ("spawn", "forkserver")])
def test_processes_that_are_not_forked_are_isolated(start: Start, tmp_path: Path, method: str, inner: str) -> None:
    """A new program may be read by others again until it says otherwise.

    Those of an asynchronous vector environment start as the setup file says, which may have the environment, too.
    """
    setup = tmp_path / "setup.py"
    setup.write_text(f"""
import multiprocessing
import gymnasium
from tests.support import hostile_environments

class Reporting(hostile_environments.Doing):
    def __init__(self, render_mode=None):
        super().__init__(hostile_environments.report_isolation, render_mode)

multiprocessing.set_start_method("{inner}", force=True)
gymnasium.register("Reporting-v0", Reporting)
""")
    assert_isolated(start("--start-method", method, "--warm", "1", setup=setup), "Reporting-v0")
