"""The service: its parts start in their order, and stop one after the other in the reverse order."""

from __future__ import annotations

import resource
import signal
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService, Service
from twisted.internet import defer, endpoints, task
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.errors import WorkerStartError
from gymtwist.server.gym_protocol import GymFactory
from gymtwist.server.scratch_directories import ScratchDirectories
from gymtwist.server.server_log import log, log_event
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.startup_banner import log_startup
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_starter import Starter

#: Seconds that sessions have to end, and then workers, when the server stops; what is left is killed.
_END_TIMEOUT = 5.0
#: Descriptors of the server per session: its socket, the link and the output of its worker, its status; two of a relay.
_DESCRIPTORS_EACH = 6
_DESCRIPTORS_OTHER = 64


class CannotStart(SystemExit, Exception):
    """The server cannot start, for a reason that the operator can remove.

    In the foreground it ends ``twistd`` with its message and without a traceback, as ``SystemExit`` does. A daemon
    reports only an ``Exception`` to the ``twistd`` that waits for it.
    """


class GymService(MultiService):
    """Serves environments.

    Args:
        reactor: The reactor.
        options: The options of the server.
        starter: Starts the workers.

    Attributes:
        factory: The factory of the connections.
    """

    name = "gymsock"

    def __init__(self, reactor: Any, options: ServerOptions, starter: Starter) -> None:
        super().__init__()
        self._options = options
        self._starter = starter
        pool = WorkerPool(reactor, starter, options.warm)
        self.factory = GymFactory(reactor, options, pool)
        self._scratch = self.factory.scratch = ScratchDirectories(reactor)
        self.factory.events.subscribe(log_event)
        self.addService(WorkerService(reactor, starter, pool))
        self.addService(DrainService(reactor, self.factory))
        self._endpoints = [Endpoint(reactor, description) for description in options.endpoints]
        for endpoint in self._endpoints:
            self.addService(StreamServerEndpointService(endpoint, self.factory))

    def privilegedStartService(self) -> None:
        """Open the ports, while the process may still open those below 1024."""
        workers = self._options.max_sessions + self._options.warm
        _allow_descriptors(_DESCRIPTORS_EACH * workers + self._options.queue + _DESCRIPTORS_OTHER)
        super().privilegedStartService()

    def startService(self) -> None:
        """Start the workers, and log the startup banner."""
        super().startService()
        defer.gatherResults([endpoint.listening for endpoint in self._endpoints]).addCallback(self._log_startup)

    def _log_startup(self, ports: list[Any]) -> None:
        addresses = [port.getHost() for port in ports]
        log_startup(list(zip(self._options.endpoints, addresses, strict=True)), self._starter.readiness)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Close the ports, let sessions end, and end the workers: ``MultiService`` would do it all at once."""
        Service.stopService(self)
        for part in reversed(self.services):
            yield part.stopService()
        self._scratch.close()


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint whose port is known, and whose failure ends the start: its service alone would log it and go on.

    Args:
        reactor: The reactor.
        description: The description of the endpoint.

    Attributes:
        listening: Fires with the port, once :meth:`listen` was called.
    """

    listening: defer.Deferred[IListeningPort]

    def __init__(self, reactor: Any, description: str) -> None:
        self._description = description
        self._endpoint = endpoints.serverFromString(reactor, description)

    def listen(self, protocolFactory: Any) -> defer.Deferred[IListeningPort]:
        """Open the port.

        Raises:
            CannotStart: It cannot be opened.
        """
        self.listening = self._endpoint.listen(protocolFactory)
        failures: list[Failure] = []
        self.listening.addErrback(failures.append)
        if failures:
            failures[0].trap(CannotListenError)
            raise CannotStart(f"gymsock cannot listen on {self._description}: {failures[0].getErrorMessage()}")
        return self.listening


class WorkerService(Service):
    """Starts and stops the workers; connections are accepted before, and served once the reactor runs.

    Args:
        reactor: The reactor.
        starter: Starts the workers.
        pool: Holds the workers.
    """

    def __init__(self, reactor: Any, starter: Starter, pool: WorkerPool) -> None:
        self._reactor = reactor
        self._starter = starter
        self._pool = pool

    def startService(self) -> None:
        """Start the idle workers."""
        super().startService()
        try:
            self._starter.start()
        except WorkerStartError as error:
            raise CannotStart(f"gymsock cannot start: {error}") from error
        except KeyboardInterrupt:  # the reactor, which ends by Ctrl-C in order, does not run yet
            raise SystemExit(128 + signal.SIGINT) from None
        self._starter.on_lost = self._pool.renew
        self._pool.start()

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """End every worker, then whatever starts them."""
        super().stopService()
        yield _within(self._reactor, _END_TIMEOUT, self._pool.stop())
        self._pool.kill()
        yield self._starter.stop()


class DrainService(Service):
    """Lets sessions end when the server stops.

    Args:
        reactor: The reactor.
        factory: The factory of the connections.
    """

    def __init__(self, reactor: Any, factory: GymFactory) -> None:
        self._reactor = reactor
        self._factory = factory

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Refuse new sessions, and end those that continue after the time for draining."""
        super().stopService()
        self._factory.admission.stop()
        connections, drain = self._factory.connections, self._factory.options.drain
        if connections:
            log.info("Stopping: {count} connections may go on for {drain:g} s", count=len(connections), drain=drain)
            yield _within(self._reactor, drain, self._factory.when_all_closed())
        for connection in list(connections):
            connection.stop("the server is shutting down")
        yield _within(self._reactor, _END_TIMEOUT, self._factory.when_all_closed())


@defer.inlineCallbacks
def _within(reactor: Any, seconds: float, awaited: defer.Deferred[Any]) -> Any:
    """Wait for a deferred, but not for longer than this."""
    timeout: defer.Deferred[None] = task.deferLater(reactor, seconds)
    yield defer.DeferredList([awaited, timeout], fireOnOneCallback=True, consumeErrors=True)
    if not timeout.called:
        timeout.cancel()


def _allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files as far as wanted and permitted; log a warning if that is too little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        log.warn(
            "This process may have {limit} files open, and needs up to {wanted} with as many sessions as are allowed; "
            "raise the limit (ulimit -n, LimitNOFILE), or lower --max-sessions",
            limit=limit,
            wanted=wanted,
        )
