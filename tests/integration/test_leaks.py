"""After hundreds of connections of every kind the server holds no more than before.

All of them need the marker ``sweep``, and ``make soak`` lets many more come and go.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest

from gymtwist.client import connect
from gymtwist_conformance.reference_client import ClassicClient, Refused
from gymtwist_conformance.reference_client.classic_client import RESET, handshake, monitor, step, string
from tests.support.patience import PATIENCE
from tests.support.process_inspection import (
    Handle,
    descendants,
    descriptors,
    eventually,
    left_after,
    mappings,
    proportional,
    resident,
)
from tests.support.server_process import ServerProcess

MEBIBYTE = 1 << 20

THREADS = 10
WARM_UP = 100

#: Bytes by which the server's memory may grow: with 400 connections a leak of 10 KiB for each is found.
SLACK = 4 * MEBIBYTE


def well_behaved(client: ClassicClient, index: int) -> None:
    """Play and disconnects."""
    client.open("CartPole-v1").play(20)


def refused(client: ClassicClient, index: int) -> None:
    """Ask for an unknown environment."""
    client.send(handshake(f"Nowhere-v{index}"))
    assert client.read_to_end()


def failing(environment: str) -> Callable[[ClassicClient, int], None]:
    """Return a client that steps an environment whose worker then fails."""

    def play(client: ClassicClient, index: int) -> None:
        client.open(environment).reset()
        client.send(step(0))
        client.wait_closed()

    return play


def failing_make(environment: str) -> Callable[[ClassicClient, int], None]:
    """Return a client that opens an environment that cannot be made."""

    def play(client: ClassicClient, index: int) -> None:
        try:
            client.open(environment)
        except Refused:
            return
        raise AssertionError(f"{environment} was made")

    return play


def saying(data: bytes, environment: str | None = "CartPole-v1") -> Callable[[ClassicClient, int], None]:
    """Return a client that sends bytes for which the server closes the connection."""

    def play(client: ClassicClient, index: int) -> None:
        if environment is not None:
            client.open(environment)
        client.send(data)
        client.wait_closed()

    return play


def leaving(data: bytes) -> Callable[[ClassicClient, int], None]:
    """Return a client that sends bytes and disconnects at once, by FIN or RST."""

    def play(client: ClassicClient, index: int) -> None:
        client.send(data)
        if index % 2:
            client.abort()

    return play


def recording(client: ClassicClient, index: int) -> None:
    """Record an episode into a directory that all clients share."""
    client.open("Episodes-v0").monitor("recorded", resume=True)
    client.play(12)


def uploading(client: ClassicClient, index: int) -> None:
    """Ask for an upload, which the server refuses."""
    client.open("")
    try:
        client.upload("results")
    except Refused:
        return
    raise AssertionError("it was uploaded")


def unread(client: ClassicClient, index: int) -> None:
    """Disconnects before it has read most of its replies."""
    client.open("Observe/Frame-v0").send(RESET + step(0) * 40)
    client.read_observation()


def littering(client: ClassicClient, index: int) -> None:
    """Start processes in the worker; they end with the session."""
    client.open("Fault/LeaveChildren-v0").reset()
    handles = [Handle(process) for process in client.step(0).info.values()]
    client.close()
    assert not left_after(handles, PATIENCE)


KINDS: list[Callable[[ClassicClient, int], None]] = [
    well_behaved,
    refused,
    failing("Fault/SegfaultInStep-v0"),
    failing("Fault/ExitInStep-v0"),
    failing("Fault/RaiseInStep-v0"),
    failing_make("Fault/RaiseInMake-v0"),
    failing_make("Fault/SegfaultInMake-v0"),
    saying(b"GET / HTTP/1.1\r\n\r\n", None),
    saying(b"\x00\xff\xff\xff\xff", None),
    saying(b"\x09"),
    saying(b"\x01\x00" + string("{")),
    saying(step(7)),
    saying(monitor("x", 2)),
    leaving(b""),
    leaving(b"\x00\x0b\x00"),
    leaving(handshake("CartPole-v1")),
    leaving(handshake("CartPole-v1") + RESET + step(0) * 10),
    recording,
    uploading,
    unread,
    littering,
]


class Holdings(NamedTuple):
    """Counts of what the server holds, which must be the same again."""

    descriptors: int
    descendants: int
    fork_server_descriptors: int

    @classmethod
    def of(cls, server: ServerProcess) -> Holdings:
        """Count what a server holds now."""
        return cls(
            len(descriptors(server.process.pid)),
            len(descendants(server.process.pid)),
            len(descriptors(server.fork_server())),
        )


def settle(server: ServerProcess) -> Holdings:
    """Return what the server holds once that has not changed for a second."""
    seen = [(time.monotonic(), Holdings.of(server))]

    def unchanged() -> bool:
        now = Holdings.of(server)
        if now != seen[-1][1]:
            seen.append((time.monotonic(), now))
        return time.monotonic() - seen[-1][0] > 1

    eventually(unchanged, PATIENCE, "a quiet server")
    return seen[-1][1]


def connect_many(server: ServerProcess, count: int) -> None:
    """Make connections of every kind from several threads at once."""
    port = server.port

    def one(index: int) -> None:
        kind = failing("Fault/HangInStep-v0") if index % 50 == 25 else KINDS[index % len(KINDS)]
        with ClassicClient.connect(port) as client:
            name = f"connection {index} of port {client.port} ({getattr(kind, '__qualname__', kind)})"
            try:
                kind(client, index)
            except Exception as error:
                raise AssertionError(f"{name} failed: {error!r}") from error

    order = list(range(count))
    random.Random(count).shuffle(order)
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(one, order):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("connections", [63, pytest.param(400, marks=pytest.mark.sweep)])
def test_connections_of_every_kind_leave_nothing(connections: int) -> None:
    """Descriptors, processes, mappings, files and memory are as before the connections."""
    with tempfile.TemporaryDirectory(prefix="gymtwist-") as name:
        directory, temporary = Path(name, "root"), Path(name, "tmp")
        directory.mkdir()
        temporary.mkdir()
        with ServerProcess(
            directory, "--debuggable", "--step-timeout", "2", changes={"TMPDIR": str(temporary)}
        ) as server:
            parent = server.process.pid
            connect_many(server, WARM_UP)
            before, memory, mapped = settle(server), resident(parent), mappings(parent)
            files = set(os.listdir(temporary))
            connect_many(server, connections)
            eventually(lambda: Holdings.of(server) == before, PATIENCE, f"{before} (now {Holdings.of(server)})")
            settle(server)
            assert Holdings.of(server) == before
            assert resident(parent) - memory < SLACK
            assert mappings(parent) - mapped < 50
            assert set(os.listdir(temporary)) == files
            with server.open("CartPole-v1") as client:
                client.play()
        assert os.listdir(temporary) == []
        assert os.listdir(directory) == ["recorded"]


def watch(server: ServerProcess, environment: str) -> None:
    """Look at three frames of a session, each of which is written after a reset."""
    since = server.mark()
    with (
        connect(f"127.0.0.1:{server.port}", environment, render_mode="rgb_array") as env,
        ThreadPoolExecutor(1) as pool,
    ):
        env.reset()
        number = server.wait_for(rf"\[session (\d+)\] started: {environment}", since=since).group(1)
        address, after = f"http://127.0.0.1:{server.port}/api/sessions/{number}/frame?after=", "0"
        for _ in range(3):
            asked = pool.submit(urlopen, address + after)
            while not asked.done():
                env.reset()
            with asked.result() as answer:
                after = answer.headers["Frame-Number"]
    server.wait_for(rf"\[session {number}\] ended")


def test_large_pictures_leave_nothing(tmp_path: Path) -> None:
    """Neither the pictures of sessions that have ended nor the memory in which they were made."""
    with ServerProcess(tmp_path) as server:
        watch(server, "Episodes-v0")
        before = resident(server.process.pid)
        for _ in range(4):
            watch(server, "Noise-v0")
        eventually(lambda: resident(server.process.pid) - before < MEBIBYTE, 10, "the memory of before")


def test_an_idle_session_is_cheap(tmp_path: Path) -> None:
    """An idle CartPole session costs less than 12 MB of proportional memory."""
    with ServerProcess(tmp_path, "--debuggable", setup=None) as server:
        clients = [server.open("CartPole-v1") for _ in range(5)]
        for client in clients:
            client.play()
        costs = [proportional(server.session(client).process) for client in clients]
        for client in clients:
            client.close()
    assert sum(costs) / len(costs) < 12_000_000
