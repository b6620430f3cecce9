"""WebSocket to a real server: the Python client, the reference client, TLS, crashes and long steps."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest

import gymtwist.client as gymtwist
from gymtwist.client import aio
from gymtwist.client.client_errors import ConnectionLost, EnvironmentFailed
from gymtwist_conformance.reference_client import ENCODINGS, FramedClient
from gymtwist_conformance.reference_client.websocket_stream import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketLink,
    WebSocketStream,
    client_frame,
)
from tests.conftest import Start
from tests.support.client_equivalence import assert_same
from tests.support.patience import LONG_DRAIN, PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import REPOSITORY, ServerProcess, connected, write_certificate

MAKE = b'{"op":"make","id":"%s"}'


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a second port for TLS."""
    directory = tmp_path_factory.mktemp("server")
    key, certificate = write_certificate(directory)
    secure = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with ServerProcess(
        directory, "--drain", LONG_DRAIN, "--listen", secure, "--allow-host", "gym.example.org"
    ) as running:
        yield running


def secure_port(server: ServerProcess) -> int:
    """Return the port for TLS."""
    return int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def place(request: pytest.FixtureRequest, server: ServerProcess) -> dict[str, Any]:
    """How to connect: the address, and the certificate to trust."""
    if not request.param:
        return {"address": f"ws://127.0.0.1:{server.port}", "timeout": PATIENCE}
    certificate = str(server.directory / "certificate.pem")
    return {"address": f"wss://127.0.0.1:{secure_port(server)}", "tls": certificate, "timeout": PATIENCE}


def raw_stream(place: dict[str, Any], server: ServerProcess) -> WebSocketStream:
    """Connect without the client under test."""
    raw = connected(("127.0.0.1", secure_port(server) if "tls" in place else server.port))
    if "tls" in place:
        raw = ssl.create_default_context(cafile=place["tls"]).wrap_socket(raw, server_hostname="127.0.0.1")
    return WebSocketStream(raw)


@pytest.mark.parametrize("protocol", ENCODINGS)
def test_the_client_of_asyncio_plays(place: dict[str, Any], protocol: Any) -> None:
    """The same as the client that blocks, also while the server pings, and with messages that are large."""
    sent: dict[str, Any] = {"protocol": protocol, "render_mode": "rgb_array"}

    async def play() -> list[Any]:
        async with aio.connect(env_id="CartPole-v1", **place, **sent) as theirs:
            played: list[Any] = [await theirs.reset(seed=1)]
            for _ in range(5):
                played.append(await theirs.step(1))
            return [*played, await theirs.render()]

    with gymtwist.connect(env_id="CartPole-v1", **place, **sent) as ours:
        wanted: list[Any] = [ours.reset(seed=1), *(ours.step(1) for _ in range(5)), ours.render()]
    assert_same(tuple(asyncio.run(asyncio.wait_for(play(), PATIENCE))), tuple(wanted))


def test_the_client_of_asyncio_is_refused(server: ServerProcess) -> None:
    """With the reason, where the server has no WebSocket."""

    async def connect() -> None:
        await aio.connect(f"ws://127.0.0.1:{server.port}/nowhere", "CartPole-v1")

    with pytest.raises(ConnectionLost, match="the server answers with 404"):
        asyncio.run(asyncio.wait_for(connect(), PATIENCE))


@pytest.mark.parametrize("protocol", ENCODINGS)
def test_the_python_client_plays(place: dict[str, Any], protocol: Any) -> None:
    """The same as a local environment; without shared memory."""
    local = gymnasium.make("CartPole-v1")
    with gymtwist.connect(env_id="CartPole-v1", protocol=protocol, **place) as env:
        assert np.array_equal(env.reset(seed=3)[0], local.reset(seed=3)[0])
        for action in (0, 1, 1, 0):
            ours, theirs = env.step(action), local.step(action)
            assert np.array_equal(ours[0], theirs[0])
            assert ours[1:] == theirs[1:]


def test_vectors_play(place: dict[str, Any]) -> None:
    """Of several processes as well; observations of 100 kB arrive whole."""
    with gymtwist.connect_vec(env_id="CartPole-v1", num_envs=4, processes=2, **place) as envs:
        envs.reset(seed=1)
        assert envs.step(np.ones(4, np.int64))[0].shape == (4, 4)
    pytest.importorskip("ale_py")
    with gymtwist.connect(env_id="ALE/Pong-v5", **place) as env:
        assert env.reset(seed=1)[0].shape == (210, 160, 3)
        for _ in range(20):
            assert env.step(0)[0].shape == (210, 160, 3)


def test_an_environment_is_made_by_an_id_of_gymnasium(place: dict[str, Any]) -> None:
    """The specification keeps the address."""
    with gymnasium.make("gymtwist.client:gymtwist/Remote-v0", env_id="CartPole-v1", **place) as env:
        env.reset(seed=1)
        assert env.spec is not None
        stored = env.spec.to_json()
    assert place["address"] in stored


