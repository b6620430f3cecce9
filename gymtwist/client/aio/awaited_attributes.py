"""The attributes of a remote environment, for coroutines, because an attribute itself cannot be awaited."""

from __future__ import annotations

from typing import Any

from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.client_errors import AttributeUnreachable
from gymtwist.protocol import messages


class AsyncAttributes:
    """Reads, sets and calls attributes of the environment at the server."""

    _session: AsyncSession

    async def get(self, name: str, *, as_text: bool = False) -> Any:
        """Read an attribute of the environment, or of one of its wrappers at the server.

        Args:
            name: The attribute's name.
            as_text: Whether to return the ``repr`` of the value, for objects that cannot be sent.

        Raises:
            AttributeUnreachable: There is no such attribute, its value cannot be sent, it is a method, or the operator
                does not allow it.
        """
        reply = await self._session.ask_for_attribute(messages.Get(name, as_text), messages.Got)
        if reply.callable:
            raise AttributeUnreachable(f"{name!r} is a method: await call({name!r})", code="unsendable-value")
        return reply.value

    async def set(self, name: str, value: Any) -> None:
        """Set an attribute that the environment, or one of its wrappers at the server, has.

        Args:
            name: The attribute's name.
            value: The new value.

        Raises:
            AttributeUnreachable: The attribute cannot be set.
        """
        await self._session.ask_for_attribute(messages.Set(name, value), messages.AttributeSet)

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the environment, or of one of its wrappers at the server.

        Args:
            name: The method's name.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What the method returned.

        Raises:
            AttributeUnreachable: There is no such method, or the operator does not allow it.
            EnvironmentFailed: The method raised an exception.
        """
        return (await self._session.ask_for_attribute(messages.Call(name, list(args), kwargs), messages.Called)).value
