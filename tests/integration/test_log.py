"""The log of a real server: what leaves a line, who may stop reading it, and how it is rotated."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import gzip
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from gymtwist_conformance.reference_client import ClassicClient, Failed
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.conftest import Connect, Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, descendants, eventually, hold, left_after
from tests.support.server_process import ANY_PORT, REPOSITORY, ServerProcess, connected, run_twistd, twistd, variables


def test_an_unknown_id_leaves_its_reason(server: ServerProcess, connect: Connect) -> None:
    """In the framed protocol, whose session goes on."""
    mark = server.mark()
    with pytest.raises(Failed, match="unknown-environment"):
        connect("CartPole-v9")
    server.wait_for(r'\[session \d+\] \| not made: unknown environment "CartPole-v9"; did you mean', since=mark)


def test_half_a_handshake_leaves_a_line(server: ServerProcess) -> None:
    """With its size and its bytes; a connection that says nothing, such as that of a load balancer, leaves none."""
    mark = server.mark()
    with server.connect() as client:
        client.send(handshake("CartPole-v1")[:-1])
        port = client.port
    server.wait_for(
        rf"no handshake of 127\.0\.0\.1:{port}: it left after 15 bytes, b'\\x00\\x0b.*CartPole-v'",
        since=mark,
    )


def test_a_reader_that_stops_reading_does_not_stop_the_server(tmp_path: Path) -> None:
    """Sessions begin and end as before, and so does the server."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [*twistd(), "-n", "--pidfile=", "gymsock", "--port", ANY_PORT, "--warm", "1"],
        cwd=tmp_path,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.STDOUT,
    )
    os.close(writer)
    with os.fdopen(reader) as log:
        try:
            found = None
            for line in log:
                found = found or re.search(r"starting on (\d+)", line)
                if "To stop" in line:
                    break
            assert found
            for _ in range(40):  # about six times what the pipe has room for
                with ClassicClient(connected(("127.0.0.1", int(found.group(1))))) as client:
                    client.open("CartPole-v1").play(1)
            process.terminate()
            process.wait(PATIENCE)
            assert log.read().count("started: CartPole-v1") > 10
        finally:
            process.kill()
            process.wait()


def read(path: Path) -> str:
    """Return what a file has, if it exists."""
    return path.read_text() if path.exists() else ""


def was_replaced(path: Path, before: TextIO) -> bool:
    """Return whether another file than an open one is at a path."""
    return path.exists() and path.stat().st_ino != os.fstat(before.fileno()).st_ino


@contextlib.contextmanager
def daemon(directory: Path, *options: str) -> Iterator[tuple[Handle, ClassicClient]]:
    """Run a daemon with a client, its log in ``g.log`` and its process id in ``twistd.pid``; check that `kill` ends it.

    Neither one of its processes nor the file with its process id is left.
    """
    pidfile, logfile = directory / "twistd.pid", directory / "g.log"
    words = (f"--pidfile={pidfile}", f"--logfile={logfile}", "gymsock", "--port", ANY_PORT, "--warm", "1", *options)
    started = run_twistd(*words, directory=directory)
    assert started.returncode == 0, started.stdout
    handle = Handle(int(pidfile.read_text()))
    try:
        found = re.search(r" starting on (\d+)", logfile.read_text())
        assert found
        with ClassicClient.connect(int(found.group(1))) as client:
            client.open("CartPole-v1").play()
            family = hold(descendants(handle.process))
            assert family
            yield handle, client
        os.kill(handle.process, signal.SIGTERM)
        assert handle.wait(PATIENCE)
        assert not left_after(family, PATIENCE)
        assert not pidfile.exists()
    finally:
        handle.kill()


