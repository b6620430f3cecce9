"""A real server that its operator controls while it runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gymtwist.client
from gymtwist.control.gymsockctl import main
from tests.conftest import Start
from tests.support.identity_files import write_identities
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import ServerProcess, connected, write_certificate

CLIENT_MEASURED = True


def gymsockctl(server: ServerProcess, *words: str, status: int = 0) -> str:
    """Run the command; return what it prints."""
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        ended = main(["--socket", str(server.directory / "control"), *words])
    assert ended == status, complained.getvalue()
    return printed.getvalue() or complained.getvalue()


def asked(server: ServerProcess, *words: str) -> Any:
    """Run the command; return the JSON that it prints."""
    return json.loads(gymsockctl(server, "--json", *words))


OPTIONS = 'control = "control"\nallow = ["CartPole-*", "Slow*"]'


@pytest.fixture(scope="module")
def server_with_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a control socket, a file of options and a port with TLS."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "gymsock.toml").write_text(OPTIONS)
    key, certificate = write_certificate(directory)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with ServerProcess(directory, "--config", "gymsock.toml", "--listen", endpoint) as running:
        running.wait_for("To stop: kill")
        yield running


@pytest.fixture
def controlled(server_with_file: ServerProcess) -> Iterator[tuple[ServerProcess, Path]]:
    """That server, and its file of options, which a test may change."""
    path = server_with_file.directory / "gymsock.toml"
    eventually(lambda: not asked(server_with_file, "sessions"), PATIENCE, "the end of earlier sessions")
    yield server_with_file, path
    if path.read_text() != OPTIONS:
        path.write_text(OPTIONS)
        gymsockctl(server_with_file, "reload")


def test_an_operator_sees_and_ends_sessions(controlled: tuple[ServerProcess, Path]) -> None:
    """By tables for people, or by JSON; the others go on."""
    server, _ = controlled
    assert oct((server.directory / "control").stat().st_mode)[-3:] == "600"
    assert "no sessions are running" in gymsockctl(server, "sessions")
    assert gymsockctl(server, "errors") == "no errors\n"
    with (
        gymtwist.client.connect(server.port, "CartPole-v1") as env,
        gymtwist.client.connect(server.port, "CartPole-v1") as other,
    ):
        env.reset(seed=1)
        other.reset(seed=1)
        env.step(0)
        first, second = asked(server, "sessions")
        number = str(first["number"])
        assert (first["environment"], first["steps"], second["steps"]) == ("CartPole-v1", 1, 0)
        assert asked(server, "status")["sessions"] == {"taken": 2, "limit": 256}
        status = gymsockctl(server, "status")
        assert "2 of 256" in status
        assert "node" not in status
        heading, row, *_ = gymsockctl(server, "sessions").splitlines()
        assert "steps per second" in heading and "_" not in heading
        assert "CartPole-v1  127.0.0.1:" in row
        assert "environment       CartPole-v1" in gymsockctl(server, "show", number)
        assert f"session {number} ends" in gymsockctl(server, "end", number, "--reason", "maintenance")
        with pytest.raises(gymtwist.client.ConnectionLost):
            for _ in range(100):
                env.step(0)
        server.wait_for(rf"session {number}\] ended: an operator ended it \(\S+: maintenance\)")
        other.step(0)
    assert gymsockctl(server, "envs", "CartPole-v1") == "CartPole-v1\n"
    refusal = gymsockctl(server, "end", number, status=1)
    assert f"no session with this number is running or has ended recently: {number}" in refusal
    server.wait_for(rf"\[control\] \S+ ends session {number}: maintenance")


def test_nobody_else_controls_a_server(controlled: tuple[ServerProcess, Path]) -> None:
    """What changes something is not at the port; the command says where no server answers."""
    server, _ = controlled
    for path in ("/api/reload", "/api/drain", "/api/sessions/1/end"):
        with connected(("127.0.0.1", server.port)) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert client.recv(65536).split(b" ")[1] in (b"404", b"405")
    shutil.move(server.directory / "control", server.directory / "elsewhere")
    assert "no server answers at" in gymsockctl(server, "status", status=1)
    shutil.move(server.directory / "elsewhere", server.directory / "control")


@pytest.mark.parametrize("how", ["command", "signal"])
def test_options_are_read_anew(controlled: tuple[ServerProcess, Path], how: str) -> None:
    """By the command, which shows what has changed, or by SIGHUP; a session that runs does not notice."""
    server, path = controlled
    since = server.mark()
    with gymtwist.client.connect(server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        with pytest.raises(gymtwist.client.RequestRefused, match="not allowed"):
            gymtwist.client.connect(server.port, "Pendulum-v1")
        assert gymsockctl(server, "envs", "C*-v1").split() == ["CartPole-v1"]
        path.write_text('control = "control"\nallow = ["Pendulum-*"]\nwarm = 3\nmax-envs = 2')
        if how == "command":
            printed = gymsockctl(server, "reload").splitlines()
            assert printed == [
                "max-envs is 2",
                "allow is Pendulum-*",
                "1 certificate read",
                "warm needs an upgrade or a restart",
            ]
        else:
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_for(
                r"SIGHUP reloads the options: max-envs is 2; allow is Pendulum-\*; .*warm needs an upgrade or a",
                since=since,
            )
        gymtwist.client.connect(server.port, "Pendulum-v1").close()
        assert "CartPole-v1" not in gymsockctl(server, "envs")
        with pytest.raises(gymtwist.client.RequestRefused, match="not allowed"):
            gymtwist.client.connect(server.port, "CartPole-v1")
        with pytest.raises(gymtwist.client.RemoteError, match="max-envs"):
            gymtwist.client.connect_vec(server.port, "Pendulum-v1", num_envs=3)
        env.step(0)
        path.write_text("allw = []")
        if how == "command":
            assert "did you mean `allow`" in gymsockctl(server, "reload", status=1)
            env.step(0)


def test_a_token_is_taken_away(start: Start, tmp_path: Path) -> None:
    """Its sessions go on, and it begins no other one."""
    path, tokens = write_identities(tmp_path, alice="", bob="")
    server = start("--identities", path, "--control", str(tmp_path / "control"), directory=tmp_path)
    server.wait_for("To stop: kill")
    with gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["alice"]) as env:
        env.reset(seed=1)
        (row,) = asked(server, "sessions")
        assert row["identity"] == "alice"
        Path(path).write_text("[bob]" + Path(path).read_text().partition("[bob]")[2].partition("[alice]")[0])
        assert asked(server, "reload")["changed"] == ["identities removed: alice"]
        env.step(0)
        with pytest.raises(gymtwist.client.RequestRefused, match="token is not valid"):
            gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["alice"])
    gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["bob"]).close()


def test_a_certificate_is_read_anew(controlled: tuple[ServerProcess, Path], tmp_path: Path) -> None:
    """New connections get it; a broken one is refused, and the server goes on with the one it has."""
    server, _ = controlled
    key, certificate = server.directory / "key.pem", server.directory / "certificate.pem"
    port = int(server.wait_for(r"Listening on tls:127.0.0.1:(\d+)").group(1))

    def offered() -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    before = offered()
    with gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(certificate)) as env:
        env.reset(seed=1)
        new_key, new_certificate = write_certificate(tmp_path)
        certificate.write_text("nothing")
        assert "no start line" in gymsockctl(server, "reload", status=1)
        assert offered() == before
        shutil.copy(new_key, key)
        shutil.copy(new_certificate, certificate)
        assert gymsockctl(server, "reload") == "1 certificate read\n"
        assert offered() != before
        env.step(0)
    gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(new_certificate)).close()


def test_a_server_is_drained(start: Start) -> None:
    """The last session ends it, whatever --drain says."""
    server = start("--control", "control")
    server.wait_for("To stop: kill")
    with gymtwist.client.connect(server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        assert "1 are running" in gymsockctl(server, "drain")
        with pytest.raises(gymtwist.client.RequestRefused, match="shutting down"):
            gymtwist.client.connect(server.port, "CartPole-v1", connect_timeout=1.0)
        env.step(0)
    assert server.wait() == 0


def test_sessions_can_be_watched(controlled: tuple[ServerProcess, Path]) -> None:
    """Until the operator has enough."""
    server, _ = controlled
    command = [sys.executable, "-m", "gymtwist.control.gymsockctl", "--socket", str(server.directory / "control")]
    with subprocess.Popen([*command, "sessions", "--watch", "0.01"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
    assert all("no sessions are running" in line for line in lines)
