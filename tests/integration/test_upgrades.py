"""A running server is replaced by a new process: nobody notices who plays or connects."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from tests.conftest import Start
from tests.integration.test_isolation import skip_unless_possible
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, eventually
from tests.support.server_process import connected, run_twistd, twistd, variables, write_certificate
from tests.support.upgrades import Generations, generations

Begin = Callable[..., Generations]


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Iterator[Begin]:
    """Start a server that can be upgraded."""
    with ExitStack() as stack:

        def run(*options: str, **arguments: Any) -> Generations:
            server = start("--control", str(tmp_path / "control"), *options, directory=tmp_path, **arguments)
            return stack.enter_context(generations(server))

        yield run


@pytest.fixture(scope="module")
def held(start_once: Start) -> Iterator[Generations]:
    """A server at TCP and at a path, which one test after the other upgrades."""
    with generations(start_once("--control", "control", "--listen", "unix:socket", "--warm", "1")) as held:
        yield held


class Crowd:
    """Clients that play in threads, each at some steps a second, and compare what they get with a local environment.

    Args:
        address: Where they connect to.
        lasting: How many have one session all the time.
        coming: How many begin another one after each episode.
        pause: Seconds between two steps of one client.
    """

    def __init__(self, address: Any, lasting: int, coming: int, pause: float) -> None:
        """Have not begun."""
        self._address, self._pause = address, pause
        self._over = threading.Event()
        self.steps = self.connections = 0
        self.errors: list[str] = []
        self._playing = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._run, args=(number, number >= lasting)) for number in range(lasting + coming)
        ]

    def __enter__(self) -> Crowd:
        """Begin, and wait until each client plays."""
        for each in self._threads:
            each.start()
        for _ in self._threads:
            assert self._playing.acquire(timeout=PATIENCE), self.errors
        return self

    def __exit__(self, *_: object) -> None:
        """Let them end their episodes."""
        self._over.set()
        for each in self._threads:
            each.join(PATIENCE)

    def wait_for_steps(self) -> None:
        """Wait until further steps were taken."""
        before = self.steps
        eventually(lambda: self.steps > before, PATIENCE)

    def _run(self, number: int, comes: bool) -> None:
        try:
            while not self._over.is_set():
                with gymtwist.client.connect(self._address, "CartPole-v1", connect_timeout=PATIENCE) as theirs:
                    self.connections += 1
                    self._play(theirs, number)
                    while not comes and not self._over.is_set():
                        self._play(theirs, number)
        except Exception as error:
            self.errors.append(f"client {number}: {error!r}")

    def _play(self, theirs: Any, seed: int) -> None:
        ours = gymnasium.make("CartPole-v1")
        assert np.array_equal(theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0])
        over = False
        while not over:
            action = seed % 2
            observation, _, over, _, _ = theirs.step(action)
            assert np.array_equal(observation, ours.step(action)[0])
            self.steps += 1
            self._playing.release()
            self._over.wait(self._pause)


class Callers:
    """Clients that only connect, one after the other, without a second attempt.

    Args:
        address: Where they connect to.
    """

    def __init__(self, address: Any) -> None:
        """Have not begun."""
        self._address = address
        self._over = threading.Event()
        self.connected = 0
        self.errors: list[OSError] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Callers:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        while not self._over.is_set():
            with socket.socket(family) as client:
                try:
                    client.connect(self._address)
                except OSError as error:
                    self.errors.append(error)
                else:
                    self.connected += 1
            self._over.wait(0.005)


def play_through(held: Generations, upgrades: int, crowd: Crowd) -> tuple[Crowd, list[Callers]]:
    """Upgrade a server a number of times while a crowd plays and others connect."""
    addresses: list[Any] = [("127.0.0.1", held.server.port), str(held.server.directory / "socket")]
    callers = [Callers(each) for each in addresses]
    with crowd, callers[0], callers[1]:
        for _ in range(upgrades):
            held.upgrade()
            crowd.wait_for_steps()
    return crowd, callers


def test_those_who_play_and_those_who_connect_notice_nothing(held: Generations) -> None:
    """No connection fails at any port, each step is the next one of its episode, and no process is left."""
    crowd, callers = play_through(held, 2, Crowd(held.server.port, 2, 2, 0.02))
    assert crowd.errors == []
    assert [each.errors for each in callers] == [[], []]
    assert all(each.connected > 20 for each in callers)


def test_a_connection_that_is_lost_after_an_upgrade_takes_its_session_along(held: Generations) -> None:
    """Until then its session goes on; the client that comes back is told why there is none."""
    mark = held.server.mark()
    env = gymtwist.client.connect(("127.0.0.1", held.server.port), "CartPole-v1", timeout=PATIENCE, resume=60)
    env.reset(seed=1)
    held.upgrade()
    env.step(0)
    token = env.detach()
    with pytest.raises(gymtwist.client.RequestRefused, match="restarted or upgraded") as caught:
        gymtwist.client.resume(("127.0.0.1", held.server.port), token, timeout=PATIENCE)
    assert caught.value.code == "unknown-session"
    reason = "its client cannot come back to it: the server was upgraded"
    held.server.wait_for(rf"ended: {reason}; CartPole-v1 .* 1 step,", since=mark)


@pytest.mark.sweep
def test_two_hundred_clients_and_five_upgrades_in_a_minute(begin: Begin, tmp_path: Path) -> None:
    """As above, for many."""
    held = begin("--listen", f"unix:{tmp_path / 'socket'}", "--max-sessions", "1000", "--max-handshakes", "2000")
    # What others take of the machine is no fault of the server.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    began = time.monotonic()
    crowd, callers = play_through(held, 5, Crowd(held.server.port, 100, 100, 0.1))
    seconds = time.monotonic() - began
    assert crowd.errors == []
    assert [each.errors for each in callers] == [[], []]
    print(
        f"{seconds:.0f} s, {crowd.steps} steps, {crowd.connections} sessions, "
        f"{[each.connected for each in callers]} connections at TCP and UNIX, load before {busy:.1f} for each core"
    )
    assert seconds < 60 * busy


def test_an_old_process_goes_on_beside_the_new_one(begin: Begin) -> None:
    """Each is asked by itself; the sessions of both count; the old one ends with its last session."""
    held = begin("--max-sessions", "2", "--queue", "1", "--warm", "0", measured=True)
    first = held.serving.process
    with gymtwist.client.connect(held.server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        answer = held.upgrade()
        assert answer == {"process": held.serving.process, "old_process": first, "connections": 1}
        second = held.serving.process
        with gymtwist.client.connect(held.server.port, "CartPole-v1") as other:
            other.reset(seed=1)
            held.upgrade()
            status = held.read("status")
            assert status["process"] == held.serving.process
            assert status["earlier_processes"] == {str(first): 1, str(second): 1}
            assert f"{first} (1 session)" in held.ask("status")
            assert [row["number"] for row in held.read("--process", str(first), "sessions")] == [1]
            assert [row["number"] for row in held.read("--process", str(second), "sessions")] == [1001]
            assert held.read("--process", str(first), "status")["state"] == "leaving"
            assert f"ask process {second}" in held.ask("--process", str(first), "upgrade", status=1)
            with connected(("127.0.0.1", held.server.port)) as client:
                client.sendall(b'32:{"op":"make","id":"CartPole-v1"},')
                held.server.wait_for(r"\[session -\] queued 127.0.0.1:\d+ for CartPole-v1")
                env.step(0)
                env.close()
                held.server.wait_for(rf"process {first}, which had handed over, has ended")
                assert b'"op":"make"' in client.recv(1000)
            assert not (held.server.directory / f"control.{first}").exists()
            assert held.read("status")["earlier_processes"] == {str(second): 1}
            other.step(0)


def test_instances_of_gym_http_api_are_found_where_they_are(held: Generations) -> None:
    """Two upgrades ago, one ago, or in the process that has the ports; what none has is unknown."""

    def ask(path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{held.server.port}/v1/envs/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE) as answer:
            return json.load(answer)

    old = [held.serving]
    names: list[str] = []
    for _ in range(3):
        if names:
            held.upgrade()
            old.append(held.serving)
        names.append(ask("", {"env_id": "CartPole-v1"})["instance_id"])
        for name in names:
            assert len(ask(f"{name}/reset/", {})["observation"]) == 4
            assert ask(f"{name}/step/", {"action": 0})["reward"] == 1.0
            assert ask(f"{name}/action_space/")["info"]["n"] == 2
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask("0123/reset/", {})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(f"{names[0]}/step/", {"action": 7})
    for name in names[:2]:
        ask(f"{name}/close/", {})
    assert old[0].wait(PATIENCE)
    assert old[1].wait(PATIENCE)
    assert ask(f"{names[2]}/step/", {"action": 0})["reward"] == 1.0
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(f"{names[0]}/reset/", {})
    ask(f"{names[2]}/close/", {})  # otherwise the server would wait for it at its end


def test_sigterm_after_an_upgrade(begin: Begin) -> None:
    """To the old process, ends that one; to the new process, which is the server, ends both."""
    held = begin("--drain", "0", "--warm", "0")

    def lose(which: str) -> Handle:
        """Lose a session by a signal to one of two processes; return the old one."""
        old = held.serving
        with (
            gymtwist.client.connect(held.server.port, "CartPole-v1") as env,
            pytest.raises(gymtwist.client.ConnectionLost),
        ):
            env.reset(seed=1)
            held.upgrade()
            os.kill(old.process if which == "old" else held.serving.process, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if env.step(0)[2]:
                    env.reset()
        return old

    assert lose("old").wait(PATIENCE)
    gymtwist.client.connect(held.server.port, "CartPole-v1").close()
    assert lose("new").wait(PATIENCE)
    assert held.serving.wait(PATIENCE)


class Changing(NamedTuple):
    """A server, and the files of its options and of its environments."""

    held: Generations
    config: Path
    setup: Path


@pytest.fixture(scope="module")
def changing(start_once: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    """A server whose files are changed, until one test stops it."""
    directory = tmp_path_factory.mktemp("files")
    config, setup = directory / "gymsock.toml", directory / "mine.py"
    config.write_text("warm = 1")
    setup.write_text("")
    with generations(start_once("--control", "control", "--config", str(config), setup=setup)) as held:
        yield Changing(held, config, setup)


def test_a_new_process_that_cannot_start(changing: Changing) -> None:
    """The old one serves on, and says why; once the reason is removed, it can be upgraded."""
    held, config, setup = changing
    config.write_text("wram = 1")
    assert "there is no `wram`; did you mean `warm`?" in held.ask("upgrade", status=1)
    held.server.wait_for(r"did you mean `warm`\?; this process serves on")
    config.write_text("warm = 1")
    setup.write_text("raise ValueError('my reason')")
    assert "ValueError: my reason" in held.ask("upgrade", status=1)
    gymtwist.client.connect(held.server.port, "CartPole-v1").close()
    setup.write_text("import time\nwhile True: time.sleep(1)")
    mark = held.server.mark()
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(held.ask("upgrade", status=1)))
    asking.start()
    held.server.wait_for("starting on", since=mark)
    (problem,) = [held.ask("upgrade", status=1)]
    assert "an upgrade is under way" in problem
    process = int(problem.partition("(process ")[2].partition(")")[0])
    os.kill(process, signal.SIGKILL)
    asking.join(PATIENCE)
    assert f"process {process} has ended before it could serve" in answer[0]
    gymtwist.client.connect(held.server.port, "CartPole-v1").close()
    setup.write_text("")
    held.upgrade()
    gymtwist.client.connect(held.server.port, "CartPole-v1").close()


def test_a_server_that_stops_while_another_process_starts(changing: Changing) -> None:
    """Both end, and whoever asked is told. This is the last test with that server."""
    held, _, setup = changing
    setup.write_text("import time\nwhile True: time.sleep(1)")
    mark = held.server.mark()
    os.kill(held.serving.process, signal.SIGUSR2)
    held.server.wait_for("starting on", since=mark)
    problem = held.ask("upgrade", status=1)
    new = Handle(int(problem.partition("(process ")[2].partition(")")[0]))
    os.kill(held.serving.process, signal.SIGTERM)
    assert held.serving.wait(PATIENCE)
    assert new.wait(PATIENCE)


def site_of(directory: Path, program: str) -> dict[str, str]:
    """Have each Python of a server run a program first; return the variables for that."""
    site = directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(program)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))}


def test_a_new_process_that_hangs_before_it_says_anything(begin: Begin, tmp_path: Path) -> None:
    """It ends with the server, too."""
    hang, began = tmp_path / "hang", tmp_path / "began"
    program = f"""
