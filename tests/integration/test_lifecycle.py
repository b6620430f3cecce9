"""Starting and stopping: what is left when the server or one of its processes is told to go, or killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gymtwist import __version__
from gymtwist_conformance.reference_client import INT32, ClassicClient, Failed, FramedClient, message
from gymtwist_conformance.reference_client.classic_client import error_text, handshake, step
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, children, descendants, eventually, hold, left_after
from tests.support.server_process import REPOSITORY, ServerProcess, connected


@pytest.fixture
def spare(start_once: Start) -> ServerProcess:
    """A server that goes on when a process of it is killed, with some idle ones."""
    return start_once(
        "--warm", "2", "--drain", "30", *(word for each in ("CartPole-*", "Fault/*") for word in ("--allow", each))
    )


@pytest.fixture
def spawning(start_once: Start) -> ServerProcess:
    """A server whose workers are fresh interpreters."""
    return start_once("--start-method", "spawn", "--warm", "1")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that has no idle workers, and that imports a module for all of them, in a directory that it can lose."""
    modules, directory = tmp_path_factory.mktemp("modules"), tmp_path_factory.mktemp("server")
    (modules / "preloaded.py").write_text('import os\nprint("preloaded by", os.getpid(), flush=True)\n')
    options = "--warm", "0", "--step-timeout", "2", "--preload", "preloaded"
    with ServerProcess(directory, *options, changes={"PYTHONPATH": f"{REPOSITORY}:{modules}"}) as running:
        yield running


# Starting


def test_the_log_begins_with_a_summary_for_newcomers(spare: ServerProcess) -> None:
    """The version, where the server listens and for whom, what there is to play, how to connect and how to stop."""
    server = spare
    server.wait_for(rf"gymtwist {re.escape(__version__)}, Twisted [\d.]+, Python [\d.]+$")
    server.wait_for(rf"Listening on 127.0.0.1:{server.port}, for this machine only$")
    server.wait_for(r"Environments: 2 of gymnasium \(such as CartPole-v1\), .*\b2 of gym \(such as gym:CartPole-v1\)")
    server.wait_for(rf'env = gymtwist.client.connect\("localhost:{server.port}", "CartPole-v1"\); env.reset')
    server.wait_for(rf"To stop: kill {server.process.pid}$")


def test_ctrl_c_while_it_imports_ends_it_without_a_traceback(start: Start, tmp_path: Path) -> None:
    """The reactor, which ends by Ctrl-C in order, does not run yet."""
    (tmp_path / "hanging.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(60)\n")
    with ServerProcess(tmp_path, setup=tmp_path / "hanging.py") as server:
        eventually(server.descendants, PATIENCE, "the process that imports")
        server.track()
        server.process.send_signal(signal.SIGINT)
        assert server.wait() in (130, -signal.SIGINT)  # a shell reports 130 for both
        assert "Traceback" not in server.tail()


def test_sigterm_while_it_imports_answers_who_waits(tmp_path: Path) -> None:
    """Its port is open by then; clients hear that it stops, and do not hang or find the connection reset."""
    (tmp_path / "hanging.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(600)\n")
    with ServerProcess(tmp_path, setup=tmp_path / "hanging.py") as server:
        classic = ClassicClient(connected(("127.0.0.1", server.port)))
        framed = FramedClient(connected(("127.0.0.1", server.port)), INT32)
        with classic, framed:
            classic.send(handshake("CartPole-v1"))
            framed.send(message(INT32, "make", id="CartPole-v1"))
            eventually(server.descendants, PATIENCE, "the process that imports")
            server.terminate()
            assert "the server is shutting down" in error_text(classic.read_to_end())
            assert framed.hear()["code"] == "server-stopping"
        server.wait_shut_down()
        assert not server.search("The fork server ended", 0)


# Stopping


def test_sigterm_ends_sessions_after_the_drain(start: Start) -> None:
    """When its time is over a session that goes on is ended, and its environment is closed; what hangs is killed."""
    server = start("--drain", "1")
    with (
        server.open("Fault/Files-v0") as client,
        server.open("Fault/HangInStep-v0") as hanging,
        server.connect() as making,
    ):
        session = server.session(client)
        client.reset()
        hanging.reset()
        hanging.send(step(0))
        making.send(handshake("Fault/HangInMake-v0"))
        server.wait_for("the constructor hangs")
        server.terminate()
        for each in (client, hanging, making):
            each.wait_closed()
        assert server.end(session).startswith("the server is shutting down; ")
    server.wait_for(rf"\[session {session.number}\] \| the environment was closed")
    server.wait_shut_down()


