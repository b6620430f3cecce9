"""Where the server listens: TCP, more than one place, UNIX sockets, and TLS."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from gymtwist.client import ConnectionLost, ProtocolBroken
from gymtwist_conformance.reference_client import ClassicClient
from gymtwist_conformance.reference_client.classic_client import RESET, error_text, handshake, step
from tests.support.patience import LONG_DRAIN, PATIENCE
from tests.support.process_inspection import Handle, descriptors, eventually, left_after, peak
from tests.support.server_process import ServerProcess, connected, write_certificate

MEBIBYTE = 1 << 20

Connect = Callable[[], ClassicClient]


def unused_port() -> int:
    """Return the number of a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that listens in several places."""
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has a hundred bytes at most
        endpoints = "tcp:0:interface=127.0.0.3", "tcp:0:interface=127.0.0.4", f"unix:{short}/gym", "tcp:0"
        options = "--trusted-network", *(word for endpoint in endpoints for word in ("--listen", endpoint))
        with ServerProcess(tmp_path_factory.mktemp("places"), *options, port=str(unused_port())) as running:
            yield running


def test_a_number_is_a_port_of_the_loopback(places: ServerProcess) -> None:
    """`--port 5001` is not to be reached from outside."""
    with places.open("CartPole-v1") as client:
        client.play()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", places.port), timeout=10)


def test_the_server_listens_in_more_than_one_place(places: ServerProcess) -> None:
    """--listen may be repeated, beside --port, with any description that Twisted understands."""
    ports: list[int] = []
    since = 0
    while len(ports) < 3:
        line = places.wait_for(r" starting on (\d+)", since=since)
        since = places.lines.index(line.string) + 1
        ports.append(int(line.group(1)))
    served = 0
    for host in ("127.0.0.1", "127.0.0.3", "127.0.0.4"):
        for port in ports:
            try:
                client = ClassicClient.connect(port, host)
            except ConnectionRefusedError:
                continue
            with client:
                client.open("CartPole-v1").play()
                served += 1
    assert served == 3


def test_a_unix_socket_serves(places: ServerProcess) -> None:
    """A UNIX socket can be handed over as well as one of TCP."""
    path = places.wait_for(r"unix:(/\S+/gym)").group(1)
    for _ in range(2):
        since = places.mark()
        with ClassicClient(connected(path)) as client:
            client.open("CartPole-v1").play()
        number = places.wait_for(r"\[session (\d+)\] started: CartPole-v1 ", since=since).group(1)
        places.wait_for(rf"\[session {number}\] ended: the client left; ")


def test_an_operator_may_trust_the_network(places: ServerProcess) -> None:
    """Then whoever can connect plays, and the log says so."""
    found = places.wait_for(r"Listening on 0.0.0.0:(\d+).*there is no password")
    with ClassicClient.connect(int(found.group(1)), "127.0.0.2") as client:
        client.open("CartPole-v1").play()


# TLS: the parent relays


@pytest.fixture(scope="module")
def secure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a TLS endpoint; a connection that it did not forget would hold up its end."""
    directory = tmp_path_factory.mktemp("secure")
    key, certificate = write_certificate(directory)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with ServerProcess(
        directory, "--listen", endpoint, "--seed", "7", "--idle-timeout", "2", "--drain", LONG_DRAIN
    ) as running:
        yield running