def test_the_list_of_environments_comes_by_websocket(place: dict[str, Any]) -> None:
    """As by any other connection."""
    assert "CartPole-v1" in {each.id for each in gymtwist.envs(**place)}


def test_an_environment_that_crashes_can_be_reset(place: dict[str, Any]) -> None:
    """Another process resumes the session on the same WebSocket."""
    with gymtwist.connect(env_id="Fault/SegfaultInStep-v0", **place) as env:
        env.reset()
        with pytest.raises(EnvironmentFailed):
            env.step(0)
        env.reset()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_strict_client_plays(server: ServerProcess, encoding: str) -> None:
    """Who checks each frame finds nothing to complain of."""
    link: Any = WebSocketLink(connected(("127.0.0.1", server.port)), encoding)
    with FramedClient(link, encoding) as client:
        client.make("CartPole-v1")
        client.reset()
        for index in range(50):
            if client.step(index % 2).terminated:
                client.reset()


def test_a_server_without_websocket_is_told_from_others(server: ServerProcess) -> None:
    """What the server answers is in the error."""
    with pytest.raises(ConnectionLost, match=r"the server answers with 404 .*nothing at this path"):
        gymtwist.connect(f"ws://127.0.0.1:{server.port}/elsewhere", "CartPole-v1")


def test_pings_are_answered_while_the_environment_computes(place: dict[str, Any], server: ServerProcess) -> None:
    """Through TLS as well: clients give up a connection that does not answer."""
    mark = server.mark()
    with raw_stream(place, server) as stream:
        server.note(stream, mark)
        stream.send_frame(TEXT, MAKE % b"Fault/HangInStep-v0")
        assert stream.read_frame().opcode == TEXT
        stream.send_frame(TEXT, b'{"op":"reset"}')
        stream.read_frame()
        stream.send_frame(TEXT, b'{"op":"step","action":0}')
        for number in range(3):
            stream.send_frame(PING, b"%d" % number)
            assert stream.read_frame() == Frame(PONG, b"%d" % number)
        os.kill(server.session(stream).process, signal.SIGKILL)
        assert b"environment-fault" in stream.read_frame().payload


def test_a_client_that_reads_nothing_is_given_little(server: ServerProcess) -> None:
    """However much it asks for: the session waits until its replies are read."""
    pytest.importorskip("ale_py")
    mark = server.mark()
    with WebSocketStream(connected(("127.0.0.1", server.port))) as stream:
        server.note(stream, mark)
        stream.send_frame(BINARY, msgspec.msgpack.encode({"op": "make", "id": "ALE/Pong-v5"}))
        stream.read_frame()
        session = server.session(stream)
        step = client_frame(BINARY, msgspec.msgpack.encode({"op": "step", "action": bytes(8)}))
        stream.send(client_frame(BINARY, msgspec.msgpack.encode({"op": "reset"})) + 1000 * step)
        eventually(partial(_is_at_rest, stream.socket, []), PATIENCE, "the end of what comes unread")
    steps = re.search(r"(\d+) steps", server.end(session))
    assert steps is not None
    assert 210 * 160 * 3 * int(steps.group(1)) < 16 * 2**20


def _is_at_rest(connection: socket.socket, counts: list[int]) -> bool:
    """Return whether no more bytes have come for a while, which nobody reads."""
    waiting = bytearray(4)
    fcntl.ioctl(connection, termios.FIONREAD, waiting)
    counts.append(int.from_bytes(waiting, sys.byteorder))
    return counts[-1] > 0 and counts[-25:] == 25 * counts[-1:]


def test_the_end_of_the_server_is_told(start: Start) -> None:
    """With the code 1001, when the time for the rest of a session is over."""
    server = start("--drain", "0.1")
    with WebSocketStream(connected(("127.0.0.1", server.port))) as stream:
        stream.send_frame(TEXT, MAKE % b"CartPole-v1")
        stream.read_frame()
        server.terminate()
        assert stream.read_frame().code == 1001
        assert stream.read_to_end() == b""
    server.wait()


def test_the_client_for_javascript_plays(place: dict[str, Any]) -> None:
    """In both encodings; the page uses the same files."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    program = REPOSITORY / "tests" / "support" / "javascript_client.mjs"
    words = [node, str(program), f"{place['address']}/ws", *([place["tls"]] if "tls" in place else [])]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "ok\n")


def test_a_client_that_leaves_sees_the_end_at_once(place: dict[str, Any], server: ServerProcess) -> None:
    """The answer to its close frame, and the end of the connection, however long its environment takes to close."""
    mark = server.mark()
    with raw_stream(place, server) as stream:
        server.note(stream, mark)
        stream.send_frame(TEXT, MAKE % b"Fault/HangInClose-v0")
        stream.read_frame()
        session = server.session(stream)
        stream.send_frame(CLOSE, b"\x03\xe8")
        assert stream.read_frame() == Frame(CLOSE, b"\x03\xe8")
        assert stream.read_to_end() == b""
    os.kill(session.process, signal.SIGKILL)
    assert "SIGKILL" in server.end(session)
