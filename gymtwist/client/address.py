"""Server addresses: parses them and connects to them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeGuard, TypeVar

from gymtwist.client.client_errors import ConnectionLost, RemoteError, RequestRefused, TimedOut
from gymtwist.client.progress import Progress, Report
from gymtwist.protocol.websocket import PATH

if TYPE_CHECKING:
    from ssl import SSLContext

#: The forms of an address: ``"localhost:5001"``, ``"[::1]:5001"``, ``"unix:gymsock.sock"``, ``"tls:example.org:5002"``,
#: ``"ws://localhost:5001"``, ``"wss://example.org/gym/ws"``,
#: ``("localhost", 5001)``, or a port on this machine.
AddressLike: TypeAlias = "str | int | tuple[str, int] | Address"
#: How to use TLS: True to trust the system's certificates, the path of a file of certificates, or a context.
TlsLike: TypeAlias = "bool | str | os.PathLike[str] | SSLContext | None"

T = TypeVar("T")
_log = logging.getLogger("gymtwist.client")

#: The schemes of WebSocket, without and with TLS, and their default ports.
_SCHEMES = ("ws://", "wss://")
_WEB_PORTS = (80, 443)
_EXPECTED = (
    'expected "host:port", "[::1]:port", "unix:path", "tls:host:port", "ws://host:port", "wss://host:port", '
    "(host, port) or a port"
)
_EXPECTED_TLS = "expected True, the path of a file of certificates in PEM format, or an ssl.SSLContext"
#: OpenSSL's reasons for receiving bytes that are not TLS.
_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
#: Keepalive: seconds until the first probe of a silent connection, seconds between probes, and how many may be lost.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
#: Milliseconds without an acknowledgement after which a connection counts as lost, if its session can be resumed.
_LOSS_TIMEOUT = 20_000
#: The errors for a server or a machine that is not up yet, and for a UNIX socket to which too many clients connect at
#: once.
_NOT_UP = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETUNREACH})
#: The error codes of a server that is full or about to restart.
_TEMPORARY = frozenset({"server-full", "server-stopping"})
#: Seconds between the first two attempts to connect; each pause is twice the last, up to the longest one.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Address(NamedTuple):
    """A parsed address.

    Attributes:
        host: The host name or IP address; empty for a UNIX socket.
        port: The TCP port.
        path: The path of a UNIX socket; empty for TCP.
        tls: Whether the address requires TLS.
        websocket: The path of a WebSocket; empty if the connection uses none.
    """

    host: str
    port: int
    path: str = ""
    tls: bool = False
    websocket: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.websocket:
            path = "" if self.websocket == PATH else self.websocket
            return f"{_SCHEMES[self.tls]}{host}:{self.port}{path}"
        return f"{'tls:' * self.tls}{host}:{self.port}"


def parse(address: AddressLike) -> Address:
    """Parse an address.

    Raises:
        ValueError: It is malformed.
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
    scheme = next((scheme for scheme in _SCHEMES if address.lower().startswith(scheme)), "")
    if scheme:
        return _websocket(address, scheme)
    rest = address.removeprefix("tls:")
    return _tcp(*_host_and_port(rest, address), address, tls=rest != address)


def _websocket(address: str, scheme: str) -> Address:
    """Parse the address of a WebSocket."""
    tls = scheme == _SCHEMES[True]
    place, slash, path = address[len(scheme) :].partition("/")
    if not place.rpartition("]")[2].count(":"):
        place = f"{place}:{_WEB_PORTS[tls]}"
    target = slash + path if path else PATH
    if not (target.isascii() and target.isprintable()) or set(target) & set(" #"):
        raise ValueError(f"no address: {address!r}; write the path as in a URL, with %20 for a space")
    return _tcp(*_host_and_port(place, address), address, tls=tls)._replace(websocket=target)


def _host_and_port(rest: str, address: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"no address: {address!r}; put a host with colons into brackets; {_EXPECTED}")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise ValueError(f"no address: {address!r}; {_EXPECTED}")
    return host, int(port)


def _tcp(host: str, port: object, given: object, *, tls: bool = False) -> Address:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"no address: {given!r}; a port is an integer from 1 to 65535")
    if not host:
        raise ValueError(f"no address: {given!r} has no host; {_EXPECTED}")
    return Address(host, port, tls=tls)


class Clock(NamedTuple):
    """How to measure time and how to wait.

    Attributes:
        now: Returns the time in seconds.
        pause: Waits for a number of seconds.
    """

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


_CLOCK = Clock()


