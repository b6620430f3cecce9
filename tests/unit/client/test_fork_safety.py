"""A connection belongs to one object in one process: copies and forked processes have no part in it."""

from __future__ import annotations

import copy
import os
import pickle
import socket
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

from gymtwist.client import ConnectionLost, RemoteEnv, RemoteVectorEnv
from gymtwist.client.connection import Connection
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing
from tests.support.client_equivalence import Remote, RemoteVec, assert_same, local
from tests.support.client_interrupts import lost_by
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 77


def forked(act: Callable[[], str]) -> str:
    """Return what a forked process says."""
    ours, theirs = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.write(theirs, act().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours) as stream:
        said = stream.read()
    os.waitpid(process, 0)
    return said


def test_a_forked_process_does_not_use_its_parents_connection(remote: Remote) -> None:
    """It is told so; and the parent's episode goes on as if nothing had been tried."""
    theirs, ours = remote("CartPole-v1"), local("CartPole-v1")
    theirs.reset(seed=SEED)
    ours.reset(seed=SEED)

    def use() -> str:
        try:
            theirs.step(0)
        except ConnectionLost as error:
            return str(error)
        return "a step"

    assert "forked" in forked(use)
    assert_same(theirs.step(0), ours.step(0))


def test_closing_works_while_a_forked_process_lives() -> None:
    """The server would wait for that one else."""
    ours, peer = socket.socketpair()
    connection = Connection(ours, "the server", Framing.INT32, PATIENCE, WaitPolicy(0.0))
    until, done = os.pipe()
    process = os.fork()
    if not process:
        os.close(done)
        peer.close()
        os.read(until, 1)
        os._exit(0)
    os.close(until)
    with peer:
        connection.close()
        peer.settimeout(PATIENCE)
        assert peer.recv(1) == b""
    os.close(done)
    os.waitpid(process, 0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda theirs: pickle.loads(pickle.dumps(theirs))])
def test_a_copy_is_made_of_the_same_arguments(
    remote: Remote, remote_vec: RemoteVec, duplicate: Callable[[Any], Any]
) -> None:
    """It has a session of its own, so closing it does no harm to the first."""
    either: list[RemoteEnv | RemoteVectorEnv] = [
        remote("Pendulum-v1", g=3.0, timeout=55.0, token="key", progress=print),
        remote_vec("Pendulum-v1", 4, processes=2, g=3.0),
    ]
    for theirs in either:
        another = duplicate(theirs)
        assert (type(another), another.spec) == (type(theirs), theirs.spec)
        assert_same(another.reset(seed=SEED), theirs.reset(seed=SEED))
        another.close()
        theirs.step(theirs.action_space.sample())


def test_a_copy_of_what_gymnasium_made(remote: Remote) -> None:
    """Keeps its wrappers, and its specification."""
    spec = remote("Pendulum-v1").spec
    assert spec is not None
    theirs = gymnasium.make(spec)
    with pickle.loads(pickle.dumps(theirs)) as another:
        assert another.spec == theirs.spec
        assert_same(another.reset(seed=SEED), theirs.reset(seed=SEED))
    theirs.close()


def test_its_token_is_not_shown(remote: Remote) -> None:
    """Although copies have it."""
    theirs = remote("Pendulum-v1", token="xyzzy")
    assert b"xyzzy" in pickle.dumps(theirs)
    assert "xyzzy" not in f"{vars(theirs)}{theirs.spec}"


def test_its_specification_can_go_to_another_process(remote: Remote, remote_vec: RemoteVec) -> None:
    """As that of a local one: it is equal there, and makes another one like it."""
    theirs = remote("Pendulum-v1", g=3.0, render_mode="rgb_array")
    spec = pickle.loads(pickle.dumps(theirs.spec))
    assert spec == theirs.spec
    with spec.make() as another:
        assert another.render_mode == "rgb_array"
        assert_same(another.reset(seed=SEED), theirs.reset(seed=SEED))
        assert_same(another.step([1.0])[0], theirs.step([1.0])[0])
    several = gymnasium.make_vec(pickle.loads(pickle.dumps(remote_vec("Pendulum-v1", 4, processes=2).spec)), 3)
    assert several.num_envs == 3
    several.close()


def test_an_interrupt_at_any_moment_never_leaves_it_waiting(served: ServerProcess) -> None:
    """It goes on in step, or says at once that it is closed; most of the time the former."""
    assert lost_by("client_interrupts", served.port) < 150
