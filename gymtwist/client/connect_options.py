"""What a user asks for when connecting, and the session that comes of it."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from gymtwist.client.address import Address, AddressLike, TlsLike, connected, parse
from gymtwist.client.client_session import Session
from gymtwist.client.connection import Connection
from gymtwist.client.shared_memory_connection import SharingConnection, is_local
from gymtwist.protocol import messages
from gymtwist.protocol.adaptive_waiting import REPLY_BUDGET, WaitPolicy, cores
from gymtwist.protocol.framing import Framing
from gymtwist.protocol.names import ProtocolName

#: The framed protocols: MessagePack behind a binary length, or JSON in netstrings.
Protocol = Literal["int32", "netstring"]
#: Seconds that connecting may take.
CONNECT_TIMEOUT = 10.0
#: Seconds that a reply may take: more than the server gives a step before it says what is wrong (--step-timeout).
TIMEOUT = 600.0
#: The most seconds that every system call can wait.
_LONGEST = 1e6


class ConnectOptions(NamedTuple):
    """How to reach a server.

    Attributes:
        address: Where it is.
        protocol: Which protocol to speak.
        timeout: Seconds that a reply may take; None for any time.
        connect_timeout: Seconds that connecting may take; None for any time.
        tls: Whether and how TLS is spoken.
        shared_memory: Whether to share memory with a server on this host.
    """

    address: Address
    protocol: ProtocolName
    timeout: float | None
    connect_timeout: float | None
    tls: TlsLike
    shared_memory: bool = True

    def begin(self, make: messages.Make, *, sessions: int = 1) -> Session:
        """Connect, and ask for an environment.

        Args:
            make: What to make.
            sessions: How many work side by side: polling for one must not take a core from another.

        Returns:
            The session, whose :meth:`~gymtwist.client.client_session.Session.finish` waits for the environment.

        Raises:
            RemoteError: There is no connection.
        """
        plain = connected(self.address, self.connect_timeout, self.tls)
        policy = WaitPolicy(REPLY_BUDGET if cores() > sessions else 0.0)
        kind = SharingConnection if self.shared_memory and is_local(plain) else Connection
        connection = kind(plain, str(self.address), Framing(self.protocol.value), self.timeout, policy)
        return Session(connection, self.protocol, make)


def target(
    address: AddressLike,
    protocol: Protocol,
    timeout: float | None,
    connect_timeout: float | None,
    tls: TlsLike,
    shared_memory: bool,
) -> ConnectOptions:
    """Check how to reach a server.

    Raises:
        ValueError: It cannot be reached like that.
    """
    if protocol not in ("int32", "netstring"):
        raise ValueError(f'no protocol: {protocol!r}; expected "int32" or "netstring"')
    for name, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
        if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds <= _LONGEST):
            raise ValueError(f"{name} is {seconds!r}: expected seconds, {_LONGEST:g} at most, or None for any time")
    if not isinstance(shared_memory, bool):
        raise ValueError(f"shared_memory is {shared_memory!r:.80}: expected True or False")
    return ConnectOptions(parse(address), ProtocolName(protocol), timeout, connect_timeout, tls, shared_memory)


def count_of(name: str, number: Any, most: int | None = None) -> int:
    """Take a number of something, whatever kind of integer it is.

    Raises:
        ValueError: It is none from 1 to the most there can be.
    """
    try:
        count = operator.index(number)
    except TypeError:
        count = 0
    if count < 1 or (most is not None and count > most):
        expected = "an integer from 1" if most is None else f"1 to {most}, as many as there are environments"
        raise ValueError(f"{name} is {number!r}: expected {expected}")
    return count


def merged(kwargs: Mapping[str, Any] | None, others: Mapping[str, Any]) -> dict[str, Any]:
    """Put the environment's keyword arguments together.

    Args:
        kwargs: Those given by the argument of that name, which may have any name.
        others: Those given as keyword arguments.

    Raises:
        TypeError: One is given twice.
    """
    twice = sorted(set(kwargs or {}) & set(others))
    if twice:
        raise TypeError(f"given twice, by kwargs and by itself: {', '.join(twice)}")
    return {**(kwargs or {}), **others}
