"""How many, which, how long, how much: the options that limit what clients may do."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gymtwist_conformance.reference_client import INT32, ClassicClient, Failed, FramedClient, Refused
from gymtwist_conformance.reference_client.classic_client import error_text, handshake, step
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, descendants, eventually, hold, left_after
from tests.support.server_process import ServerProcess, Session, connected, readable

FULL = "server is full"

MODULE = """
import gymnasium
open({marker!r}, "w").close()

class Empty(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **arguments):
        return 0, {{}}

gymnasium.register("FromModule-v0", entry_point=Empty)
"""


def ask(server: ServerProcess, environment: str = "CartPole-v1") -> ClassicClient:
    """Connect and ask for an environment, without waiting for the answer."""
    client = server.connect()
    client.send(handshake(environment))
    return client


def vacant(server: ServerProcess) -> ServerProcess:
    """Wait for the ends of the sessions of earlier tests."""

    def seen(event: str) -> int:
        return sum(bool(re.search(rf"\[session \d+\] {event}: ", line)) for line in server.lines)

    eventually(lambda: seen("started") == seen("ended"), PATIENCE, "the ends of earlier sessions")
    return server


@pytest.fixture
def small(start_once: Start) -> ServerProcess:
    """A server for two, where nobody waits, a step may take for ever, and a session has limits of its own."""
    of_sessions = "--leave-timeout", "1", "--step-timeout", "0", "--max-envs", "3"
    of_processes = "--process-limit", "9000", "--file-size-limit", "3", "--debuggable"
    return vacant(start_once("--max-sessions", "2", "--queue", "0", "--warm", "1", *of_sessions, *of_processes))


@pytest.fixture
def for_one(start_once: Start) -> ServerProcess:
    """A server for one, where three more wait."""
    limits = "--opening-timeout", "2", "--leave-timeout", "1"
    return vacant(start_once("--max-sessions", "1", "--queue", "3", *limits))


@pytest.fixture
def allowing(start_once: Start) -> ServerProcess:
    """A server of some environments."""
    patterns = "CartPole-*", "Act/*", "Pendulum-v0", "with_mark:*"
    return start_once(*(word for pattern in patterns for word in ("--allow", pattern)))


@pytest.fixture
def patient(start_once: Start) -> ServerProcess:
    """A server that limits memory, and no time."""
    timeouts = (word for name in ("idle", "step", "request", "leave") for word in (f"--{name}-timeout", "0"))
    return start_once("--memory-limit", "512", *timeouts, "--keepalive", "0")


@pytest.fixture
def impatient(start_once: Start) -> ServerProcess:
    """A server with little patience with those who say nothing, and with long requests."""
    return start_once("--idle-timeout", "1", "--step-timeout", "2.5", "--request-timeout", "3")


# How many


def test_past_max_sessions_a_client_is_refused(small: ServerProcess) -> None:
    """Without a queue the server refuses one client too many."""
    server = small
    with server.open("CartPole-v1") as one, server.open("CartPole-v1") as other:
        with ask(server) as third:
            assert FULL in error_text(third.read_to_end())
            server.wait_for(rf"refused \S+:{third.port}: .*{FULL}", since=server.since(third))
        one.play()
        other.play()


def test_room_that_is_made_is_used(small: ServerProcess) -> None:
    """When a client leaves another may come."""
    server = small
    with server.open("CartPole-v1"):
        for _ in range(5):
            with server.open("CartPole-v1") as client:
                session = server.session(client)
                client.play()
            server.end(session)


def test_queued_clients_are_served_in_their_order(for_one: ServerProcess) -> None:
    """Who comes when there is room for nobody waits, and is served by and by; one too many is refused."""
    server = for_one
    with ExitStack() as stack:
        player = stack.enter_context(server.open("CartPole-v1"))
        queued: list[ClassicClient] = []
        for _ in range(3):
            queued.append(stack.enter_context(ask(server)))
            assert not readable(queued[-1], 0.3)
        with ask(server) as refused:
            assert FULL in error_text(refused.read_to_end())
        for place, client in enumerate(queued):
            assert not any(readable(each, 0) for each in queued[place:])
            player.play()
            player.close()
            client.read_error()
            player = client
        player.play()


def test_a_queued_client_that_leaves_frees_its_place(for_one: ServerProcess) -> None:
    """The next client in the queue is served."""
    server = for_one
    waiting: list[ClassicClient] = []

    def waits() -> bool:
        newcomer = ask(server)
        if readable(newcomer, 0.5):
            newcomer.close()
            return False
        waiting.append(newcomer)
        return True

    with server.open("CartPole-v1"):
        assert all(waits() for _ in range(3))
        with ask(server) as refused:
            assert FULL in error_text(refused.read_to_end())
        waiting.pop().close()
        eventually(waits, PATIENCE, "a free place in the queue")
    for newcomer in waiting:
        with newcomer:
            newcomer.read_error()
            newcomer.play()


def test_the_handshake_timeout_excludes_the_queue(for_one: ServerProcess) -> None:
    """The timeout ends when the handshake is complete."""
    server = for_one
    with server.open("CartPole-v1") as player, ask(server) as queued:
        assert not readable(queued, 2.5)
        player.close()
        queued.read_error()
        queued.play()


# Which


def test_only_allowed_environments_are_served(allowing: ServerProcess) -> None:
    """Patterns are globs, and there may be several; an id that was given up must match, and its successor as well."""
    server = allowing
    for allowed in ("CartPole-v1", "CartPole-v0", "Act/Box-v0"):
        server.open(allowed).close()
    for refused in ("Acrobot-v1", "Fault/RaiseInStep-v0", "XCartPole-v1"):
        with pytest.raises(Refused, match=re.escape(refused)):
            server.open(refused)
    server.wait_for(r"refused \S+: .*Acrobot-v1")
    with pytest.raises(Refused, match='"Pendulum-v0" means "Pendulum-v1", which is not allowed'):
        server.open("Pendulum-v0")


def write_module(server: ServerProcess) -> Path:
    """Write the module `with_mark` where the server finds it; return a file that exists once it has been imported."""
    imported = server.directory / "imported"
    (server.directory / "with_mark.py").write_text(MODULE.format(marker=str(imported)))
    return imported


def test_an_id_that_names_a_module_is_refused(impatient: ServerProcess) -> None:
    """A client does not choose what the server imports."""
    imported = write_module(impatient)
    for environment in ("with_mark:FromModule-v0", "gymnasium:with_mark:FromModule-v0"):
        with ask(impatient, environment) as client:
            assert error_text(client.read_to_end())
    assert not imported.exists()


def test_an_id_that_names_a_module_may_be_allowed(allowing: ServerProcess) -> None:
    """A pattern that names the module allows it."""
    imported = write_module(allowing)
    with allowing.open("with_mark:FromModule-v0") as client:
        assert client.reset() == 0
    assert imported.exists()


# How long


def test_a_client_that_says_nothing_is_idle(impatient: ServerProcess) -> None:
    """The session ends by an end-of-file, so that the environment is closed."""
    server = impatient
    with server.open("Fault/Files-v0") as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.reset()
        assert client.read_to_end() == b""
    assert server.end(session).startswith("idle for more than 1 s; Fault/Files-v0 for ")
    server.wait_for(rf"\[session {session.number}\] \| the environment was closed")
    assert not left_after([handle], PATIENCE)


def test_a_client_without_an_environment_may_be_idle_too(impatient: ServerProcess) -> None:
    """A connection for uploads is a session like others."""
    server = impatient
    with server.open("") as client:
        client.wait_closed()


def test_a_client_that_only_asks_is_not_idle(impatient: ServerProcess) -> None:
    """Also by commands that no environment is needed for."""
    server = impatient
    with server.open("") as client, server.open("CartPole-v1") as other:
        for _ in range(8):
            time.sleep(0.25)
            other.space(0)
            with pytest.raises(Refused):
                client.upload("recordings")


def test_a_long_step_is_not_idle_time(impatient: ServerProcess) -> None:
    """While the environment works its client has nothing to say."""
    server = impatient
    with server.open("Fault/SlowStep-v0") as client:
        client.reset()
        for _ in range(2):
            assert client.step(0).reward == 1.0


def test_a_playing_client_is_not_idle(impatient: ServerProcess) -> None:
    """Every command restarts the timeout."""
    with impatient.open("CartPole-v1") as client:
        for _ in range(6):
            client.play(1)
            assert not readable(client, 0.3)


def test_a_step_within_its_time_limit_succeeds(impatient: ServerProcess) -> None:
    """The time limit holds for a single step."""
    with impatient.open("Fault/SlowStep-v0") as client:
        client.reset()
        client.send(step(0) * 3)
        for _ in range(3):
            assert client.read_step().reward == 1.0


@pytest.mark.parametrize("fields", [{}, {"num_envs": 2, "vectorization_mode": "sync"}])
def test_a_client_that_leaves_during_many_steps_frees_its_place(for_one: ServerProcess, fields: dict[str, Any]) -> None:
    """The next one is served, and the environment is closed in order."""
    server, since = for_one, for_one.mark()
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        client.make("Fault/ShortSteps-v0", **fields)
        client.reset()
        session = server.wait_for(r"\[session (\d+)\] started: Fault/ShortSteps-v0", since=since).group(1)
        actions = client.actions.dump([0, 0] if fields else 0)
        client.say("step_many", action=actions, count=10_000)
        server.wait_for(rf"\[session {session}\] \| a short step")
        client.close()
        with server.open("CartPole-v1") as next_one:
            next_one.play()
    server.wait_for(rf"\[session {session}\] ended: the client left, and its request went on for 1 s")
    server.wait_for(rf"\[session {session}\] \| closed in order")


def test_a_client_that_leaves_during_a_step_that_never_returns_frees_its_place(small: ServerProcess) -> None:
    """The processes of its session are killed although a step has no limit, and the next one is served."""
    server = small
    left: list[Session] = []
    processes: list[Handle] = []
    for fields in ({}, {"num_envs": 2, "vectorization_mode": "async"}):
        with FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
            client.make("Fault/HangInStep-v0", **fields)
            client.reset()
            left.append(server.session(client))
            client.say("step", action=client.actions.dump([0, 0] if fields else 0))
            processes += hold({left[-1].process, *descendants(left[-1].process)})
    assert len(processes) >= 4
    for session in left:
        assert server.end(session).startswith("the client left, and its request went on for 1 s; ")
    with server.open("CartPole-v1") as one, server.open("CartPole-v1") as other:
        one.play()
        other.play()
    assert not left_after(processes, PATIENCE)


def test_the_steps_of_a_request_have_a_limit_together(impatient: ServerProcess) -> None:
    """Its client gets an error, and can go on."""
    with FramedClient(connected(("127.0.0.1", impatient.port)), INT32) as client:
        client.make("Fault/ShortSteps-v0")
        client.reset()
        with pytest.raises(Failed, match="a request took more than 3 s: reset to continue") as caught:
            client.step_many(action=client.actions.dump(0), count=10_000)
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
        client.reset()


def test_the_environments_of_a_session_are_limited(small: ServerProcess) -> None:
    """The error names the option."""
    with FramedClient(connected(("127.0.0.1", small.port)), INT32) as client:
        with pytest.raises(Failed, match=r"num_envs 4: the operator allows 3 \(--max-envs\)") as caught:
            client.make("CartPole-v1", num_envs=4)
        assert caught.value.code == "invalid-field"
        client.make("CartPole-v1", num_envs=3)


def test_zero_is_never(patient: ServerProcess) -> None:
    """A limit of zero disables the timeout."""
    server = patient
    with server.open("Fault/SlowStep-v0") as client:
        client.reset()
        assert client.step(0).reward == 1.0
        assert not readable(client, 1.5)
        client.play(1)


# How much


def test_memory_without_a_limit(small: ServerProcess) -> None:
    """The limit is an option: by default an environment takes what it needs."""
    with small.open("Fault/EatSome-v0") as client:
        client.reset()
        assert client.step(0).info == {"eaten": 1024}


def test_memory_within_the_limit(patient: ServerProcess) -> None:
    """The same environment under a limit is ended, one that needs little is not."""
    server = patient
    with server.open("CartPole-v1") as other, server.open("Fault/EatSome-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(step(0))
        client.wait_closed()
        assert "MemoryError in step" in server.end(session)
        other.play()


def test_after_a_memory_error_a_reset_gets_a_fresh_process(patient: ServerProcess) -> None:
    """The old one has too little left. The client and the log are told of the limit; make may fail of it, too."""
    server = patient
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        client.make("Fault/Hoard-v0", kwargs={"mebibytes": 200})
        client.reset()
        first = client.step(0).info["process"]
        with pytest.raises(Failed, match=r"reset; .* hold 512 MiB together \(--memory-limit\): reset to") as caught:
            for _ in range(3):
                client.reset()
        assert (caught.value.code, caught.value.reset_needed) == ("environment-fault", True)
        client.reset()
        assert client.step(0).info["process"] != first
    server.wait_for(r"crashed: .* in reset \(the environment ran out of memory in reset; .*512 MiB")
    with server.open("Fault/EatSome-v0") as classic:
        session = server.session(classic)
        classic.reset()
        classic.send(step(0))
        classic.wait_closed()
        assert "512 MiB together" in server.end(session)


def test_the_memory_limit_is_that_of_all_processes_of_a_session(patient: ServerProcess) -> None:
    """Each is below it, and all together are not; the session goes on with fresh ones, and others do not notice.

    Shared memory counts, which the kernel does not limit.
    """
    server = patient
    with server.open("CartPole-v1") as other, FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        client.make("Fault/Hoard-v0", num_envs=6, vectorization_mode="async")
        session, actions = server.session(client), np.zeros(6, np.int64)
        processes = hold(descendants(session.process))
        for _ in range(2):
            with pytest.raises(Failed, match=r"512 MiB together \(--memory-limit\): reset") as caught:
                client.reset()  # it may fail already
                processes = hold(descendants(session.process))
                while True:
                    client.step(actions)
            assert caught.value.reset_needed
            assert not left_after(processes, PATIENCE)
        with FramedClient(connected(("127.0.0.1", server.port)), INT32) as sharing:
            sharing.make("Fault/Share-v0")
            sharing.reset()
            with pytest.raises(Failed, match=r"out of memory in step; .* 512 MiB together .*: reset"):
                sharing.step(0)
            sharing.reset()
        other.play()


def test_limits_of_processes_and_files_and_debuggers(small: ServerProcess) -> None:
    """Each is an option; a session that can be debugged gains no privileges either."""
    with small.open("Hostile/ReportIsolation-v0") as client:
        client.reset()
        info = client.step(0).info
    wanted = {"NPROC": 9000, "FSIZE": 3 * 2**20, "dumpable": 1, "no_new_privs": True, "oom_score_adj": 500}
    assert info.items() >= wanted.items()
