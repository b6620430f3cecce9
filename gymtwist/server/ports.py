"""The ports: each is opened, or taken from the process being replaced, and can be handed over in turn."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import defer, endpoints, tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock
from zope.interface import implementer

from gymtwist.server.certificates import read_certificates
from gymtwist.server.handed_over import HANDED_OVER
from gymtwist.server.plain_text import answer_plain_text
from gymtwist.server.session_events import SessionEvents

#: How often to accept the connections that wait at a port before it is closed, up to about a hundred each time.
_LAST_ACCEPTS = 100
#: The most connections that a port accepts before returning to the reactor. Twisted accepts more and more while many
#: wait. The connections dropped to make room would then all be open at once, until none can be accepted from anybody.
_MOST_ACCEPTS = 100
#: The prefix of the descriptions of sockets that systemd has opened.
_SYSTEMD = "systemd:"


class CannotStart(SystemExit, Exception):
    """The server cannot start, for a reason that the operator can fix.

    In the foreground, it ends ``twistd`` with its message and without a traceback, as ``SystemExit`` does. A daemon
    reports only an ``Exception`` to the ``twistd`` that waits for it.
    """


class TcpPort(tcp.Port):
    """A TCP port that another process may keep using after this one has closed it.

    Attributes:
        name: The name under which it is handed over.
    """

    name = ""
    #: Twisted would shut the socket down, which would stop every process from listening.
    _shouldShutdown = False

    def doRead(self) -> None:
        """Accept connections; called by the reactor."""
        self.numberAccepts = min(self.numberAccepts, _MOST_ACCEPTS)
        super().doRead()


class UnixPort(unix.Port):
    """A UNIX socket that another process may keep using after this one has closed it.

    Attributes:
        name: The name under which it is handed over.
        owns_path: Whether to remove the path on closing.
        locks_path: Whether to hold a lock file beside the path, as Twisted does.
    """

    name = ""
    owns_path = True
    locks_path = False
    _shouldShutdown = False

    def adopt(self, socket: socket.socket) -> None:
        """Serve a socket that is already listening; its path and mode are left alone.

        Twisted's own method sets the mode to 0666, which would open a socket of mode 0600 to everybody.
        """
        self.owns_path = False
        tcp._reservedFD.reserve()
        self.factory.doStart()  # type: ignore[union-attr]
        self.socket = socket
        self.fileno = socket.fileno  # type: ignore[method-assign]
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def doRead(self) -> None:
        """Accept connections; called by the reactor."""
        self.numberAccepts = min(self.numberAccepts, _MOST_ACCEPTS)
        super().doRead()

    def own_path(self) -> None:
        """Take over the path, and the lock beside it, from the process that had them."""
        self.owns_path = True
        if not self.locks_path:
            return
        lock = self._bindPath + b".lock"
        new = lock + b".new"
        with contextlib.suppress(OSError):  # the socket works without it
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            os.symlink(str(os.getpid()), new)
            os.replace(new, lock)
            self.lockFile = FilesystemLock(lock)
            self.lockFile.locked = True

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and remove its path if this process owns it; called by Twisted."""
        if self.owns_path:
            super().connectionLost(reason)
        else:
            tcp.Port.connectionLost(self, reason)


