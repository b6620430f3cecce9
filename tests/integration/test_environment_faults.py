"""Environments that crash, hang, eat, shout and litter: their client learns of it, nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gymtwist_conformance.reference_client import Refused
from gymtwist_conformance.reference_client.classic_client import error_text, handshake, step
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, hold, left_after, peak
from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True

#: A step that takes longer than this has hung.
DEADLINE = 2
OPTIONS = ("--step-timeout", str(DEADLINE), "--memory-limit", "1024")

MEBIBYTE = 1 << 20


def provoke(server: ServerProcess, name: str, in_reset: bool = False) -> tuple[str, int]:
    """Let an environment fail in step (or reset); return why its session ended, and its number."""
    with server.open(f"Fault/{name}-v0") as client:
        session = server.session(client)
        if in_reset:
            client.send(b"\x00")
        else:
            client.reset()
            client.send(step(0))
        client.wait_closed()
        assert not left_after(hold([session.process]), PATIENCE)
        return server.end(session), session.number


# Crashes


def test_a_segfault_in_step_is_named(server: ServerProcess) -> None:
    """The log says which signal killed the process, and where in Python it was."""
    reason, number = provoke(server, "SegfaultInStep")
    assert reason.startswith("its process was killed by SIGSEGV; Fault/SegfaultInStep-v0 for ")
    server.wait_for(rf"\[session {number}\] \| .*Segmentation fault")
    server.wait_for(rf"\[session {number}\] \| .*faulty_environments\.py.* in segfault")


def test_a_segfault_in_reset_is_named(server: ServerProcess) -> None:
    """A crash between episodes is told apart no less."""
    reason, _ = provoke(server, "SegfaultInReset", in_reset=True)
    assert reason.startswith("its process was killed by SIGSEGV")


def test_an_exit_in_step_is_named(server: ServerProcess) -> None:
    """os._exit leaves nothing but a status."""
    reason, _ = provoke(server, "ExitInStep")
    assert reason.startswith("its process exited with status 3")


def test_sys_exit_in_step_ends_the_session(server: ServerProcess) -> None:
    """sys.exit is an exception like others."""
    reason, _ = provoke(server, "SystemExitInStep")
    assert reason.startswith("the environment raised SystemExit in step: 3; ")


# Exceptions


def test_an_exception_in_step_is_logged_with_its_traceback(server: ServerProcess) -> None:
    """The protocol has no place for it: the connection closes and the log says why."""
    reason, number = provoke(server, "RaiseInStep")
    assert reason.startswith("the environment raised ValueError in step: the pole is not there")
    server.wait_for(rf"\[session {number}\] \| .*faulty_environments\.py.* in fail")


def test_an_exception_in_reset_is_logged(server: ServerProcess) -> None:
    """The verb in which it happened is named."""
    reason, _ = provoke(server, "RaiseInReset", in_reset=True)
    assert reason.startswith("the environment raised ValueError in reset: the pole is not there")


def test_too_few_results(server: ServerProcess) -> None:
    """A step must return what a step returns; the reason says what it was."""
    reason, _ = provoke(server, "TwoResults")
    assert reason.startswith("the environment returned 2 values from step; Gymnasium expects 5 values: ")


def test_a_step_before_the_first_reset_is_the_environments_to_judge(server: ServerProcess) -> None:
    """Gymnasium's wrapper raises; the session ends with it."""
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        client.send(step(0))
        client.wait_closed()
    assert "raised ResetNeeded in step" in server.end(session)


# Constructors


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RaiseInMake", "the pole is not there"),
        ("SegfaultInMake", "SIGSEGV"),
        ("ExitInMake", "status 3"),
        ("HangInMake", "took more than"),
    ],
)
def test_a_constructor_that_fails_gives_an_error_string(server: ServerProcess, name: str, reason: str) -> None:
    """At the opening the protocol has a place for it, whatever happened to the process."""
    with server.connect() as client:
        client.send(handshake(f"Fault/{name}-v0"))
        assert reason in error_text(client.read_to_end())


# Hanging


@pytest.mark.parametrize("name", ["HangInStep", "SpinInStep"])
def test_a_step_that_never_ends_is_ended(server: ServerProcess, name: str) -> None:
    """Deaf to signals or deaf to Python: neither holds the process up."""
    reason, _ = provoke(server, name)
    assert f"step took more than {DEADLINE} s" in reason