import os, sys, time
if os.path.exists({str(hang)!r}):
    with open({str(began)!r}, "w") as file:
        file.write(str(os.getpid()))
    while True: time.sleep(1)
"""
    held = begin("--warm", "0", setup=None, changes=site_of(tmp_path, program))
    hang.touch()
    os.kill(held.serving.process, signal.SIGUSR2)
    eventually(lambda: began.exists() and bool(began.read_text()), PATIENCE)
    new = Handle(int(began.read_text()))
    try:
        os.kill(held.serving.process, signal.SIGTERM)
        assert held.serving.wait(PATIENCE)
        assert new.wait(PATIENCE)
    finally:
        new.kill()


def test_ports_with_tls_and_for_http_and_other_ports_in_the_file(begin: Begin, tmp_path: Path) -> None:
    """Those that stay are handed over, those that are new are opened, and those that are gone are closed."""
    key, certificate = write_certificate(tmp_path)
    config = tmp_path / "gymsock.toml"
    tls = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    gone, new = tmp_path / "gone", tmp_path / "new"
    config.write_text(f'listen = ["{tls}", "unix:{gone}"]\nlisten-http = ["tcp:0:interface=127.0.0.1"]')
    held = begin("--config", str(config), "--warm", "1")
    log = "\n".join(held.server.lines)
    port = int(log.partition("Listening on tls:127.0.0.1:")[2].partition(",")[0])
    with gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(certificate)) as env:
        env.reset(seed=1)
        config.write_text(config.read_text().replace(str(gone), str(new)))
        before = {line.partition("Listening on ")[2] for line in held.server.lines if "Listening on" in line}
        mark = held.server.mark()
        held.upgrade()
        lines = held.server.lines[mark:]
        after = {line.partition("Listening on ")[2] for line in lines if "Listening on" in line}
        assert {each for each in before if "unix" not in each} == {each for each in after if "unix" not in each}
        env.step(0)
        gymtwist.client.connect(f"tls:127.0.0.1:{port}", "CartPole-v1", tls=str(certificate)).close()
        gymtwist.client.connect(f"unix:{new}", "CartPole-v1").close()
        with pytest.raises(gymtwist.client.ConnectionLost):
            gymtwist.client.connect(f"unix:{gone}", "CartPole-v1", connect_timeout=0.01)


@pytest.mark.parametrize("level", ["all", pytest.param("user", marks=pytest.mark.sweep)])
def test_sessions_of_both_processes_have_different_users(begin: Begin, level: str) -> None:
    """As many as there are, whichever process has them."""
    skip_unless_possible(level)
    held = begin("--isolate", level, "--session-users", "1900000000-1900000001", "--warm", "0")
    address = held.server.port

    def users(*words: str) -> list[int]:
        return [Path(f"/proc/{row['process']}").stat().st_uid for row in held.read(*words, "sessions")]

    with gymtwist.client.connect(address, "CartPole-v1") as old:
        old.reset(seed=1)
        first = str(held.serving.process)
        held.upgrade()
        with gymtwist.client.connect(address, "CartPole-v1") as new:
            new.reset(seed=1)
            assert sorted(users() + users("--process", first)) == [1900000000, 1900000001]
            with pytest.raises(gymtwist.client.ServerFailed, match=r"all 2 users .* in use, 1 of them by other"):
                gymtwist.client.connect(address, "CartPole-v1")
            old.step(0)
            old.close()
            held.server.wait_for(f"process {first}, which had handed over, has ended")
            gymtwist.client.connect(address, "CartPole-v1").close()
            new.step(0)


#: Starts a program with listening sockets, as systemd does: at TCP and at a path.
ACTIVATE = """
import os, socket, sys
path, *words = sys.argv[1:]
tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
tcp.bind(("127.0.0.1", 0))
unix.bind(path)
print(tcp.getsockname()[1], flush=True)
for number, each in enumerate((tcp, unix), 3):
    each.listen(1024)
    moved = os.dup(each.fileno())
    each.close()
    if moved != number:
        os.dup2(moved, number)
    os.set_inheritable(number, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "tcp:unix"}
