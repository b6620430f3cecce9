"""A client that shares memory with a real server on its host: it notices nothing but that it is faster."""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gymtwist.client import ConnectionLost, TimedOut, connect, connect_vec
from gymtwist.protocol import shared_memory as wire_sharing
from tests.conftest import Start
from tests.support.client_equivalence import SETUP, Remote, RemoteVec, assert_same, local
from tests.support.client_interrupts import lost_by
from tests.support.harness import descriptor_count
from tests.support.patience import PATIENCE
from tests.support.process_inspection import descendants, eventually
from tests.support.scripted_server import Script, error, made
from tests.support.server_process import ServerProcess, connected, write_certificate
from tests.support.shared_memory_env import (
    SEED,
    SHARING,
    by,
    connections,
    hold,
    on,
    passed,
    play,
    shares,
)

pytest_plugins = ("tests.support.client_fixtures", "tests.support.shared_memory_fixtures")
pytestmark = [
    pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only"),
    pytest.mark.usefixtures("few_objects"),
]

MAPPED = "memfd:gymtwist-shared"


def sharers(server: ServerProcess) -> list[int]:
    """Return the processes of a server that have shared memory mapped."""
    found: list[int] = []
    for process in descendants(server.process.pid):
        try:
            maps = Path(f"/proc/{process}/maps").read_text()
        except OSError:
            continue
        found += [process] * maps.count(MAPPED)
    return found


def mapped() -> int:
    """Return the size of the shared memory that this process has mapped for open connections."""
    gc.collect()
    return Path("/proc/self/maps").read_text().count(MAPPED)


@pytest.fixture(scope="module")
def every_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with ports of every kind, which does not poll, and whose processes show what they have mapped."""
    directory = tmp_path_factory.mktemp("server")
    key, certificate = write_certificate(directory)
    secure = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    ports = "--listen", secure, "--listen", f"unix:{directory / 'socket'}"
    with ServerProcess(directory, "--debuggable", "--poll", "0", *ports, setup=SETUP) as running:
        running.wait_for(r"\(TLS\) starting on")
        connected(str(directory / "socket")).close()
        yield running


@pytest.fixture
def debuggable(every_port: ServerProcess) -> ServerProcess:
    """That server, without sessions."""
    eventually(lambda: not sharers(every_port), PATIENCE, "the end of earlier sessions")
    return every_port


def test_a_client_on_the_servers_host_shares_memory(debuggable: ServerProcess, protocol: str) -> None:
    """The session's process maps the memory once and unmaps it at the end of the session."""
    server, before, since = debuggable, mapped(), debuggable.mark()
    with connect(server.port, "CartPole-v1", protocol=protocol, timeout=PATIENCE) as theirs:  # type: ignore[arg-type]
        assert len(sharers(server)) == 1
        assert mapped() == before + 1
        numbers = passed(theirs)
        hold("polling", connections(theirs)[0])
        play(theirs, [0, 1])
        assert passed(theirs) > numbers
    server.wait_for("ended: the client left", since=since)
    assert mapped() == before


def test_each_process_of_a_vector_environment_shares_its_own(debuggable: ServerProcess) -> None:
    """Two connections share two blocks of memory."""
    with connect_vec(debuggable.port, "CartPole-v1", 4, processes=2, timeout=PATIENCE) as theirs:
        assert shares(theirs)
        assert len(set(sharers(debuggable))) == len(sharers(debuggable)) == 2


def test_a_client_need_not_share(debuggable: ServerProcess) -> None:
    """With shared_memory=False the client uses the socket."""
    with connect(debuggable.port, "CartPole-v1", shared_memory=False, timeout=PATIENCE) as theirs:
        assert not shares(theirs)
        assert sharers(debuggable) == []
        play(theirs, [0, 1])
    with connect_vec(debuggable.port, "CartPole-v1", 2, processes=2, shared_memory=False, timeout=PATIENCE) as several:
        assert not shares(several)
        assert sharers(debuggable) == []


def test_a_specification_keeps_whether_memory_is_shared(remote: Remote) -> None:
    """An environment that is made from the specification has the same options."""
    for shared_memory in (True, False):
        theirs: Any = remote("CartPole-v1", shared_memory=shared_memory)
        with theirs.spec.make() as again:
            assert shares(again.unwrapped) is shared_memory