def test_sigterm_during_the_start(start: Start) -> None:
    """A server that has only just begun to listen ends, too."""
    server = start()
    assert server.port
    server.terminate()
    server.wait(PATIENCE)
    assert not server.stop()


# Killing


def test_no_worker_outlives_a_killed_parent(start: Start) -> None:
    """Busy, deaf or idle: when the parent is gone, so is everything below it, even if the fork server was stopped."""
    server = start()
    with (
        server.open("Fault/HangInStep-v0") as busy,
        server.open("Fault/LeaveThread-v0") as deaf,
        server.open("CartPole-v1") as idle,
    ):
        for client in (busy, deaf, idle):
            client.reset()
            client.send(step(0))
        for client in (deaf, idle):
            client.read_step()
        handles = server.track()
        sessions = {server.session(client).process for client in (busy, deaf, idle)}
        assert sessions < {handle.process for handle in handles}
        os.kill(server.fork_server(), signal.SIGSTOP)
        server.process.kill()
        assert not left_after(handles, PATIENCE)
        for client in (busy, deaf, idle):
            client.wait_closed()


def test_a_killed_fork_server_is_replaced(spare: ServerProcess) -> None:
    """Those who play go on, those who come are served."""
    server = spare
    with server.open("CartPole-v1") as client, server.open("Fault/RaiseInStep-v0") as other:
        client.play()
        old = server.fork_server()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: old not in descendants(server.process.pid), PATIENCE, "the end of the fork server")
        client.play(50)
        for _ in range(8):
            with server.open("CartPole-v1") as newcomer:
                newcomer.play()
        session = server.session(other)
        other.reset()
        other.send(step(0))
        other.wait_closed()
        assert server.end(session).startswith("the environment raised ValueError in step")
        client.play(50)
        session = server.session(client)
    assert server.end(session).startswith("the client left; ")


def test_idle_workers_of_a_killed_fork_server_are_replaced(spare: ServerProcess) -> None:
    """What a later session leaves behind is killed by the fork server that made its process: one that lives."""
    server = spare
    with server.open("CartPole-v1") as client:
        client.play()
    old = server.fork_server()
    idle = hold(children(old))
    os.kill(old, signal.SIGKILL)
    assert not left_after(idle, PATIENCE)
    with server.open("Fault/LeaveChildren-v0") as client:
        client.reset()
        left = [Handle(process) for process in client.step(0).info.values()]
    assert not left_after(left, PATIENCE)


def test_a_preloaded_module_is_imported_before_the_fork(bare: ServerProcess) -> None:
    """Once for all workers, not once for each."""
    server = bare
    server.wait_for("To stop: kill")
    server.wait_for(f"preloaded by {server.fork_server()}$")
    since = server.mark()
    for _ in range(3):
        with server.open("CartPole-v1") as client:
            client.play()
    assert not any("preloaded by" in line for line in server.lines[since:])


def test_a_fork_server_that_does_not_answer_is_replaced(bare: ServerProcess) -> None:
    """A client that comes meanwhile is served by the next one; until then there is no step that could be late."""
    server = bare
    with server.open("CartPole-v1") as client:
        client.play()
    os.kill(server.fork_server(), signal.SIGSTOP)
    with server.open("CartPole-v1") as client:
        client.play()
    server.wait_for("The fork server does not answer")


def test_a_killed_worker_ends_its_session_only(spare: ServerProcess) -> None:
    """A worker that is killed from outside is named as such."""
    server = spare
    with server.open("CartPole-v1") as client, server.open("CartPole-v1") as other:
        other.play()
        session = server.session(client)
        os.kill(session.process, signal.SIGKILL)
        client.wait_closed()
        assert server.end(session).startswith("its process was killed by SIGKILL")
        other.play()