def test_a_reset_that_never_ends_is_ended(server: ServerProcess) -> None:
    """The deadline counts for reset as well."""
    reason, _ = provoke(server, "HangInReset", in_reset=True)
    assert f"reset took more than {DEADLINE} s" in reason


# Wrong values


@pytest.mark.parametrize("place", ["reset", "step"])
def test_an_observation_of_a_wrong_shape_ends_the_session(server: ServerProcess, place: str) -> None:
    """The log has both shapes, and where it came from."""
    reason, _ = provoke(server, f"WrongShapeIn{place.title()}", in_reset=place == "reset")
    assert reason.startswith(f"the environment returned a value outside its space from {place}: ")
    assert "an array of shape [4] where its space has [2]" in reason


# Greed and noise


@pytest.fixture(scope="module")
def patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a step timeout, for steps that take a busy machine seconds."""
    with ServerProcess(tmp_path_factory.mktemp("patient"), "--memory-limit", "1024", "--step-timeout", "0") as running:
        yield running


def test_memory_has_a_limit(patient_server: ServerProcess) -> None:
    """An environment that eats memory meets the limit of its process, long before the machine's."""
    reason, _ = provoke(patient_server, "EatInStep")
    assert "MemoryError in step" in reason


@pytest.mark.parametrize("name", ["PrintLines", "PrintOneLine"])
def test_printing_megabytes_delays_no_other_session(patient_server: ServerProcess, name: str) -> None:
    """The step ends, the log has it under the session's number, the parent does not keep it."""
    server = patient_server
    before = peak(server.process.pid)
    with server.open(f"Fault/{name}-v0") as client, server.open("CartPole-v1") as other:
        session = server.session(client)
        client.reset()
        client.send(step(0))
        other.play(20)
        assert client.read_step().reward == 1.0
        server.wait_for(rf"\[session {session.number}\] \| .*(x{{80}}|y{{80}})")
    server.end(session)
    assert peak(server.process.pid) - before < 32 * MEBIBYTE


# What is left behind


def test_a_thread_left_behind_does_not_keep_the_process(server: ServerProcess) -> None:
    """A thread that is not a daemon would hold up the interpreter's exit for ever."""
    with server.open("Fault/LeaveThread-v0") as client:
        handle = Handle(server.session(client).process)
        client.reset()
        client.step(0)
    assert not left_after([handle], PATIENCE)


def test_processes_left_behind_are_killed(server: ServerProcess) -> None:
    """Children, children in a session of their own, and daemons end with the session that started them."""
    with server.open("Fault/LeaveChildren-v0") as client:
        session = server.session(client)
        client.reset()
        handles = {name: Handle(process) for name, process in client.step(0).info.items()}
    assert {"plain", "apart", "daemon"} <= handles.keys()
    server.end(session)
    try:
        assert not left_after(list(handles.values()), PATIENCE)
    finally:
        for handle in handles.values():
            handle.kill()


def test_processes_left_by_a_crash_are_killed(server: ServerProcess) -> None:
    """A process that breaks the protocol after it forked leaves as little as one that ends well."""
    with server.open("Fault/LeaveChildren-v0") as client:
        client.reset()
        handle = Handle(client.step(0).info["plain"])
        client.send(b"\xff")
        client.wait_closed()
    try:
        assert not left_after([handle], PATIENCE)
    finally:
        handle.kill()


def test_an_environment_may_tidy_up(server: ServerProcess) -> None:
    """close() is called and exit handlers are run when the client leaves."""
    with server.open("Fault/Files-v0") as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.reset()
        info = client.step(0).info
        paths = Path(info["closing"]), Path(info["exiting"])
        assert all(path.exists() for path in paths)
    server.wait_for(rf"\[session {session.number}\] \| the environment was closed")
    assert not left_after([handle], PATIENCE)
    assert not any(path.exists() for path in paths)


def test_an_environment_is_closed_when_its_client_breaks_the_protocol(server: ServerProcess) -> None:
    """The environment is not to blame."""
    with server.open("Fault/Files-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(b"\xff")
        client.wait_closed()
    server.wait_for(rf"\[session {session.number}\] \| the environment was closed")


def test_a_refused_constructor_is_a_refusal_to_its_client_only(server: ServerProcess) -> None:
    """The same server makes the next environment at once."""
    for _ in range(5):
        with pytest.raises(Refused):
            server.open("Fault/RaiseInMake-v0")
