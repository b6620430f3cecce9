"""Fixtures for tests of the Python client, which name this module as their plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from gymtwist.client import RemoteEnv, RemoteVectorEnv, connect, connect_vec
from tests.support.client_equivalence import SETUP, Remote, RemoteVec
from tests.support.patience import LONG_DRAIN, PATIENCE
from tests.support.scripted_server import Script, Scripted
from tests.support.server_process import ServerProcess, connected


@contextmanager
def serving(factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server for tests of clients."""
    with ServerProcess(factory.mktemp("server"), "--drain", LONG_DRAIN, setup=SETUP) as running:
        connected(("127.0.0.1", running.port)).close()  # it listens a moment after it says so
        yield running


@pytest.fixture(scope="session")
def served_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests of clients, whatever their module: no client is to notice another."""
    with serving(tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """That server, or the module's own if it READS_LOG, in which the sessions of so many clients are left out."""
    if not getattr(request.module, "READS_LOG", False):
        yield request.getfixturevalue("served_to_all")
        return
    with serving(tmp_path_factory) as running:
        yield running


@pytest.fixture(params=["int32", "netstring"])
def protocol(request: pytest.FixtureRequest) -> str:
    """One of the two protocols."""
    return str(request.param)


@pytest.fixture
def remote(served: ServerProcess) -> Iterator[Remote]:
    """Connect to an environment."""
    with ExitStack() as stack:

        def run(environment: str, **arguments: Any) -> RemoteEnv:
            arguments = {"timeout": PATIENCE, **arguments}
            return stack.enter_context(connect(("127.0.0.1", served.port), environment, **arguments))

        yield run


@pytest.fixture
def remote_vec(served: ServerProcess) -> Iterator[RemoteVec]:
    """Connect to environments."""
    with ExitStack() as stack:

        def run(environment: str, num_envs: int, **arguments: Any) -> RemoteVectorEnv:
            arguments = {"timeout": PATIENCE, **arguments}
            return stack.enter_context(connect_vec(("127.0.0.1", served.port), environment, num_envs, **arguments))

        yield run


@pytest.fixture
def scripted() -> Iterator[Script]:
    """Start servers that keep to a script."""
    started: list[Scripted] = []

    def run(*script: bytes) -> Scripted:
        started.append(Scripted(*script))
        return started[-1]

    yield run
    for each in started:
        each.end()