os.execv(words[0], words)
"""


def test_sockets_that_systemd_has_opened(tmp_path: Path) -> None:
    """They are handed over as often as wanted, and nobody who connects notices.

    Nor is anything lost with what a new process prints, if that cannot be written: the disk is full, say.
    """
    program = "import os\nif 'GYMSOCK_HANDED_OVER' in os.environ: os.write(2, b'printed')"
    address, log = str(tmp_path / "socket"), tmp_path / "log"
    ports = ["--port", "systemd:domain=INET:index=0", "--listen", "systemd:domain=UNIX:index=1"]
    options = ["-n", "--pidfile=gymsock.pid", f"--logfile={log}", "gymsock", *ports, "--warm", "0"]
    with open("/dev/full", "w") as full:
        server = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, address, *twistd(), *options],
            cwd=tmp_path,
            env=variables(site_of(tmp_path, program)),
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        )
    handles, pidfile = [Handle(server.pid)], tmp_path / "gymsock.pid"
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        callers = [Callers(("127.0.0.1", port)), Callers(address)]
        with gymtwist.client.connect(port, "CartPole-v1", connect_timeout=PATIENCE) as env, callers[0], callers[1]:
            env.reset(seed=1)
            for _ in range(2):
                before = pidfile.read_text()
                os.kill(int(before), signal.SIGUSR2)
                eventually(partial(lambda old: pidfile.read_text() != old, before), PATIENCE)
                handles.append(Handle(int(pidfile.read_text())))
                for target in (port, f"unix:{address}"):
                    gymtwist.client.connect(target, "CartPole-v1").close()
            env.step(0)
        assert [each.errors for each in callers] == [[], []]
        assert all(each.connected > 20 for each in callers)
        server.wait(PATIENCE)
        os.kill(handles[-1].process, signal.SIGTERM)
        assert all(each.wait(PATIENCE) for each in handles)
        assert Path(address).exists(), "the socket is systemd's"
    finally:
        for each in handles:
            each.kill()
        server.communicate()
        print(log.read_text() if log.exists() else "no log")


def test_a_daemon(tmp_path: Path) -> None:
    """Its pidfile has the new process, and its log goes on; it ends as any, and leaves nothing."""
    address = f"unix:{tmp_path / 'socket'}:mode=600"
    started = run_twistd(
        "--pidfile=gymsock.pid", "--logfile=gymsock.log", "gymsock", "-p", address, "--warm", "0", directory=tmp_path
    )
    assert started.returncode == 0, started.stdout
    pidfile, log = tmp_path / "gymsock.pid", tmp_path / "gymsock.log"
    handles = [Handle(int(pidfile.read_text()))]
    try:
        with gymtwist.client.connect(f"unix:{tmp_path / 'socket'}", "CartPole-v1", timeout=PATIENCE) as env:
            env.reset(seed=1)
            for _ in range(2):
                before = pidfile.read_text()
                os.kill(int(before), signal.SIGUSR2)
                eventually(partial(lambda old: pidfile.read_text() != old, before), PATIENCE)
                handles.append(Handle(int(pidfile.read_text())))
            env.step(0)
            assert oct((tmp_path / "socket").stat().st_mode)[-3:] == "600"
            gymtwist.client.connect(f"unix:{tmp_path / 'socket'}", "CartPole-v1").close()
        assert handles[0].wait(PATIENCE)
        assert int(pidfile.read_text()) == handles[-1].process
        os.kill(handles[-1].process, signal.SIGTERM)
        assert all(each.wait(PATIENCE) for each in handles)
    finally:
        for each in handles:
            each.kill()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["gymsock.log"], log.read_text()
    assert log.read_text().count("gymtwist 0.") == 3
    assert "the process that has the ports has ended" not in log.read_text()