@pytest.fixture
def connect(secure_server: ServerProcess) -> Connect:
    """Connect over TLS; the certificate is verified."""
    port = int(secure_server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    context = ssl.create_default_context(cafile=str(secure_server.directory / "certificate.pem"))

    def tls() -> ClassicClient:
        mark = secure_server.mark()
        raw = connected(("127.0.0.1", port))
        client = ClassicClient(context.wrap_socket(raw, server_hostname="127.0.0.1"))
        secure_server.note(client, mark)
        return client

    return tls


def test_cartpole_over_tls(connect: Connect) -> None:
    """The classic protocol does not know what carries it."""
    with connect() as client:
        client.open("CartPole-v1").play(100)


def test_a_refusal_over_tls(connect: Connect) -> None:
    """The error string arrives before the end."""
    with connect() as client:
        client.send(handshake("Nowhere-v0"))
        assert "Nowhere-v0" in error_text(client.read_to_end())


def test_pong_over_tls_is_intact(connect: Connect) -> None:
    """Frames that were sent ahead of their reader arrive whole and in order."""
    ale_py = pytest.importorskip("ale_py")
    gymnasium.register_envs(ale_py)
    local: gymnasium.Env[Any, Any] = gymnasium.make("ALE/Pong-v5")
    with connect() as client:
        client.open("ALE/Pong-v5")
        client.send(RESET + b"".join(step(index % 6) for index in range(200)))
        assert np.array_equal(client.read_observation(), local.reset(seed=7)[0])
        for index in range(200):
            assert np.array_equal(client.read_step().observation, local.step(index % 6)[0])


def test_a_crash_closes_the_tls_connection(secure_server: ServerProcess, connect: Connect) -> None:
    """A client over TLS hears of its environment's end no later than others."""
    with connect() as client:
        client.open("Fault/SegfaultInStep-v0")
        session = secure_server.session(client)
        client.reset()
        client.send(step(0))
        client.wait_closed()
    assert secure_server.end(session).startswith("its process was killed by SIGSEGV")


def test_a_client_that_leaves_over_tls(secure_server: ServerProcess, connect: Connect) -> None:
    """The worker reads the end of the connection through the relay."""
    with connect() as client:
        client.open("CartPole-v1").play()
        session = secure_server.session(client)
        handle = Handle(session.process)
    assert secure_server.end(session).startswith("the client left; ")
    assert not left_after([handle], PATIENCE)


def test_a_tls_client_that_never_reads_costs_no_memory(secure_server: ServerProcess, connect: Connect) -> None:
    """The relay stops reading from the worker when the client does not read from it: half a gigabyte waits."""
    with connect() as client:
        client.open("CartPole-v1").play()
    before = peak(secure_server.process.pid)
    with connect() as client:
        client.open("Observe/Frame-v0")
        session = secure_server.session(client)
        client.send(RESET + step(0) * 5000)
        assert secure_server.end(session).startswith("idle for more than 2 s; ")
    assert peak(secure_server.process.pid) - before < 32 * MEBIBYTE


def test_a_tls_client_that_never_stops_sending_costs_no_memory(secure_server: ServerProcess, connect: Connect) -> None:
    """The relay stops reading from the client when the worker is busy, and yet notices that it has left."""
    before = peak(secure_server.process.pid)
    with connect() as client:
        client.open("Fault/SlowStep-v0")
        session = secure_server.session(client)
        client.reset()
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(64):
                client.send(step(0) * (MEBIBYTE // len(step(0))))
    secure_server.end(session)
    assert peak(secure_server.process.pid) - before < 32 * MEBIBYTE


def test_garbage_instead_of_tls(secure_server: ServerProcess) -> None:
    """A client that speaks in the clear does not disturb those that do not."""
    port = int(secure_server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    before = len(descriptors(secure_server.process.pid))
    with ClassicClient(connected(("127.0.0.1", port))) as client:
        client.send(handshake("CartPole-v1") + bytes(1000))
        client.wait_closed()
    eventually(lambda: len(descriptors(secure_server.process.pid)) <= before, PATIENCE, "the end of the connection")


@pytest.mark.parametrize("protocol", ["int32", "netstring"])
def test_a_plain_client_of_a_tls_port_is_told_so(secure_server: ServerProcess, protocol: Any) -> None:
    """In its own protocol, and in the log."""
    port = int(secure_server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    mark = secure_server.mark()
    with pytest.raises(ProtocolBroken, match=r"this port expects TLS.*tls=True"):
        gymtwist.client.connect(port, "CartPole-v1", protocol=protocol)
    secure_server.wait_for(r"refused 127.0.0.1:\d+: this port expects TLS", since=mark)
    with ClassicClient(connected(("127.0.0.1", port))) as client:
        client.send(handshake("CartPole-v1"))
        assert "this port expects TLS" in error_text(client.read_to_end())


def test_a_tls_client_of_a_plain_port_is_told_so(secure_server: ServerProcess) -> None:
    """In its error, and in the log."""
    mark = secure_server.mark()
    with pytest.raises(ConnectionLost, match="it does not speak TLS: connect without tls"):
        gymtwist.client.connect(secure_server.port, "CartPole-v1", tls=True)
    secure_server.wait_for(r"refused 127.0.0.1:\d+: .*they begin TLS, which this port does not speak", since=mark)


def test_a_client_that_does_not_trust_the_certificate_leaves_a_line(secure_server: ServerProcess) -> None:
    """With the reason that its TLS gives."""
    port = int(secure_server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    mark = secure_server.mark()
    with pytest.raises(ConnectionLost, match="certificate verify failed"):
        gymtwist.client.connect(f"127.0.0.1:{port}", "CartPole-v1", tls=True)
    secure_server.wait_for(r"no handshake of 127.0.0.1:\d+: the TLS handshake failed \(.*unknown ca", since=mark)


def test_a_certificate_may_be_a_path_of_any_kind(secure_server: ServerProcess) -> None:
    """One that is not text was ignored, and the system's certificates were trusted instead."""
    port = int(secure_server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    certificate = secure_server.directory / "certificate.pem"
    with gymtwist.client.connect(f"127.0.0.1:{port}", "CartPole-v1", tls=certificate) as env:
        env.reset(seed=1)


def test_a_connection_that_was_never_tls_is_forgotten(tmp_path: Path) -> None:
    """It is not waited for when the server stops."""
    key, certificate = write_certificate(tmp_path)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with ServerProcess(tmp_path, "--listen", endpoint, "--drain", "30") as server:
        port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
        with ClassicClient(connected(("127.0.0.1", port))) as client:
            client.send(handshake("CartPole-v1") + bytes(1000))
            client.wait_closed()
        server.terminate()
        server.wait_shut_down(8)
