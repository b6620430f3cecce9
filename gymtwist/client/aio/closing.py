"""The end of an environment whose methods are coroutines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NoReturn

from gymtwist.client.aio.async_session import AsyncSession


class Closing:
    """Closes the sessions of an environment: on request, at the end of a context, or once nobody has it any more."""

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
        # The garbage may be collected in any thread, and after the end of the loop.
        with contextlib.suppress(RuntimeError):
            for session in self._sessions:
                session.connection.close_from_anywhere()
