"""The server of a node: it runs the workers, and serves the connections that the front has announced."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.placement.node_connection import ControlFactory, NodeConnection, NodeFactory, Tickets
from gymtwist.server.fork_server_starter import ForkServerStarter
from gymtwist.server.gym_service import GymService
from gymtwist.server.server_log import log
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.worker_starter import SpawnStarter
from gymtwist.worker.readiness import Readiness

#: Seconds that a new node waits for the front.
_ENTER_TIMEOUT = 60.0
#: Seconds between checks of the raylet, and how many in a row must find it stopped.
_RAYLET_INTERVAL, _MOST_STOPPED = 0.5, 4
#: The exit status of a node whose front or raylet is gone.
ABANDONED = 3


class Task(msgspec.Struct, frozen=True):
    """What a node is to do.

    Attributes:
        host: The IP address to listen on.
        secret: What the front must present.
        options: The options of the server, as the front has them.
        raylet: The id of the process that the node must not outlive; 0 for none.
    """

    host: str
    secret: str
    options: dict[str, Any]
    raylet: int = 0


class Listening(msgspec.Struct, frozen=True):
    """What a node reports once it serves.

    Attributes:
        port: The port for connections with tickets.
        control_port: The port for the front's commands.
        readiness: The environments that it can make.
    """

    port: int
    control_port: int
    readiness: Readiness


@implementer(IReadDescriptor)
class _Watched:
    """A descriptor whose first event ends the node: the agent's pipe, or the raylet's pidfd.

    Args:
        descriptor: The descriptor.
        act: Called on its first event.
    """

    def __init__(self, descriptor: int, act: Any) -> None:
        self._descriptor = descriptor
        self._act = act

    def logPrefix(self) -> str:
        """Return the name for the reactor's log; called by Twisted."""
        return "watched"

    def fileno(self) -> int:
        """Return the descriptor; called by the reactor."""
        return self._descriptor

    def doRead(self) -> None:
        """Handle the event; called by the reactor."""
        self._act()

    def connectionLost(self, reason: Failure) -> None:
        """Handle the event; called by the reactor."""
        self._act()


def options_of_node(given: Mapping[str, Any], host: str) -> ServerOptions:
    """Return the options of a node's server.

    Args:
        given: The options of the front.
        host: The IP address to listen on.
    """
    escaped = host.replace(":", "\\:")
    kind = "tcp6" if ":" in host else "tcp"
    own = {
        "port": f"{kind}:0:interface={escaped}",
        "listen": (),
        "listen_http": (),
        "no_http": True,
        "trusted_network": True,
        "queue": 0,
        # A group that is delegated to Ray is not the node's to divide, unless the operator says so.
        "cgroups": "on" if given.get("cgroups") == "on" else "off",
    }
    dropped = dict.fromkeys(("config", "identities", "control", "client_ca", "place", "runtime_env"))
    kept = {name: value for name, value in given.items() if name not in dropped}
    return msgspec.convert(kept | own, ServerOptions)


class NodeServer:
    """The service of a node, with its two ports and what ends it.

    Args:
        reactor: The reactor.
        task: What to do.
        tell: Called with one line once the node serves.
    """

    def __init__(self, reactor: Any, task: Task, tell: Any) -> None:
        self._reactor = reactor
        self._task = task
        self._tell = tell
        self._stopped = 0
        options = options_of_node(task.options, task.host)
        starter = ForkServerStarter if options.start_method == "forkserver" else SpawnStarter
        self._starter = starter(reactor, options.worker_settings())
        self._tickets = Tickets(reactor)
        factory = partial(NodeFactory, self._tickets, NodeConnection)
        self._service = GymService(reactor, options, self._starter, factory=factory)
        self._service.factory.events.subscribe(self._tickets)

    def start(self) -> None:
        """Start the workers, listen, and watch the processes that the node must not outlive."""
        for descriptor in (sys.stdin.fileno(), *self._raylet()):
            self._reactor.addReader(_Watched(descriptor, lambda: self._leave("its agent or the raylet has ended")))
        if self._task.raylet:
            self._reactor.callLater(_RAYLET_INTERVAL, self._look_at_raylet)
        self._service.privilegedStartService()
        self._service.startService()
        factory = ControlFactory(
            self._reactor, self._task.secret.encode(), self._tickets, lambda: self._leave("the front has left")
        )
        control: Any = self._reactor.listenTCP(0, factory, interface=self._task.host)
        factory.wait(_ENTER_TIMEOUT)
        port: Any
        (port,) = self._service.ports
        self._tell(
            msgspec.json.encode(Listening(port.getHost().port, control.getHost().port, self._starter.readiness)) + b"\n"
        )

    def _raylet(self) -> list[int]:
        if not self._task.raylet:
            return []
        try:
            return [os.pidfd_open(self._task.raylet)]
        except ProcessLookupError:
            self._leave("the raylet has ended")
        return []

    def _look_at_raylet(self) -> None:
        """Exit if the raylet is a zombie or has been stopped for a while: then the machine is to be treated as lost."""
        try:
            state = Path(f"/proc/{self._task.raylet}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            state = "X"
        self._stopped = self._stopped + 1 if state in "tT" else 0
        if state in "XZ" or self._stopped >= _MOST_STOPPED:
            self._leave(f"the raylet is in the state {state}")
        self._reactor.callLater(_RAYLET_INTERVAL, self._look_at_raylet)

    def _leave(self, why: str) -> None:
        """Exit at once: every worker ends when its link to this process closes."""
        log.info("The node ends: {why}", why=why)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(ABANDONED)


def rank_as(process: int) -> None:
    """Take over another process's priority and its OOM score.

    Ray lowers both for its actors: the sessions of a node would run only while nothing else does, and all would be
    killed before the one that takes too much memory.

    Args:
        process: The id of the other process.
    """
    score = Path(f"/proc/{process}/oom_score_adj").read_bytes()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, process))
        Path("/proc/self/oom_score_adj").write_bytes(score)
    except OSError as error:
        log.info(
            "Sessions have a lower priority than others: {problem}; see RAY_worker_niceness", problem=error.strerror
        )


def main(reactor: Any) -> None:
    """Run the server of a node; the first line of standard input is its task, and it reports on standard output.

    Args:
        reactor: The reactor.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # Ray blocks SIGINT
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("no task")
        line += byte
    task = msgspec.json.decode(line, type=Task)
    if task.raylet:
        rank_as(task.raylet)
    report = os.dup(1)
    os.dup2(2, 1)  # output of any other code goes to the log
    observers: Any = [textFileLogObserver(sys.stderr)]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)

    def tell(said: bytes) -> None:
        os.write(report, said)
        os.close(report)

    node = NodeServer(reactor, task, tell)
    node.start()
    reactor.run(installSignalHandlers=False)