def test_sighup_reopens_the_log_and_keeps_sessions(tmp_path: Path) -> None:
    """Of the files that SIGUSR1 rotates as many are kept as the option says."""
    logfile, moved = tmp_path / "g.log", tmp_path / "moved.log"
    with daemon(tmp_path, "--log-size", "0", "--log-keep", "2") as (server, client):
        with client:
            logfile.rename(moved)
            os.kill(server.process, signal.SIGHUP)
            eventually(lambda: "SIGHUP: the log goes on" in read(logfile), PATIENCE, "a new log")
            client.play()
        eventually(lambda: "ended: the client left" in read(logfile), PATIENCE, "the end of the session")
        assert "ended" not in moved.read_text()
        for _ in range(4):
            os.kill(server.process, signal.SIGHUP)
            eventually(lambda: "SIGHUP" in read(logfile), PATIENCE, "a line")
            with logfile.open() as before:
                os.kill(server.process, signal.SIGUSR1)
                # The new one may have lines already: those of SIGHUP are written as what it reloads is read.
                eventually(partial(was_replaced, logfile, before), PATIENCE, "a rotation")
        assert {each.name for each in tmp_path.glob("g.log*")} == {"g.log", "g.log.1", "g.log.2"}


def test_a_log_is_rotated_at_its_size(tmp_path: Path) -> None:
    """As many of the rotated files are kept as the option says, and sessions go on."""
    for name, size in (("g.log", 999_990), ("g.log.1", 1), ("g.log.2", 2), ("g.log.3", 3)):
        (tmp_path / name).write_text("x" * size)
    with daemon(tmp_path, "--log-size", "1", "--log-keep", "2") as (_, client):
        client.play()
        assert {each.name for each in tmp_path.glob("g.log*")} == {"g.log", "g.log.1", "g.log.2"}
        assert (tmp_path / "g.log.1").stat().st_size > 999_990
        assert (tmp_path / "g.log.2").stat().st_size == 1
    assert "started: CartPole-v1" in read(tmp_path / "g.log")


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="there is no logrotate")
def test_the_recipe_for_logrotate(tmp_path: Path) -> None:
    """The log goes on in a new file, older ones are compressed, and sessions go on."""
    page = (REPOSITORY / "docs" / "how-to" / "run-as-a-service.md").read_text()
    found = re.search(r"```ini\n(/var/log/gymsock/gymsock.log .*?)```", page, re.DOTALL)
    assert found
    owner = f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    recipe, logfile = tmp_path / "recipe", tmp_path / "g.log"
    recipe.write_text(
        found.group(1)
        .replace("/var/log/gymsock/gymsock.log", str(logfile))
        .replace("/run/gymsock/gymsock.pid", str(tmp_path / "twistd.pid"))
        .replace("gymsock gymsock", owner)
    )
    recipe.chmod(0o644)
    with daemon(tmp_path, "--log-size", "0") as (_, client):
        for _ in range(2):
            # Otherwise it rotates once a week.
            words = ["logrotate", "--verbose", "--force", "--state", str(tmp_path / "state"), str(recipe)]
            subprocess.run(words, check=True, timeout=PATIENCE)
            eventually(lambda: "SIGHUP: the log goes on" in read(logfile), PATIENCE, "a new log")
            client.play()
    assert {each.name for each in tmp_path.glob("g.log*")} == {"g.log", "g.log.1", "g.log.2.gz"}
    assert "started: CartPole-v1" in gzip.decompress((tmp_path / "g.log.2.gz").read_bytes()).decode()
    assert "ended: the client left" in read(logfile)


def test_sighup_in_the_foreground_keeps_sessions(server: ServerProcess) -> None:
    """There is nothing to reopen; before, the signal killed the server and every session."""
    with server.open("CartPole-v1") as client:
        mark = server.mark()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("SIGHUP: the log goes on", since=mark)
        client.play()


def test_a_log_that_cannot_be_opened_is_an_error_of_one_line(tmp_path: Path) -> None:
    """The file is named, without a traceback."""
    ended = run_twistd("-n", "--pidfile=", "--logfile=none/g.log", "gymsock", "--port", ANY_PORT, directory=tmp_path)
    assert ended.returncode == 1
    assert "gymsock cannot open its log" in ended.stdout
    assert "none/g.log" in ended.stdout
    assert len(ended.stdout.splitlines()) == 1