class PortOpener:
    """Stands in for the reactor of endpoints: takes the ports that were handed over, and opens the others.

    Args:
        reactor: The reactor.
        description: The description of the endpoint.
    """

    def __init__(self, reactor: Any, description: str) -> None:
        self._reactor = reactor
        self._description = description

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the reactor that endpoints need."""
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Return a TCP port; called by Twisted's endpoints.

        Raises:
            CannotListenError: It cannot be opened.
        """
        opened = TcpPort(port, factory, backlog, interface, self._reactor)
        opened.name = f"tcp:{interface}:{port}"
        opened._preexistingSocket = _handed_over(opened.name)
        opened.startListening()
        return opened

    def listenSSL(
        self,
        port: int,
        factory: Any,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> Any:
        """Return a TCP port with TLS; called by Twisted's endpoints."""
        opened = self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)
        opened._type = "TLS"
        return opened

    def listenUNIX(
        self,
        address: Any,
        factory: Any,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> Any:
        """Return a UNIX socket; called by Twisted's endpoints."""
        opened = UnixPort(address, factory, backlog, mode, self._reactor, wantPID)
        opened.name = f"unix:{os.fsdecode(address)}"
        opened.locks_path = bool(wantPID)
        handed_over = _handed_over(opened.name)
        if handed_over is None:
            opened.startListening()
        else:
            opened.adopt(handed_over)
        return opened

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Return a port for a socket that systemd has opened; called by Twisted's endpoints."""
        return _of_systemd(self._reactor, self._description, socket.socket(fileno=os.dup(fileDescriptor)), factory)


def _handed_over(name: str) -> socket.socket | None:
    return None if HANDED_OVER is None else HANDED_OVER.take(name)


def _of_systemd(reactor: Any, description: str, listening: socket.socket, factory: Any) -> Any:
    listening.setblocking(False)
    address: Any = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        opened: Any = UnixPort(os.fsencode(address), factory, reactor=reactor)
        opened.adopt(listening)
    else:
        opened = TcpPort(address[1], factory, interface=address[0], reactor=reactor)
        opened._preexistingSocket = listening
        opened.startListening()
    opened.name = description
    return opened


@implementer(IStreamServerEndpoint)
class _SystemdEndpoint:
    """The endpoint of a socket that systemd has opened for the replaced process.

    Args:
        reactor: The reactor.
        description: The description.
        listening: The socket.
    """

    def __init__(self, reactor: Any, description: str, listening: socket.socket) -> None:
        self._reactor, self._description, self._listening = reactor, description, listening

    def listen(self, protocolFactory: Any) -> defer.Deferred[IListeningPort]:
        """Return the port."""
        return defer.succeed(_of_systemd(self._reactor, self._description, self._listening, protocolFactory))


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint that keeps its port, and stops the start on failure, which ``StreamServerEndpointService`` only logs.

    Args:
        reactor: The reactor.
        description: The description of the endpoint.
        events: Where to publish refusals of connections that are not accepted.
        fail: Called with the reason if the port cannot be opened after :meth:`listen` has returned.
        check: Takes the endpoint's description and its port's address; raises ``ValueError`` if the port must not be
            served. None to serve any port.
        client_ca: The file of the authorities whose client certificates a TLS port accepts; None for none.

    Attributes:
        description: The description of the endpoint.
        port: The port; None while it is not open.
        listening: A Deferred, set by :meth:`listen`, that fires with the port; or with None, if the port cannot be
            opened or the server stops first.
    """

    listening: defer.Deferred[IListeningPort]

    def __init__(
        self,
        reactor: Any,
        description: str,
        events: SessionEvents,
        fail: Callable[[str], None],
        check: Callable[[str, Any], None] | None = None,
        client_ca: str | None = None,
    ) -> None:
        self.description = description
        self._client_ca = client_ca
        self._check = check
        self._fail = fail
        opener: Any = PortOpener(reactor, description)
        handed_over = _handed_over(description) if description.startswith(_SYSTEMD) else None
        if handed_over is None:
            self._endpoint = endpoints.serverFromString(opener, description)
        else:
            self._endpoint = _SystemdEndpoint(reactor, description, handed_over)
        self._events = events
        self.port: Any = None

    def listen(self, protocolFactory: Any) -> defer.Deferred[IListeningPort]:
        """Open the port.

        Raises:
            CannotStart: It cannot be opened.
        """
        problems: list[str] = []
        report = problems.append

        def failed(failure: Failure) -> None:
            if not failure.check(defer.CancelledError):  # fine: the server is stopping
                error = failure.value
                reason = error.socketError if isinstance(error, CannotListenError) else failure.getErrorMessage()
                report(f"gymsock cannot listen on {self.description}: {reason}")

        self.listening = defer.maybeDeferred(self._endpoint.listen, protocolFactory).addCallback(self._opened)
        self.listening.addErrback(failed)
        if problems:
            raise CannotStart(problems[0])
        report = self._fail
        return self.listening

    def _opened(self, port: Any) -> Any:
        if self._check is not None:
            try:
                self._check(self.description, port.getHost())
            except ValueError:
                port.stopListening()
                raise
        use = None if self._client_ca is None else read_certificates(port, self.description, self._client_ca)
        if use is not None:
            use()
        answer_plain_text(port, self._events)
        self.port = port
        return port

    def read_certificates(self) -> Callable[[], None] | None:
        """Read the certificates again; return a function that applies them, or None if this port has none."""
        return None if self.port is None else read_certificates(self.port, self.description, self._client_ca)

    def accept_waiting(self) -> None:
        """Accept the connections that wait at the port, since closing it would make the kernel reset them."""
        if self.port is None or not self.port.connected:
            return
        for _ in range(_LAST_ACCEPTS):
            accepted = self.port.sessionno
            self.port.doRead()
            if self.port.sessionno == accepted:
                return

    @property
    def name(self) -> str:
        """The name under which the port is handed over; empty if it cannot be."""
        return getattr(self.port, "name", "")

    @property
    def descriptor(self) -> int:
        """The descriptor of the port's socket."""
        return int(self.port.fileno())

    def own(self) -> None:
        """Take ownership of the port's files: the process that opened it no longer owns them."""
        if isinstance(self.port, UnixPort) and not self.description.startswith(_SYSTEMD):
            self.port.own_path()

    def release(self) -> Any:
        """Close the port in this process only: another process keeps using it."""
        if isinstance(self.port, UnixPort):
            self.port.owns_path, self.port.lockFile = False, None
        return self.port.stopListening()
