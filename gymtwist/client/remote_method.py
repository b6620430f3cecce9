"""Methods of a remote environment, and requests for its attributes."""

from __future__ import annotations

from typing import Any, TypeVar

from gymtwist.client.client_errors import AttributeUnreachable, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.protocol import all_messages, messages

_Reply = TypeVar("_Reply", messages.Got, messages.AttributeSet, messages.Called)


def ask_for_attribute(session: Session, request: all_messages.Request, kind: type[_Reply]) -> _Reply:
    """Send a request for an attribute and wait for its reply.

    Raises:
        AttributeUnreachable: The attribute cannot be reached, or the server does not know such requests.
        RemoteError: The server replied with another error, or did not reply.
    """
    try:
        return session.ask(request, kind)
    except RequestRefused as error:
        raise explained(error) from None


def explained(error: RequestRefused) -> RequestRefused:
    """Return the error for a refused request: AttributeUnreachable if the server does not know such requests."""
    if error.code != "unknown-operation":
        return error
    return AttributeUnreachable(
        "the attributes of the remote environment cannot be reached: its server is older than they are; update it",
        code=error.code,
    )


class RemoteMethod:
    """A method of a remote environment: calling this object calls the method at the server.

    Args:
        session: The session.
        name: The method's name.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result.

        Raises:
            EnvironmentFailed: The method raised an exception.
            AttributeUnreachable: The result cannot be sent.
        """
        request = messages.Call(self.__name__, list(args), kwargs)
        return ask_for_attribute(self._session, request, messages.Called).value

    def __repr__(self) -> str:
        return f"<remote method {self.__name__} at {self._session.connection.name}>"