def test_twist_runs_the_server_and_writes_its_log(tmp_path: Path) -> None:
    """The other runner of Twisted's plugins, which stays in the foreground, has no options for a log like twistd's."""
    words = [sys.executable, "-m", "twisted", "--log-format=text", "gymsock", "--port", ANY_PORT]
    with subprocess.Popen(
        words, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "starting on" in line:
                server.terminate()
    assert any("starting on" in line for line in lines), "".join(lines)
    assert not any("Traceback" in line for line in lines), "".join(lines)


#: Runs a journal of its own, which nobody outside sees, and a server in it; prints what the journal has, as JSON.
IN_JOURNAL = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald > /dev/null &
journal=$!
trap 'kill $journal' EXIT
while ! [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
"$@"
kill $journal
wait $journal || true
trap - EXIT
journalctl --directory=/run/log/journal --output=json
"""
UNSHARED = ("unshare", "--mount", "--propagation", "private")
#: Starts a server whose standard output is the journal, as systemd does, and plays.
PLAY = """
import os, signal, socket, subprocess, sys
import gymtwist.client
stream = socket.socket(socket.AF_UNIX)
stream.connect("/run/systemd/journal/stdout")
stream.sendall(b"ident\\n\\n6\\n0\\n0\\n0\\n0\\n")
status = os.fstat(stream.fileno())
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
server = subprocess.Popen(sys.argv[1:], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
with gymtwist.client.connect("unix:socket", "CartPole-v1", connect_timeout=PATIENCE) as env:
    env.reset(seed=1)
    env.step(0)
server.send_signal(signal.SIGTERM)
assert server.wait(PATIENCE) == -signal.SIGTERM
"""


def can_run_a_journal() -> bool:
    """Return whether a journal can run in a mount namespace of its own."""
    parts = map(shutil.which, ("unshare", "journalctl", "/lib/systemd/systemd-journald"))
    return all(parts) and not subprocess.run([*UNSHARED, "true"], check=False).returncode


@pytest.mark.skipif(not can_run_a_journal(), reason="this needs root, and the journal of systemd")
def test_the_journal_of_systemd_gets_records_with_fields(tmp_path: Path) -> None:
    """The end of a session has what accounting needs, and nothing is there twice."""
    program = PLAY.replace("PATIENCE", str(PATIENCE))
    server = [*twistd(), "-n", "--pidfile=", "gymsock", "--port", "unix:socket", "--warm", "1"]
    ran = subprocess.run(
        [*UNSHARED, "sh", "-c", IN_JOURNAL, "sh", sys.executable, "-c", program, *server],
        cwd=tmp_path,
        env=variables(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    ours = [record for record in records if record.get("SYSLOG_IDENTIFIER") == "gymsock"]
    assert any(record["MESSAGE"].startswith("Listening on") and record["PRIORITY"] == "6" for record in ours)
    (ended,) = [record for record in ours if record.get("GYMTWIST_EVENT") == "ended"]
    assert (ended["GYMTWIST_ENVIRONMENT"], ended["GYMTWIST_STEPS"]) == ("CartPole-v1", "1")
    assert ended["GYMTWIST_REASON"] == "the client left"
    assert ended["_TRANSPORT"] == "journal"
    others = [record["MESSAGE"] for record in records if record.get("SYSLOG_IDENTIFIER") == "ident"]
    assert not [line for line in others if "[session" in line]


def test_a_journal_that_is_not_there_is_refused_at_start(tmp_path: Path) -> None:
    """The operator has asked for it."""
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("this machine has a journal")
    ended = run_twistd("-n", "--pidfile=", "gymsock", "--port", "0", "--log-format", "journal", directory=tmp_path)
    assert ended.returncode == 1
    assert "cannot open its log: " in ended.stdout
    assert "/run/systemd/journal/socket" in ended.stdout


def test_the_log_may_be_json(start: Start) -> None:
    """Each line is one object, and the end of a session has what accounting needs."""
    server = start("--log-format", "json")
    server.wait_for('"message":"To stop: kill')
    with server.open("CartPole-v1") as client:
        for _ in range(200):  # the kernel counts hundredths of a second
            client.play()
    server.wait_for('"event":"ended"')
    records = [json.loads(line) for line in server.lines]
    (ended,) = [record for record in records if record.get("event") == "ended"]
    assert (ended["environment"], ended["protocol"], ended["reason"]) == ("CartPole-v1", "classic", "the client left")
    assert ended["steps"] > 0
    assert ended["processor_time"] > 0
    assert ended["bytes_sent"] > 0
