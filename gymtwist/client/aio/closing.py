"""Connecting and closing asyncio environments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from gymtwist.client.aio.async_session import AsyncSession

E = TypeVar("E", bound="Closing")


class Connecting(Generic[E]):
    """A future environment: await it, or use it as an asynchronous context manager, which closes the environment.

    Args:
        make: Connects and makes the environment.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, E]]) -> None:
        self._make = make

    def __await__(self) -> Generator[Any, None, E]:
        return self._make().__await__()

    async def __aenter__(self) -> E:
        self._env = await self
        return self._env

    async def __aexit__(self, *error: object) -> None:
        await self._env.close()


class Closing:
    """Closes an environment's sessions: on request, at the end of a context, or when it is garbage-collected."""

    _sessions: Sequence[AsyncSession] = ()

    async def close(self) -> None:
        """Close the environment and the connection; closing again does nothing."""
        for session in self._sessions:
            await session.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied: two objects cannot share a connection, and a copy would have to wait for its own.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"a {type(self).__name__} in an event loop cannot be copied or pickled: connect again")

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __del__(self) -> None:
        # Garbage may be collected in any thread, and after the end of the loop.
        with contextlib.suppress(RuntimeError):
            for session in self._sessions:
                session.connection.close_from_anywhere()
