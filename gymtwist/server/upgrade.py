"""Upgrades: a new process with new code takes over the ports; this one keeps its sessions, and ends with the last.

The new process is started as this one was, and inherits the listening sockets. Both accept connections from the moment
the new process is ready until this one has closed its copies, so no client finds a port closed. If the new process ends
before that, nothing has changed.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet import defer
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from gymtwist.server.disconnected_session import REPLACED
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.handed_over import (
    VARIABLE,
    Forward,
    HandedOver,
    Instances,
    Introduce,
    Ready,
    Remaining,
    Started,
    Stop,
    TakeOver,
)
from gymtwist.server.ports import Endpoint
from gymtwist.server.relaunch import Relaunch
from gymtwist.server.server_log import counted, log
from gymtwist.server.service_manager import notify
from gymtwist.server.session_events import SessionEvent
from gymtwist.server.takeover import Predecessors
from gymtwist.server.worker_starter import adopt
from gymtwist.worker.amp_commands import Link

#: Seconds that the new process may take until it is ready: it imports the modules of --preload and --setup.
_READY_TIMEOUT = 600.0
#: Seconds between the end of the last connection and the end of this process: an answer may be on its way.
_GRACE = 1.0
#: How many instance names fit into one AMP value of 64 KiB.
_NAMES_IN_A_BOX = 4000
#: How many bytes from the end of the new process's output are logged.
_MOST_OUTPUT = 4096


class CannotUpgrade(Exception):
    """The upgrade has failed, and this process continues to serve; the message is the reason."""


class Upgraded(msgspec.Struct, frozen=True):
    """The outcome of an upgrade.

    Attributes:
        process: The id of the process that serves now.
        old_process: The id of this process.
        connections: The number of connections that this process keeps, including sessions.
    """

    process: int
    old_process: int
    connections: int


class State(enum.Enum):
    """The state of this process."""

    SERVING = enum.auto()  # it has the ports
    STARTING = enum.auto()  # it has the ports, and another process is starting
    LEAVING = enum.auto()  # another process has the ports
    LEFT = enum.auto()  # another process has the ports, and this one is stopping
    STOPPING = enum.auto()  # it is stopping


class SuccessorLink(Link):
    """A link to the process that replaces this one.

    Args:
        upgrade: The upgrade.
        site: The factory that answers HTTP.
    """

    transport: Any

    def __init__(self, upgrade: Upgrade, site: Any) -> None:
        super().__init__()
        self._upgrade = upgrade
        self._site = site
        self._connections: collections.deque[int] = collections.deque()

    @Started.responder
    def started(self, process: int) -> dict[str, Any]:
        """Note that the process has begun to start."""
        self._upgrade.process = process
        return {}

    @Ready.responder
    def ready(self) -> dict[str, Any]:
        """Hand over to the process, which is ready to serve."""
        self._upgrade.hand_over()
        return {}

    @Introduce.responder
    def introduce(self) -> dict[str, Any]:
        """List this process's instances for the new process."""
        names = self._site.api.instances
        for begin in range(0, len(names), _NAMES_IN_A_BOX):
            self.callRemote(Instances, names=names[begin : begin + _NAMES_IN_A_BOX])
        return {}

    def tell_instance(self, name: str) -> None:
        """Tell the process about another instance."""
        if self.transport is not None:
            self.callRemote(Instances, names=[name])

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Keep the connection of a forwarded request; called by Twisted."""
        self._connections.append(descriptor)

    @Forward.responder
    def forward(self) -> dict[str, Any]:
        """Answer a forwarded request, which is for one of this process's instances."""
        self._site.serve_forwarded(self._connections.popleft())
        return {}

    @Stop.responder
    def stop(self) -> dict[str, Any]:
        """Stop this process, because the new one stops."""
        log.info("[upgrade] the process that has the ports stops, and this one with it")
        self._upgrade.leave()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the process has ended; called by Twisted."""
        super().connectionLost(reason)
        self._upgrade.lost()


class Upgrade:
    """Replaces this process with another one.

    Args:
        reactor: The reactor.
        factory: What connections share.
        ports: Returns the ports.
        predecessors: The earlier processes that still run.

    Attributes:
        relaunch: How to start the server again; None if that is not possible.
        state: The state of this process.
        process: The id of the new process; 0 while it is not known.
        handed_over: Functions to call when the new process has the ports.
    """

    def __init__(
        self,
        reactor: Any,
        factory: GymFactory,
        ports: Callable[[], Sequence[Endpoint]],
        predecessors: Predecessors,
    ) -> None:
        self.relaunch: Relaunch | None = None
        self.state = State.SERVING
        self.process = 0
        self.handed_over: list[Callable[[], object]] = []
        self._reactor = reactor
        self._factory = factory
        self._ports = ports
        self._predecessors = predecessors
        self._attempt: _Attempt | None = None
        self._link: SuccessorLink | None = None

    def begin(self, who: str) -> defer.Deferred[Upgraded]:
        """Start the new process.

        Args:
            who: Who asks, for the log.

        Returns:
            A Deferred that fires when the new process has the ports; it fails with :class:`CannotUpgrade` if this
                process continues to serve.
        """
        try:
            relaunch = self._checked()
            attempt = _Attempt(self._reactor, relaunch, self._given(relaunch), self._ports(), self._expire)
        except (CannotUpgrade, OSError) as error:
            log.error("[upgrade] {who} cannot upgrade the server: {error}", who=who, error=error)
            return defer.fail(CannotUpgrade(str(error)))
        log.info("[upgrade] {who} upgrades the server: another process starts", who=who)
        self.state, self.process, self._attempt = State.STARTING, 0, attempt
        self._link = SuccessorLink(self, self._factory.site)
        adopt(self._reactor, attempt.link, self._link)
        return attempt.outcome

    def begin_at_signal(self) -> None:
        """Upgrade on a signal; the result is only logged."""
        self.begin("SIGUSR2").addErrback(lambda failure: failure.trap(CannotUpgrade))

    def _checked(self) -> Relaunch:
        """Return how to start the new process.

        Raises:
            CannotUpgrade: It cannot be started now.
        """
        problem = ""
        unnamed = [each.description for each in self._ports() if not each.name]
        if self.state is State.STARTING:
            problem = f"an upgrade is under way (process {self.process or 'not known yet'})"
        elif self.state in (State.LEAVING, State.LEFT):
            problem = f"this process has handed over its ports; ask process {self.process}, which has them"
        elif self.state is State.STOPPING or self._factory.admission.is_stopping:
            problem = "the server is shutting down"
        elif not self._reactor.running:
            problem = "the server is starting"
        elif unnamed:
            problem = f"a port of this kind cannot be handed over: {unnamed[0]}; drain the server, and start it again"
        elif os.getpid() == 1:
            problem = "it is process 1, with which its container ends; start another container"
        elif self.relaunch is None:
            problem = "the server has --place, or was not started by twistd; drain it, and start it again"
        elif self.relaunch.in_chroot:
            problem = "with twistd's --chroot the server does not find its files again; drain it, and start it again"
        if self.relaunch is None or problem:
            raise CannotUpgrade(problem)
        return self.relaunch

    def _given(self, relaunch: Relaunch) -> HandedOver:
        """Return what is handed to the new process, except for the descriptors that each attempt opens."""
        pidfile = relaunch.twistd["pidfile"] if relaunch.takes_rundir else ""
        sockets = [(each.name, each.descriptor) for each in self._ports()]
        predecessors = self._predecessors.described()
        return HandedOver(os.getpid(), -1, -1, pidfile or "", sockets, predecessors, self._factory.next_session_block())

    # The outcome

    def hand_over(self) -> None:
        """Hand the ports to the new process."""
        attempt, relaunch = self._attempt, self.relaunch
        if self.state is not State.STARTING or attempt is None or relaunch is None or self._link is None:
            return  # too late
        self.state, self._attempt = State.LEAVING, None
        self._factory.successor = self.process
        for port in self._ports():
            port.release()
        self._predecessors.release()
        self._factory.disconnected.end_all(REPLACED)
        if relaunch.takes_rundir:
            relaunch.twistd["pidfile"] = ""  # twistd would remove the file at exit
        notify(f"MAINPID={self.process}")
        printed = attempt.end()
        with contextlib.suppress(OSError):  # nobody reads it, or the disk is full
            os.write(2, printed)
        running = self._factory.connections
        log.info(
            "[upgrade] process {process} serves from now on; this one ends with its {connections}",
            process=self.process,
            connections=counted(len(running), "connection"),
        )
        for act in self.handed_over:
            act()
        self._factory.events.subscribe(self._tell_remaining)
        self._factory.site.api.created.append(self._link.tell_instance)
        upgraded = Upgraded(self.process, os.getpid(), len(running))
        sessions = len(self._factory.sessions)
        self._link.callRemote(TakeOver, sessions=sessions).addBoth(lambda _: self._taken_over(attempt, upgraded))

    def _taken_over(self, attempt: _Attempt, upgraded: Upgraded) -> None:
        attempt.outcome.callback(upgraded)
        all_closed = self._factory.when_all_closed()
        all_closed.addCallback(lambda _: self._reactor.callLater(_GRACE, self.leave))

    def _tell_remaining(self, event: SessionEvent | None = None) -> None:
        # The Ended event is published before the session is forgotten.
        self._reactor.callLater(0, self._send_remaining)

    def _send_remaining(self) -> None:
        if self._link is not None and self._link.transport is not None:
            self._link.callRemote(Remaining, sessions=len(self._factory.sessions))

    def leave(self) -> None:
        """Stop this process."""
        if not self._factory.connections:
            log.info("[upgrade] the last connection has ended: stopping")
        with contextlib.suppress(ReactorNotRunning):  # it is already stopping
            self._reactor.stop()

    def lost(self) -> None:
        """Handle the end of the new process."""
        attempt, self._attempt, self._link = self._attempt, None, None
        if attempt is None:
            if self.state is State.LEAVING:  # otherwise, it is this process that is ending
                log.info("[upgrade] the process that has the ports has ended; this one goes on with its connections")
            return
        self.state = State.SERVING
        printed = attempt.end().decode(errors="replace").rstrip()
        reason = attempt.reason or printed.rpartition("\n")[2] or "it says no reason; see its log"
        for line in printed.splitlines():
            log.info("[upgrade] | {line}", line=line)
        problem = f"process {self.process or 'not known'} has ended before it could serve: {reason}"
        log.error("[upgrade] {problem}; this process serves on", problem=problem)
        attempt.outcome.errback(CannotUpgrade(f"{problem}; process {os.getpid()} serves on"))

    def _expire(self) -> None:
        if self._attempt is not None:
            self._attempt.reason = f"it took more than {_READY_TIMEOUT:.0f} s"
            self._kill()

    def _kill(self) -> None:
        if self.process and self._link is not None:  # the process still runs: its link is open
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
        elif self._attempt is not None:
            self._attempt.kill()

    def stop(self) -> None:
        """Abandon an upgrade that is under way, because this process is stopping."""
        has_ports = self.state not in (State.LEAVING, State.LEFT)
        self.state = State.STOPPING if has_ports else State.LEFT
        if self._attempt is not None:
            self._attempt.reason = "the server stops"
            self._kill()


class _Attempt:
    """A new process that is starting.

    Args:
        reactor: The reactor.
        relaunch: How to start it.
        given: What is handed to it.
        ports: The ports whose sockets it gets.
        expire: Called when it has taken too long.

    Attributes:
        link: The socket to the process.
        outcome: A Deferred that fires when it has the ports.
        reason: Why it was ended; empty if it was not.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        reactor: Any,
        relaunch: Relaunch,
        given: HandedOver,
        ports: Sequence[Endpoint],
        expire: Callable[[], None],
    ) -> None:
        self.reason = ""
        self.outcome: defer.Deferred[Upgraded] = defer.Deferred()
        # Startup errors are kept; later ones go where this process's errors go.
        self._output = os.memfd_create("upgrade")
        self.link, theirs = socket.socketpair()
        stderr = os.dup(2)
        given.link, given.stderr = theirs.fileno(), stderr
        passed = [given.link, stderr, *(each for _, each in given.sockets), *(each.link for each in given.predecessors)]
        try:
            self._process = subprocess.Popen(
                relaunch.words(),
                cwd=relaunch.directory,
                env={**os.environ, VARIABLE: msgspec.json.encode(given).decode()},
                stdin=subprocess.DEVNULL,
                stderr=self._output,
                pass_fds=passed,
            )
        except OSError:
            self.link.close()
            os.close(self._output)
            raise
        finally:
            theirs.close()
            os.close(stderr)
        self._timeout = reactor.callLater(_READY_TIMEOUT, expire)

    def kill(self) -> None:
        """Kill the process, which has not yet reported the child that continues in its place."""
        self._process.kill()

    def end(self) -> bytes:
        """Stop waiting, and return the end of the process's output."""
        if self._timeout.active():
            self._timeout.cancel()
        self._process.wait()  # it has ended, perhaps leaving its child in its place
        size = os.fstat(self._output).st_size
        printed = os.pread(self._output, _MOST_OUTPUT, max(0, size - _MOST_OUTPUT))
        os.close(self._output)
        return printed
