"""The list of a server's environments."""

from __future__ import annotations

import itertools

from gymtwist.client.address import AddressLike, Attempts, TlsLike, parse, retried
from gymtwist.client.client_errors import ProtocolBroken
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import (
    CONNECT_TIMEOUT,
    TIMEOUT,
    ConnectOptions,
    Protocol,
    protocol_named,
    token_or_default,
)
from gymtwist.error_texts import printable
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.framing import MAX_FRAME

#: More than any server has; a longer list would fill the client's memory.
_MOST = 1_000_000


def open_session(
    address: AddressLike,
    *,
    protocol: Protocol = "int32",
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    attempts: Attempts | None = None,
) -> Session:
    """Connect to a server without an environment; see :func:`~gymtwist.client.api.connect` for the arguments.

    ``attempts`` decides when to try again while the server is not up.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached.
    """
    options = ConnectOptions(
        parse(address), protocol_named(protocol), timeout, connect_timeout, tls, False, make_messages.Make("-")
    )
    session = Session(options.open_connection(attempts or options.attempts()), options.spoken)
    session.connection.limit_replies(MAX_FRAME)
    return session


def envs(
    address: AddressLike,
    *,
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    api: messages.AgentApi | None = None,
) -> list[messages.ListedEnv]:
    """List the environments that a server lets its clients make.

    Args:
        address: The server's address; see :func:`connect`.
        protocol: See :func:`connect`.
        token: See :func:`connect`.
        timeout: See :func:`connect`.
        connect_timeout: See :func:`connect`.
        tls: See :func:`connect`.
        api: "parallel" or "aec" to list multi-agent environments whose agents act at once, or take turns. Environments
            of modules that are not registered are not listed.

    Returns:
        The environments, in the order of their ids. No environment is made for the list, so it has no spaces.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or does not list its environments.
    """
    attempts = Attempts(parse(address), connect_timeout)

    def ask() -> list[messages.ListedEnv]:
        session = open_session(
            address, protocol=protocol, timeout=timeout, connect_timeout=connect_timeout, tls=tls, attempts=attempts
        )
        try:
            return listed(session, token, api)
        finally:
            session.connection.close()

    return retried(ask, attempts)


def listed(
    session: Session, token: str | None = None, api: messages.AgentApi | None = None
) -> list[messages.ListedEnv]:
    """List the environments of a session's server; see :func:`envs`."""
    found: list[messages.ListedEnv] = []
    is_complete = False
    while not is_complete:
        after = found[-1].id if found else ""
        reply = session.ask_for_list(messages.Envs(after, report_queue=True, token=token_or_default(token), api=api))
        ids = [after, *(each.id for each in reply.envs)]
        if any(one >= other for one, other in itertools.pairwise(ids)) or (reply.more and not reply.envs):
            raise _broken(session, f"its list of environments goes on with {printable(ids[-1])!r} after {after!r}")
        found += reply.envs
        if len(found) > _MOST:
            raise _broken(session, f"it lists more than {_MOST} environments")
        is_complete = not reply.more
    return found


def _broken(session: Session, problem: str) -> ProtocolBroken:
    error = ProtocolBroken(f"{session.connection.name} violates the protocol: {problem}", code="malformed-message")
    session.connection.close(error)
    return error
