"""Fixtures for tests of shared memory, which name this module as their plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.framed_client import FramedClient
from tests.support.shared_memory_client import Memory, Of
from tests.support.shared_memory_env import SHARING


@pytest.fixture
def of() -> Iterator[Of]:
    """Makes memory to share with a client's session."""
    with ExitStack() as stack:

        def of(client: FramedClient, *rooms: int) -> Memory:
            made = Memory(client, *rooms)
            stack.callback(made.close)
            return made

        yield of


@pytest.fixture(params=SHARING)
def way(request: pytest.FixtureRequest) -> str:
    """One of the ways to wait for what comes in memory."""
    return str(request.param)
