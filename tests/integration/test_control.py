"""A real server that its operator controls while it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gymtwist.client
from tests.conftest import Start
from tests.support.identity_files import write_identities
from tests.support.server_process import ServerProcess, connected, write_certificate

CLIENT_MEASURED = True


def gymsockctl(server: ServerProcess, *words: str, status: int = 0) -> str:
    """Run the command; return what it prints."""
    socket = str(server.directory / "control")
    command = [sys.executable, "-m", "gymtwist.control.gymsockctl", "--socket", socket, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout or done.stderr


def asked(server: ServerProcess, *words: str) -> Any:
    """Run the command; return the JSON that it prints."""
    return json.loads(gymsockctl(server, "--json", *words))


@pytest.fixture
def controlled(start: Start, tmp_path: Path) -> tuple[ServerProcess, Path]:
    """A server with a control socket and a file of options."""
    path = tmp_path / "gymsock.toml"
    path.write_text('control = "control"\nallow = ["CartPole-*", "Slow*"]')
    server = start("--config", str(path), directory=tmp_path)
    server.wait_for("To stop: kill")
    return server, path


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
        assert (first["environment"], first["steps"], second["steps"]) == ("CartPole-v1", 1, 0)
        assert asked(server, "status")["sessions"] == {"taken": 2, "limit": 256}
        status = gymsockctl(server, "status")
        assert "2 of 256" in status
        assert "node" not in status
        heading, row, *_ = gymsockctl(server, "sessions").splitlines()
        assert "steps per second" in heading and "_" not in heading
        assert "CartPole-v1  127.0.0.1:" in row
        assert "environment       CartPole-v1" in gymsockctl(server, "show", "1")
        assert "session 1 ends" in gymsockctl(server, "end", "1", "--reason", "maintenance")
        with pytest.raises(gymtwist.client.ConnectionLost):
            for _ in range(100):
                env.step(0)
        server.wait_for(r"session 1\] ended: an operator ended it \(\S+: maintenance\)")
        other.step(0)
    assert gymsockctl(server, "envs", "CartPole-v1") == "CartPole-v1\n"
    assert "no session with this number is running or has ended recently: 1" in gymsockctl(server, "end", "1", status=1)
    server.wait_for(r"\[control\] \S+ ends session 1: maintenance")


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
    with gymtwist.client.connect(server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        with pytest.raises(gymtwist.client.RequestRefused, match="not allowed"):
            gymtwist.client.connect(server.port, "Pendulum-v1")
        assert gymsockctl(server, "envs", "C*-v1").split() == ["CartPole-v1"]
        path.write_text('control = "control"\nallow = ["Pendulum-*"]\nwarm = 3\nmax-envs = 2')
        if how == "command":
            printed = gymsockctl(server, "reload").splitlines()
            assert printed == ["max-envs is 2", "allow is Pendulum-*", "warm needs an upgrade or a restart"]
        else:
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_for(
                r"SIGHUP reloads the options: max-envs is 2; allow is Pendulum-\*; warm needs an upgrade or a"
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


def test_a_certificate_is_read_anew(start: Start, tmp_path: Path) -> None:
    """New connections get it; a broken one is refused, and the server goes on with the one it has."""
    key, certificate = write_certificate(tmp_path)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    server = start("--control", str(tmp_path / "control"), "--listen", endpoint, directory=tmp_path)
    port = int(server.wait_for(r"Listening on tls:127.0.0.1:(\d+)").group(1))

    def offered() -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    before = offered()
    with gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(certificate)) as env:
        env.reset(seed=1)
        (tmp_path / "new").mkdir()
        new_key, new_certificate = write_certificate(tmp_path / "new")
        certificate.write_text("nothing")
        assert "no start line" in gymsockctl(server, "reload", status=1)
        assert offered() == before
        shutil.copy(new_key, key)
        shutil.copy(new_certificate, certificate)
        assert gymsockctl(server, "reload") == "1 certificate read\n"
        assert offered() != before
        env.step(0)
    gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(new_certificate)).close()


def test_a_server_is_drained(controlled: tuple[ServerProcess, Path]) -> None:
    """The last session ends it, whatever --drain says."""
    server, _ = controlled
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
