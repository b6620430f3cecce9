"""Fixtures for tests of shared memory, which name this module as their plugin."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gymtwist_conformance.reference_client import FramedClient, SharedRegion
from tests.support.shared_memory_env import SHARING

Of = Callable[..., SharedRegion]


def answer(client: FramedClient, op: str, **fields: Any) -> dict[str, Any]:
    """Send a request through the socket; return the message that comes, whatever it is."""
    client.say(op, **fields)
    return client.hear()


@pytest.fixture
def of() -> Iterator[Of]:
    """Make memory to share with a client's session."""
    with ExitStack() as stack:

        def of(client: FramedClient, *rooms: int) -> SharedRegion:
            made = SharedRegion(client, *rooms)
            stack.callback(made.close)
            return made

        yield of


@pytest.fixture(scope="module")
def few_objects() -> None:
    """Spare what earlier modules have left from collections, too: the tests that count what is left do many."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=SHARING)
def way(request: pytest.FixtureRequest) -> str:
    """One of the ways to wait for what comes in memory."""
    return str(request.param)
