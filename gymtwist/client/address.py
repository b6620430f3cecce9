"""Where a server is: addresses as people write them, and sockets that are connected to them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gymtwist.client.client_errors import ConnectionLost, TimedOut

if TYPE_CHECKING:
    from ssl import SSLContext

#: How an address is given: ``"localhost:5001"``, ``"[::1]:5001"``, ``"unix:gymsock.sock"``, ``"tls:example.org:5002"``,
#: ``("localhost", 5001)``, or a port of this machine.
AddressLike: TypeAlias = "str | int | tuple[str, int] | Address"
#: How TLS is asked for: True for the system's certificates, the path of a file of them, or a context of one's own.
TlsLike: TypeAlias = "bool | str | SSLContext | None"

_EXPECTED = 'expected "host:port", "[::1]:port", "unix:path", "tls:host:port", (host, port) or a port'
#: Seconds after which a silent connection is probed, and between probes, and how many of them may be lost.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class Address(NamedTuple):
    """An address that has been read.

    Attributes:
        host: A host's name or number; empty for a UNIX socket.
        port: Its TCP port.
        path: Of a UNIX socket; empty for TCP.
        tls: Whether the address asks for TLS.
    """

    host: str
    port: int
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls:' * self.tls}{host}:{self.port}"


def parse(address: AddressLike) -> Address:
    """Read an address.

    Raises:
        ValueError: It is none; the message says what one looks like.
    """
    if isinstance(address, Address):
        return address
    if isinstance(address, int) and not isinstance(address, bool):
        return _tcp("localhost", address, address)
    if isinstance(address, (tuple, list)) and len(address) == 2 and isinstance(address[0], str):
        return _tcp(address[0], address[1], address)
    if not isinstance(address, str):
        raise ValueError(f"no address: {address!r}; {_EXPECTED}")
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path:
            raise ValueError(f"no address: {address!r} has no path; {_EXPECTED}")
        return Address("", 0, path)
    rest = address.removeprefix("tls:")
    host, colon, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"no address: {address!r}; put a host with colons into brackets; {_EXPECTED}")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise ValueError(f"no address: {address!r}; {_EXPECTED}")
    return _tcp(host, int(port), address, tls=rest != address)


def _tcp(host: str, port: object, given: object, *, tls: bool = False) -> Address:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"no address: {given!r}; a port is an integer from 1 to 65535")
    if not host:
        raise ValueError(f"no address: {given!r} has no host; {_EXPECTED}")
    return Address(host, port, tls=tls)


def connected(address: Address, timeout: float | None, tls: TlsLike = None) -> socket.socket:
    """Connect to a server.

    Args:
        address: Where it is.
        timeout: Seconds that this may take, for each of the host's addresses; None for any time.
        tls: Whether and how TLS is spoken; the address can ask for it, too.

    Returns:
        A connected socket, which sends small messages at once.

    Raises:
        ConnectionLost: There is no server, or it is not the one that its certificate should name.
        TimedOut: It took too long.
    """
    try:
        connection = _open(address, timeout)
    except TimeoutError as error:
        raise TimedOut(f"no connection to {address} in time: {error}; is the server reachable?") from error
    except (OSError, UnicodeError) as error:  # a name that no host can have
        raise ConnectionLost(f"no connection to {address}: {error}; is the server running?") from error
    try:
        if address.tls or (tls is not None and tls is not False):
            connection = _secured(connection, address, tls)
    except TimeoutError as error:
        connection.close()
        raise TimedOut(f"no TLS with {address} in time: {error}; does the server speak TLS?") from error
    except OSError as error:
        connection.close()
        raise ConnectionLost(f"no TLS with {address}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _open(address: Address, timeout: float | None) -> socket.socket:
    if address.path:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(address.path)
        except BaseException:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((address.host, address.port), timeout)
    with contextlib.suppress(OSError):  # a step is a few bytes, and is waited for
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):  # a host that is gone is noticed, even where no reply is due
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _secured(connection: socket.socket, address: Address, tls: TlsLike) -> socket.socket:
    import ssl  # it is megabytes that few need

    if isinstance(tls, ssl.SSLContext):
        context = tls
    else:
        context = ssl.create_default_context(cafile=tls if isinstance(tls, str) else None)
    return context.wrap_socket(connection, server_hostname=address.host or None)