def connected(
    address: Address,
    timeout: float | None,
    tls: TlsLike = None,
    *,
    attempts: Attempts | None = None,
    clock: Clock = _CLOCK,
) -> socket.socket:
    """Connect to a server, which may not be up yet.

    Args:
        address: The server's address.
        timeout: Seconds to wait until a server listens, and seconds to connect to each of the host's IP addresses; None
            for no limit.
        tls: Whether and how to use TLS; the address can require it, too.
        attempts: Decides when to try again; None for new attempts, which end after the timeout.
        clock: The clock for the wait.

    Returns:
        A connected socket without Nagle's algorithm.

    Raises:
        ConnectionLost: No server listens at the address, it does not speak TLS, or its certificate is not trusted.
        TimedOut: The server did not respond in time.
        ValueError: The certificates to trust cannot be read.
    """
    context = context_of(address, tls)
    connection = _open_when_up(address, timeout, attempts or Attempts(address, timeout, now=clock.now), clock)
    try:
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname=address.host or None)
    except OSError as error:
        connection.close()
        raise unencrypted(address, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _unconnected(address: Address, timeout: float | None, error: Exception) -> ConnectionLost | TimedOut:
    """Return the error for a failure to connect to a server."""
    if isinstance(error, TimeoutError):
        return TimedOut(f"no connection to {address} in time: {error}; is the server reachable?")
    within = f" within {timeout:g} s" if timeout is not None and is_not_up(error) else ""
    question = "is the name of the host right?" if isinstance(error, socket.gaierror) else "is the server running?"
    return ConnectionLost(f"no connection to {address}{within}: {error}; {question}")


def is_not_up(error: BaseException | None) -> TypeGuard[OSError]:
    """Return whether an error means that the server may come up later."""
    return isinstance(error, OSError) and error.errno in _NOT_UP


def unencrypted(address: Address, error: OSError) -> ConnectionLost | TimedOut:
    """Return the error for a failure to start TLS with a server."""
    if isinstance(error, TimeoutError):
        return TimedOut(f"no TLS with {address} in time: {error}; does the server speak TLS?")
    hint = "; it does not speak TLS: connect without tls" if getattr(error, "reason", "") in _NOT_TLS else ""
    return ConnectionLost(f"no TLS with {address}: {error}{hint}")


class Attempts:
    """The attempts to get an environment from a server that may not be up yet, or may be full.

    The pauses between them grow.

    Args:
        address: The server's address.
        timeout: Seconds until the last attempt; None for no limit.
        report: Called after each failed attempt except the last.
        now: Returns the time in seconds.
        is_restart: Whether the server was up before, so that it may be stopping or starting.
    """

    def __init__(
        self,
        address: Address,
        timeout: float | None,
        report: Report | None = None,
        now: Callable[[], float] = time.monotonic,
        *,
        is_restart: bool = False,
    ) -> None:
        self._address, self._timeout, self._report, self._now = address, timeout, report, now
        self._start, self._pause, self._is_restart = now(), _FIRST_PAUSE, is_restart

    def pause_after(self, error: Exception) -> float:
        """Return the seconds from a failed attempt to the next one.

        Args:
            error: Why the attempt failed.

        Raises:
            RemoteError: It was the last attempt, or waiting cannot help.
        """
        timeout, passed, pause = self._timeout, self._now() - self._start, self._pause
        if not self._may_pass(error) or (timeout is not None and passed >= timeout):
            if isinstance(error, RemoteError):
                raise error
            raise _unconnected(self._address, timeout, error) from error
        if pause == _FIRST_PAUSE:
            limit = "" if timeout is None else f" for up to {timeout:g} s"
            problem = error.strerror if isinstance(error, OSError) and error.strerror else error
            state = "has no session yet" if isinstance(error, RequestRefused) else "is not up"
            _log.warning("%s %s (%s); waiting for it%s", self._address, state, problem, limit)
        if self._report is not None:
            self._report(Progress("connecting", passed))
        self._pause = min(2 * pause, _LONGEST_PAUSE)
        return pause if timeout is None else min(pause, timeout - passed)

    def _may_pass(self, error: Exception) -> bool:
        """Return whether trying again may help after an error."""
        if isinstance(error, RequestRefused):
            return error.code in _TEMPORARY
        return is_not_up(error) or (self._is_restart and isinstance(error, ConnectionLost))

    def succeed(self) -> None:
        """Note that the server is up."""
        if self._pause > _FIRST_PAUSE:
            _log.info("%s is up after %.1f s", self._address, self._now() - self._start)


def retried(act: Callable[[], T], attempts: Attempts) -> T:
    """Call a function that needs a session; try again while the server has none but may have one soon.

    Args:
        act: Connects, and asks for the session.
        attempts: Decides when to try again.

    Raises:
        RemoteError: The last attempt failed.
    """
    while True:
        try:
            return act()
        except RemoteError as error:
            time.sleep(attempts.pause_after(error))


def _open_when_up(address: Address, timeout: float | None, attempts: Attempts, clock: Clock) -> socket.socket:
    """Connect; try again while the server is not up."""
    while True:
        try:
            connection = _open(address, timeout)
        except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
            clock.pause(attempts.pause_after(error))
        else:
            attempts.succeed()
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
    tune(connection)
    return connection


def tune(connection: socket.socket) -> None:
    """Set the options of a TCP connection, as far as the system supports them."""
    with contextlib.suppress(OSError):  # requests are small, and the client waits for each reply
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):  # detects a host that is gone
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def notice_loss(connection: socket.socket) -> None:
    """End a TCP connection when the other side acknowledges nothing for a while, if the system supports that.

    The default is a quarter of an hour, which is too late to resume a session.
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOSS_TIMEOUT)


def context_of(address: Address, tls: TlsLike) -> SSLContext | None:
    """Return the context of a TLS connection; None for one without TLS.

    Raises:
        ValueError: The certificates to trust cannot be read.
    """
    if not address.tls and (tls is None or tls is False):
        return None
    import ssl  # takes megabytes of memory that few clients need

    if isinstance(tls, ssl.SSLContext):
        return tls
    if tls is None or isinstance(tls, bool):
        return ssl.create_default_context()
    if not isinstance(tls, (str, os.PathLike)):
        raise ValueError(f"tls is {tls!r:.80}: {_EXPECTED_TLS}")
    try:
        return ssl.create_default_context(cafile=tls)
    except OSError as error:
        problem = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"tls is {os.fspath(tls)!r}, which cannot be read ({problem}): {_EXPECTED_TLS}") from error