def test_the_log_says_what_is_shared(remote: Remote, scripted: Script, caplog: pytest.LogCaptureFixture) -> None:
    """Or why nothing is."""
    caplog.set_level(logging.DEBUG, "gymtwist.client")
    remote("CartPole-v1")
    assert re.search(r"memory of \d+ bytes is shared", caplog.text)
    connect(scripted(made(shared_memory=True), error("request", "sharing-refused")).port, "Scripted-v0").close()
    assert "no memory is shared: what to do" in caplog.text


def test_an_operator_can_forbid_it(start: Start) -> None:
    """With --no-shared-memory clients use their sockets and get the same results."""
    server = start("--no-shared-memory", "--debuggable", setup=SETUP)
    connected(("127.0.0.1", server.port)).close()
    with connect(server.port, "CartPole-v1", timeout=PATIENCE) as theirs:
        assert not shares(theirs)
        assert sharers(server) == []
        assert_same(play(theirs, [0, 1] * 30), play(local("CartPole-v1"), [0, 1] * 30))


def test_a_server_that_does_not_poll_is_woken_up(debuggable: ServerProcess, way: str) -> None:
    """With --poll 0 the server waits without polling."""
    with connect(debuggable.port, "CartPole-v1", timeout=PATIENCE) as theirs:
        by(way, theirs)
        actions = np.random.default_rng(3).integers(2, size=300).tolist()
        assert_same(play(theirs, actions), play(local("CartPole-v1"), actions))
        assert passed(theirs) > 300


def test_a_unix_socket_leads_to_this_host(debuggable: ServerProcess) -> None:
    """A client of a UNIX socket shares memory."""
    with connect(f"unix:{debuggable.directory / 'socket'}", "CartPole-v1", timeout=PATIENCE) as theirs:
        by("polling", theirs)
        assert len(sharers(debuggable)) == 1
        assert_same(play(theirs, [0, 1] * 30), play(local("CartPole-v1"), [0, 1] * 30))


def test_over_tls_nothing_is_shared(debuggable: ServerProcess) -> None:
    """A client that asked for TLS does not share memory."""
    port = int(debuggable.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    certificate = str(debuggable.directory / "certificate.pem")
    with connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=certificate, timeout=PATIENCE) as theirs:
        assert not shares(theirs)
        assert sharers(debuggable) == []
        theirs.reset()


# In time, or not at all


def test_a_reply_that_does_not_come_in_time_ends_the_connection(remote: Remote, protocol: str, way: str) -> None:
    """The server ends the session as well."""
    theirs = on(way, remote, "Fault/SlowStep-v0", protocol=protocol, timeout=1.0)
    theirs.reset()
    begun = time.monotonic()
    with pytest.raises(TimedOut, match="within 1 s"):
        theirs.step(0)
    assert time.monotonic() - begun > 0.9
    for act in (lambda: theirs.step(0), theirs.reset):
        with pytest.raises(TimedOut, match="connect again"):
            act()
    assert not shares(theirs)


def test_an_interrupt_at_any_moment_never_leaves_it_waiting(served: ServerProcess) -> None:
    """The client stays in step or reports at once that it is closed, and observations do not change."""
    assert lost_by("shared_memory_interrupts", served.port) < 40


# Processes that part


def test_a_forked_process_does_not_disturb_its_parent(remote: Remote, way: str) -> None:
    """A forked process has neither the connection nor the memory."""
    before = mapped()
    theirs, ours = on(way, remote, "CartPole-v1"), local("CartPole-v1")
    assert mapped() == before + 1
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    reading, writing = os.pipe()
    if not (process := os.fork()):
        try:
            theirs.step(1)
        except ConnectionLost:
            os.write(writing, f"lost {mapped() - before}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        assert stream.read() == "lost 0"
    os.waitpid(process, 0)
    for _ in range(5):
        assert_same(theirs.step(0), ours.step(0))
    assert shares(theirs)


def test_a_closed_environment_leaves_nothing(remote: Remote, remote_vec: RemoteVec) -> None:
    """No descriptor and no memory remain, even while the environment is referenced."""
    before = descriptor_count(), mapped()
    kept: list[Any] = []
    for index in range(8):
        made: Any = remote("CartPole-v1") if index % 2 else remote_vec("Observe/Frame-v0", 2, processes=2)
        by(SHARING[index // 2 % 2], made)
        kept.append(made)
        kept.append(made.reset())
        made.close()
    assert (descriptor_count(), mapped()) == before
