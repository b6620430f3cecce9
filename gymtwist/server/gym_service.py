"""The service of the server: its parts start in order, and stop one at a time in reverse order."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService, Service
from twisted.internet import defer, task
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.threadpool import ThreadPool

from gymtwist.errors import WorkerStartError
from gymtwist.recordings.dataset_names import DATASETS
from gymtwist.server import control_groups, exposure, isolation_support
from gymtwist.server.gym_factory import GymFactory, HttpPortFactory
from gymtwist.server.gym_protocol import GymProtocol
from gymtwist.server.handed_over import HANDED_OVER, HandedOver, tell_predecessor, told_to_predecessor
from gymtwist.server.identities import Identities
from gymtwist.server.operations import Operations
from gymtwist.server.ports import CannotStart, Endpoint
from gymtwist.server.recording_service import RecordingService
from gymtwist.server.relaunch import write_pidfile
from gymtwist.server.scratch_directories import ScratchDirectories
from gymtwist.server.server_log import SessionLog, counted, log
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.service_manager import notify
from gymtwist.server.startup_banner import log_startup
from gymtwist.server.takeover import Predecessors
from gymtwist.server.upgrade import State, Upgrade
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_starter import SpawnStarter, Starter
from gymtwist.web.control_site import build_control_site
from gymtwist.web.site import build_site
from gymtwist.worker.process_control import return_large_blocks
from gymtwist.worker.session_users import LOCKS, SessionUsers

#: Seconds that sessions, and then workers, have to end when the server stops; what is left is killed.
_END_TIMEOUT = 5.0
#: Descriptors per session: its socket, its worker's link and output, its status, and two for a relay.
_DESCRIPTORS_EACH = 6
_DESCRIPTORS_OTHER = 64
#: The minimum for the limit on connections without a session, however few descriptors there are.
_LEAST_HANDSHAKES = 64
_FACTORY = partial(GymFactory, GymProtocol)


class GymService(MultiService):
    """Serves environments.

    Args:
        reactor: The reactor.
        options: The options of the server.
        starter: Starts the workers.
        log_observer: Writes the log; None to leave that to ``twistd``.
        identities: Who may connect; None for everybody.
        words: The command line, for reloading; see :attr:`~.command_line.Options.words`.
        pool: The pool of workers on other machines; None to run workers here.
        factory: Builds the factory of connections; takes the arguments of :class:`GymFactory` after ``build``.

    Attributes:
        factory: The factory of the connections.
        operations: What an operator may do while the server runs.
        upgrade: Replaces this process with another one.
    """

    name = "gymsock"

    def __init__(
        self,
        reactor: Any,
        options: ServerOptions,
        starter: Starter,
        log_observer: ILogObserver | None = None,
        identities: Identities | None = None,
        words: Sequence[str] = (),
        *,
        pool: Any = None,
        factory: Callable[..., GymFactory] = _FACTORY,
    ) -> None:
        super().__init__()
        self._log_observer = log_observer
        self._options = options
        self._starter = starter
        is_local = pool is None
        pool = pool or WorkerPool(reactor, starter, options.warm)
        self._fresh = fresh = SpawnStarter(reactor, starter.settings, beside_others=True)
        fresh_pool = WorkerPool(reactor, fresh, 0) if is_local else pool
        threads = ThreadPool(0, 1, "memory")
        self.addService(ThreadService(threads))
        self._in_thread = partial(deferToThreadPool, reactor, threads)
        self.factory = factory(reactor, options, pool, self._in_thread, fresh_pool, identities)
        self.factory.site = build_site(self.factory)
        self._users = None if (ids := options.users_of_sessions) is None else SessionUsers(ids)
        self._scratch = ScratchDirectories(reactor, self._users)
        if is_local:
            self.factory.scratch = self._scratch
        else:
            self.factory.admission.ask(pool)
        self._session_log = SessionLog(reactor)
        self.factory.events.subscribe(self._session_log)
        self.factory.datasets = Path(starter.settings.monitor_root, DATASETS)
        if not options.isolate.has_user:  # this user must not trust the files of other users
            recordings = RecordingService(reactor, self.factory.datasets)
            self.factory.events.subscribe(recordings.notice)
            self.addService(recordings)
        self._workers = WorkerService(reactor, starter, pool, self.factory.admission.stop)
        self.addService(self._workers)
        if is_local:
            self.addService(WorkerService(reactor, fresh, fresh_pool, self.factory.admission.stop))
        self.addService(DrainService(reactor, self.factory))
        self._reactor = reactor
        check = None if options.trusted_network else partial(exposure.check, has_identities=bool(identities))
        self._endpoints = [
            Endpoint(reactor, each, self.factory.events, self._fail, check, options.client_ca)
            for each in options.endpoints
        ]
        for_http = HttpPortFactory(self.factory)
        for number, endpoint in enumerate(self._endpoints):
            served = self.factory if number <= len(options.listen) else for_http
            self.addService(StreamServerEndpointService(endpoint, served))

        self._predecessors = Predecessors(reactor, HANDED_OVER)
        self._predecessors.fail, self._predecessors.taken_over = self._fail, self._taken_over
        self.factory.predecessors = self._predecessors
        self._predecessors.changed = lambda: self.factory.admission.note_elsewhere(self._predecessors.sessions)
        self.upgrade = Upgrade(reactor, self.factory, lambda: self._ports, self._predecessors)
        self.upgrade.handed_over.append(self._handed_over)
        self.operations = Operations(self.factory, words, self._read_certificates, self._fit_limits)
        self._control = None
        if options.control_socket:
            self._control = self._add_control(options.control_socket)
        self._ports = [*self._endpoints, *([self._control] if self._control else [])]
        if HANDED_OVER is not None:
            self.factory.number_sessions_from(HANDED_OVER.first_session)

    def _add_control(self, path: str) -> Endpoint:
        quoted = re.sub(r"([\\:=])", r"\\\1", path)
        control = Endpoint(self._reactor, f"unix:{quoted}:mode=600", self.factory.events, self._fail)
        site = build_control_site(self.factory, self.operations, self.upgrade)
        self.addService(StreamServerEndpointService(control, site))
        return control

    def setServiceParent(self, parent: Any) -> None:
        """Become a service of an application, and write its log; called by ``twistd``."""
        if self._log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Open the ports while the process may still open those below 1024."""
        self._fit_limits()
        with told_to_predecessor():
            super().privilegedStartService()

    @property
    def ports(self) -> list[IListeningPort]:
        """The open ports."""
        return [endpoint.port for endpoint in self._endpoints if endpoint.port is not None]

    def _fit_limits(self) -> None:
        """Raise the limit on open files as far as needed, and give what is left to connections without a session."""
        options, limit = self.factory.options, self.factory.limit
        workers = options.max_sessions + options.warm
        # They must not use up the descriptors that sessions need.
        reserved = _DESCRIPTORS_EACH * workers + options.queue + _DESCRIPTORS_OTHER
        left = _allow_descriptors(reserved, 2 * limit.total) - reserved
        limit.total = min(limit.total, max(_LEAST_HANDSHAKES, left // 2))

    def _read_certificates(self) -> list[Callable[[], None]]:
        read = [endpoint.read_certificates() for endpoint in self._endpoints]
        return [use for use in read if use is not None]

    def startService(self) -> None:
        """Start the workers, clean up after earlier servers, and log the startup banner.

        Raises:
            CannotStart: Sessions cannot be isolated as required, or workers cannot start.
        """
        return_large_blocks()
        with told_to_predecessor():
            self._check_isolation()
            super().startService()
        if self._workers.interrupted:
            return
        self._fresh.ready_timeout = self._starter.ready_timeout
        self._scratch.start()
        opened = defer.gatherResults([endpoint.listening for endpoint in self._endpoints])
        opened.addCallback(self._log_startup)

    def _check_isolation(self) -> None:
        if self.factory.scratch is None:  # up to the machines that run the workers
            return
        options = self._options
        self._set_up_groups()
        lacking = isolation_support.lacking(options.isolate, options.users_of_sessions, display=options.display)
        if lacking:
            raise CannotStart(f"gymsock cannot start: --isolate {options.isolate} needs {lacking}")
        try:
            if self._users is not None:
                self._users.open()
        except OSError as error:
            raise CannotStart(
                f"gymsock cannot start: --isolate {options.isolate} needs the file {LOCKS}, by which servers know the "
                f"users that sessions of others have: {error.strerror}"
            ) from error

    def _set_up_groups(self) -> None:
        """Make workers start in control groups; after an upgrade, the starter already has them."""
        groups = self._starter.groups or control_groups.prepare(self._reactor, self._options.cgroups)
        for starter in (self._starter, self._fresh):
            starter.have_groups(groups)
        groups.in_thread = self._in_thread
        if HANDED_OVER is None:  # otherwise, the previous process may still own groups whose sessions have just ended
            groups.remove_stale()

    def _fail(self, problem: str) -> None:
        """Stop the server with exit status 1: it cannot continue."""
        log.error("{problem}; stopping", problem=problem)
        tell_predecessor(problem)
        # twistd exits with 0 whatever a service raises; this handler runs after everything has stopped.
        atexit.register(os._exit, 1)
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with contextlib.suppress(ReactorNotRunning):  # it is stopping
            self._reactor.stop()

    def _log_startup(self, ports: list[Any]) -> None:
        if None in ports:
            return
        options = self._options
        listening = list(zip(options.endpoints, [port.getHost() for port in ports], strict=True))
        log_startup(
            listening,
            self._starter.readiness,
            options.limits_text,
            isolation=str(options.isolate),
            groups=str(self._starter.groups or ""),
            has_identities=bool(self.factory.identities),
            web=listening[1 + len(options.listen) :] if options.no_http else listening,
        )
        if HANDED_OVER is None:
            notify("READY=1")
        else:
            self._reactor.callWhenRunning(self._predecessors.ready)

    def _taken_over(self, handed_over: HandedOver) -> None:
        """Take ownership of the ports' files, and the PID file: the previous process has closed its ports."""
        for port in self._ports:
            port.own()
        if self.upgrade.relaunch is not None and handed_over.pidfile:
            write_pidfile(self.upgrade.relaunch, handed_over.pidfile)
        log.info("[upgrade] this process serves in place of process {process}", process=handed_over.process)

    def _handed_over(self) -> None:
        """Leave serving to the process that has the ports now, and stay reachable beside it."""
        self._ports = []
        self.factory.site.is_retired = True
        pool = self.factory.pool
        pool.warm = 0
        pool.renew()
        if self._options.control_socket:
            # Not at the server's path: the process that has the ports answers there.
            try:
                self._add_control(f"{self._options.control_socket}.{os.getpid()}")
            except CannotStart as error:
                log.warn("{error}: gymsockctl cannot reach this process any more", error=error)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Close the ports, let sessions end, and end the workers, in this order; ``MultiService`` would not wait."""
        Service.stopService(self)
        self.upgrade.stop()
        if self.upgrade.state is State.STOPPING:
            notify("STOPPING=1")
            for endpoint in self._endpoints:
                endpoint.accept_waiting()
        predecessors = self._predecessors.stop()
        for part in reversed(self.services):
            yield part.stopService()
        yield predecessors
        if self._starter.groups is not None:
            self._starter.groups.close()
        self._scratch.close()
        self._session_log.flush()


class ThreadService(Service):
    """Starts and stops the thread that measures the memory of sessions.

    It is a separate thread because those that remove directories may be busy with what hostile environments left.

    Args:
        threads: The pool of the thread; the thread starts when first needed.
    """

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads

    def startService(self) -> None:
        """Allow the thread to start."""
        super().startService()
        self._threads.start()

    def stopService(self) -> None:
        """End the thread."""
        super().stopService()
        self._threads.stop()


class WorkerService(Service):
    """Starts and stops the workers.

    Connections are accepted before the workers start, and served once the reactor runs.

    Args:
        reactor: The reactor.
        starter: Starts the workers.
        pool: Holds the workers.
        refuse: Refuses the waiting clients; called if the start is interrupted.

    Attributes:
        interrupted: Whether a signal has interrupted the start.
    """

    def __init__(self, reactor: Any, starter: Starter, pool: WorkerPool, refuse: Callable[[], None]) -> None:
        self.interrupted = False
        self._refuse = refuse
        self._reactor = reactor
        self._starter = starter
        self._pool = pool

    def startService(self) -> None:
        """Start the idle workers, unless a signal ends the server before it can serve."""
        super().startService()
        try:
            with _interruptible():
                self._starter.start()
        except WorkerStartError as error:
            raise CannotStart(f"gymsock cannot start: {error}") from error
        except _Interrupted as interruption:
            log.info("{signal}: stopping before everything is imported", signal=interruption.signal.name)
            self.interrupted = True
            self._refuse()
            # The reactor does not run yet, and it is what shuts the server down in order.
            self._reactor.callWhenRunning(os.kill, os.getpid(), interruption.signal)
            return
        self._starter.on_lost = self._pool.renew
        self._pool.start()

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """End all workers, then whatever starts them."""
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
        """Refuse new sessions, and end those that exceed the time for draining."""
        super().stopService()
        self._factory.admission.stop()
        connections, drain = self._factory.connections, self._factory.options.drain
        for connection in list(connections):
            connection.drain()
        if connections:
            may_go_on = counted(len(connections), "connection")
            log.info("Stopping: {connections} may go on for {drain:g} s", connections=may_go_on, drain=drain)
            yield _within(self._reactor, drain, self._factory.when_all_closed())
        for connection in list(connections):
            connection.stop("the server is shutting down")
        yield _within(self._reactor, _END_TIMEOUT, self._factory.when_all_closed())


@defer.inlineCallbacks
def _within(reactor: Any, seconds: float, awaited: defer.Deferred[Any]) -> Any:
    """Wait for a Deferred, but no longer than ``seconds``."""
    timeout: defer.Deferred[None] = task.deferLater(reactor, seconds)
    yield defer.DeferredList([awaited, timeout], fireOnOneCallback=True, consumeErrors=True)
    if not timeout.called:
        timeout.cancel()


class _Interrupted(Exception):
    """A signal has interrupted the start.

    Args:
        signal: The signal.
    """

    def __init__(self, signal: signal.Signals) -> None:
        super().__init__(signal)
        self.signal = signal


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise :class:`_Interrupted` on SIGTERM and SIGINT within the context."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise _Interrupted(signal.Signals(number))

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _allow_descriptors(needed: int, useful: int) -> int:
    """Raise the soft limit on open files as far as useful and permitted; log a warning if it is still too low.

    Args:
        needed: The number of files that the server must be able to open.
        useful: The number of further files that it can make use of.

    Returns:
        The limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed + useful
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        limit = wanted if soft == resource.RLIM_INFINITY else soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < needed:
        log.warn(
            "This process may have {limit} files open, and needs up to {wanted} with as many sessions as are allowed; "
            "raise the limit (ulimit -n, LimitNOFILE), or lower --max-sessions",
            limit=limit,
            wanted=needed,
        )
    return limit
