"""The server in one process: a reactor that only the tests turn, and workers that do as the tests say."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from twisted.internet import defer
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReactorTime
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gymtwist.errors import WorkerStartError
from gymtwist.server import identities
from gymtwist.server.command_line import Options
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.gym_protocol import GymProtocol
from gymtwist.server.process_memory import Usage
from gymtwist.server.server_log import log_event
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_process import WorkerProcess
from gymtwist.server.worker_starter import Starter
from gymtwist.web.site import build_site
from gymtwist.worker import amp_commands
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.session_status import ANSWERED, SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings
from tests.support.patience import PATIENCE

SETTINGS = WorkerSettings(monitor_root="/")


@implementer(ILogObserver)
class Log:
    """The lines that are logged while it is open.

    Attributes:
        lines: What is ours, and every failure.
        others: What is Twisted's.
    """

    def __init__(self) -> None:
        """Start to collect lines."""
        self.lines: list[str] = []
        self.others: list[str] = []
        self._publisher = cast(Any, globalLogPublisher)
        self._publisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """Note a line."""
        is_ours = event.get("log_namespace") == "gymsock" or "log_failure" in event
        (self.lines if is_ours else self.others).append(formatEvent(event))

    def close(self) -> None:
        """Stop to collect lines."""
        self._publisher.removeObserver(self)

    def having(self, words: str) -> list[str]:
        """Return the lines with these words."""
        return [line for line in self.lines if words in line]


class SteppedReactor(SelectReactor):
    """A real reactor with real descriptors, whose iterations and clock the test controls."""

    def __init__(self) -> None:
        """Create the reactor with its own clock."""
        self.clock = Clock()
        self.in_threads: collections.deque[Callable[[], object]] = collections.deque()
        super().__init__()
        for interface in (IReactorTime, IReactorFDSet, IReactorSocket):
            verifyObject(interface, self)

    def seconds(self) -> float:
        """Return the clock's time."""
        return float(self.clock.seconds())

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:
        """Schedules a call on the clock."""
        return self.clock.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Any:
        """Return the scheduled calls."""
        return self.clock.getDelayedCalls()

    def callInThread(self, _callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Schedules a call for the next turn, as if by a thread."""
        self.in_threads.append(functools.partial(_callable, *args, **kwargs))

    def advance(self, seconds: float) -> None:
        """Advances the clock and iterates."""
        self.clock.advance(seconds)
        self.turn()

    def turn(self, times: int = 3) -> None:
        """Run due calls, those in threads, and ready descriptors without waiting."""
        for _ in range(times):
            self.clock.advance(0)
            while self.in_threads:
                self.in_threads.popleft()()
            self.iterate(0)

    def close(self) -> None:
        """Close all descriptors."""
        for each in self.removeAll():
            with contextlib.suppress(AttributeError):
                each.connectionLost(Failure(ConnectionAbortedError()))
        for waker in self._internalReaders:
            waker.connectionLost(None)


class FakeWorker(Link):
    """The worker's end of AMP: it records its jobs and answers when the test says so."""

    def __init__(self) -> None:
        """Create a worker without a job."""
        super().__init__()
        self.jobs: list[dict[str, Any]] = []
        self.answers: list[defer.Deferred[dict[str, Any]]] = []
        self.shut = False
        self.silent = False

    @amp_commands.Serve.responder
    def serve(self, **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Record a job."""
        self.jobs.append(job)
        self.answers.append(defer.Deferred())
        return self.answers[-1]

    @amp_commands.Ping.responder
    def ping(self) -> dict[str, Any] | defer.Deferred[dict[str, Any]]:
        """Answer, unless it is silent."""
        return defer.Deferred() if self.silent else {}

    @amp_commands.Shutdown.responder
    def shut_down(self) -> dict[str, Any]:
        """Record the request to shut down."""
        self.shut = True
        return {}


class FakeProcess:
    """A stand-in for a worker process."""

    def __init__(self, worker: WorkerProcess, amp_descriptor: int, output: int, pid: int) -> None:
        """Use one descriptor for AMP and the other for output."""
        self.process, self.output, self.pid = worker, output, pid
        self.socket = socket.socket(fileno=amp_descriptor)
        self.worker = FakeWorker()
        self.connection = AMPConnection(self.worker, self.socket)
        self.alive = True
        self.status: SessionStatus | None = None

    @property
    def job(self) -> dict[str, Any]:
        """The job it was given."""
        return self.worker.jobs[0]

    def listen(self) -> None:
        """Handles received AMP messages and exits as a worker does."""
        while self.alive and select.select([self.socket], [], [], 0)[0]:
            if not self.connection.receive():
                self.die(0 if self.worker.shut else -9)

    def begin(self) -> SessionStatus:
        """Start the session and return its status."""
        self.status = SessionStatus(self.job["status"])
        self.status.end()
        return self.status

    def answer(self, reason: str = "the client left", handshake: bool = True, **more: object) -> None:
        """End the session, telling more of it; unless `handshake` is false, the handshake was answered before."""
        if handshake:
            (self.status or self.begin()).words[ANSWERED] = 1.0
        os.close(self.job.pop("socket"))
        self.worker.answers[0].callback({"reason": reason, **more})

    def die(self, exit_code: int) -> None:
        """Exit and close its descriptors."""
        self.alive = False
        self.socket.close()
        os.close(self.output)
        if self.worker.jobs:
            for name in {"socket", "status"} & set(self.job):
                os.close(self.job.pop(name))
        if self.status is not None:
            self.status.close()
        self.process.ended(exit_code)


class FakeStarter(Starter):
    """Starts fake processes, or fails to."""

    def __init__(self, reactor: Any) -> None:
        """Create a starter without processes."""
        super().__init__(reactor, SETTINGS)
        self.processes: list[FakeProcess] = []
        self.checks = 0
        self.error: OSError | None = None
        self.import_error: WorkerStartError | None = None

    def start(self) -> None:
        """Imports nothing, or fails to."""
        if self.import_error is not None:
            raise self.import_error

    def check(self) -> None:
        """Count."""
        self.checks += 1

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Start a fake process at once."""
        if self.error is not None:
            os.close(amp_descriptor)
            os.close(output)
            raise self.error
        process = FakeProcess(worker, amp_descriptor, output, 1000 + len(self.processes))
        self.processes.append(process)
        worker.started(process.pid)

    @property
    def alive(self) -> list[FakeProcess]:
        """The processes that are alive."""
        return [process for process in self.processes if process.alive]

    @property
    def serving(self) -> list[FakeProcess]:
        """The live processes that have a job."""
        return [process for process in self.alive if process.worker.jobs]


class Measurement(NamedTuple):
    """A request to measure the processes of a session; the test supplies the result."""

    result: defer.Deferred[Usage]
    process: int
    limit: int
    exceeded: Callable[[], None]


class Harness:
    """The factory of connections with its pool and fake workers; only `turn` makes anything happen."""

    def __init__(self, *options: str, pool: bool = True) -> None:
        """Take options as of the command line."""
        self.log = Log()
        self.reactor = SteppedReactor()
        parsed = Options()
        parsed.parseOptions(["--warm", "1", *options])
        values = parsed.server_options()
        self.starter = FakeStarter(self.reactor)
        self.starter.settings = values.worker_settings()
        self.pool = WorkerPool(self.reactor, self.starter, values.warm)
        self.measurements: list[Measurement] = []
        who = identities.load(values.identities) if values.identities else None
        self.factory = GymFactory(GymProtocol, self.reactor, values, self.pool, self._measure, identities=who)
        self.factory.site = build_site(self.factory)
        self.factory.events.subscribe(log_event)
        if pool:
            self.pool.start()

    def _measure(self, function: Callable[..., Usage], *args: Any) -> defer.Deferred[Usage]:
        """Measure nothing: the processes are none, and their ids are those of others. Do anything else at once."""
        if not hasattr(function, "__self__"):
            return defer.execute(function, *args)
        self.measurements.append(Measurement(defer.Deferred(), *args))
        return self.measurements[-1].result

    def turn(self, times: int = 5) -> None:
        """Let the reactor and all workers act."""
        for _ in range(times):
            self.reactor.turn()
            for process in self.starter.alive:
                process.listen()

    def connect(self) -> socket.socket:
        """Connect a client by TCP; return its end."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        accepted.setblocking(False)
        with accepted:
            self.reactor.adoptStreamConnection(accepted.fileno(), socket.AF_INET, cast(Any, self.factory))
        client.settimeout(PATIENCE)
        return client

    def close(self) -> None:
        """Stop all workers and close everything."""
        for process in self.starter.alive:
            process.die(0)
        self.pool.stop()
        self.turn()
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        self.reactor.close()
        self.log.close()


def descriptor_count() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def soon(predicate: Callable[[], object], turn: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Turns the harness until a condition holds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, "it did not come to pass"
        turn()
