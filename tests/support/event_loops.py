"""What tests of the asyncio client share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

T = TypeVar("T")


def run(act: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(act, PATIENCE))


def place(server: ServerProcess) -> tuple[str, int]:
    """Return an address that needs no look-up."""
    return "127.0.0.1", server.port


async def cancelled(act: Coroutine[Any, Any, Any]) -> None:
    """Cancel a coroutine that waits for its reply."""
    task = asyncio.ensure_future(act)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