@pytest.mark.parametrize("which", ["spare", "spawning"])
def test_an_operator_ends_one_session_by_sigterm(request: pytest.FixtureRequest, which: str) -> None:
    """Even during a step, where a process that dies otherwise is replaced; the client is told, the others play on."""
    server: ServerProcess = request.getfixturevalue(which)
    with server.open("CartPole-v1") as other, FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        other.play()
        mark = server.mark()
        client.make("Fault/SpinInStep-v0")
        session = server.session(client)
        client.reset()
        client.say("step", action=client.actions.dump(0))
        server.wait_for("spinning", since=mark)
        os.kill(session.process, signal.SIGTERM)
        assert server.end(session).startswith("an operator ended it (SIGTERM); ")
        with pytest.raises(Failed) as told:
            client.reply("step")
        assert (told.value.fault, told.value.message) == ("server", "the session ended: an operator ended it (SIGTERM)")
        assert client.read_to_end() == b""
        other.play()
    assert server.search("resumed", 0, since=mark) is None


def test_killed_warm_workers_are_replaced(spare: ServerProcess) -> None:
    """Idle workers may be killed as well; the next clients are served."""
    server = spare
    with server.open("CartPole-v1") as client:
        busy = server.session(client).process
        warm: list[Handle] = []

        def found() -> list[Handle]:
            warm[:] = [handle for handle in hold(descendants(server.fork_server())) if handle.process != busy]
            return warm

        eventually(found, PATIENCE, "an idle worker")  # an earlier test may have killed those that there were
        for handle in warm:
            handle.kill()
        assert not left_after(warm, PATIENCE)
        for _ in range(6):
            with server.open("CartPole-v1") as newcomer:
                newcomer.play()
        client.play()


def test_a_fork_server_is_replaced_although_the_working_directory_is_gone(bare: ServerProcess) -> None:
    """What was needed from there was read at the start."""
    server = bare
    with server.open("CartPole-v1") as client:
        client.play()
        server.directory.rmdir()
        old = server.fork_server()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: old not in descendants(server.process.pid), PATIENCE, "the end of the fork server")
        client.play()
    with server.open("CartPole-v1") as newcomer:
        newcomer.play()


def test_sessions_may_end_during_the_drain(spare: ServerProcess) -> None:
    """Who plays goes on playing, nobody else comes in, and when the last has left the server ends."""
    server = spare
    port = server.port
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        server.terminate()
        server.wait_for(rf"Port {port} Closed")
        client.play(100)
        with pytest.raises(ConnectionRefusedError):
            ClassicClient.connect(port)
    assert server.end(session).startswith("the client left; ")
    server.wait_shut_down()


# Ways to start


def test_spawned_workers_serve(spawning: ServerProcess) -> None:
    """Where there is no fork, a worker is a fresh interpreter that has run the setup file."""
    server = spawning
    with server.open("CartPole-v1") as client, server.open("Act/Box-v0") as other:
        client.play(100)
        other.reset()
        session = server.session(client)
        handle = Handle(session.process)
    assert server.end(session).startswith("the client left; ")
    assert not left_after([handle], PATIENCE)


def test_spawned_workers_have_processes_of_their_own(spawning: ServerProcess) -> None:
    """The framed protocol has asynchronous vector environments there as well."""
    with FramedClient(connected(("127.0.0.1", spawning.port)), INT32) as client:
        client.make("CartPole-v1", num_envs=2, vectorization_mode="async")
        client.reset(seed=1)
        assert client.step([0, 1]).reward.tolist() == [1.0, 1.0]


def test_a_crash_of_a_spawned_worker_is_named(spawning: ServerProcess) -> None:
    """The two methods differ in nothing that can be seen from outside."""
    server = spawning
    with server.open("Fault/SegfaultInStep-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(step(0))
        client.wait_closed()
    assert server.end(session).startswith("its process was killed by SIGSEGV")
    server.wait_for(rf"\[session {session.number}\] \| .*Segmentation fault")


def test_no_spawned_worker_outlives_a_killed_parent(spawning: ServerProcess) -> None:
    """Without a fork server, too, nothing is left, even if idle workers were stopped."""
    server = spawning
    with server.open("Fault/HangInStep-v0") as client:
        client.reset()
        client.send(step(0))
        playing = server.session(client).process

        def idle() -> set[int]:
            workers = children(server.process.pid) - {playing}
            # One that still imports would be killed at once.
            return {each for each in workers if Path(f"/proc/{each}/comm").read_text() == "gymsock idle\n"}

        eventually(idle, PATIENCE, "an idle worker")
        handles = server.track()
        for worker in idle():
            os.kill(worker, signal.SIGSTOP)
        server.process.kill()
        assert not left_after(handles, PATIENCE)
