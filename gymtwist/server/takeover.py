"""The new process of an upgrade: it takes over from the old one, and tracks the earlier processes with sessions."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from gymtwist.server.handed_over import (
    Forward,
    HandedOver,
    Instances,
    Introduce,
    Predecessor,
    Ready,
    Remaining,
    Stop,
    TakeOver,
)
from gymtwist.server.server_log import counted, log
from gymtwist.server.worker_starter import adopt
from gymtwist.worker.amp_commands import Link


class PredecessorLink(Link):
    """A link to an earlier process.

    Args:
        process: The id of the process.
        sessions: The number of its sessions.
        predecessors: The earlier processes that still run.

    Attributes:
        process: The id of the process.
        sessions: The number of its sessions.
        instances: The names of its gym-http-api instances.
        is_known: Whether ``instances`` is complete: it has all that existed when this process took over.
        gone: A Deferred that fires when the process has ended.
    """

    transport: Any

    def __init__(self, process: int, sessions: int, predecessors: Predecessors) -> None:
        super().__init__()
        self.process = process
        self.sessions = sessions
        self.instances: set[str] = set()
        self.is_known = False
        self.gone: defer.Deferred[None] = defer.Deferred()
        self._predecessors = predecessors

    @TakeOver.responder
    def take_over(self, sessions: int) -> dict[str, Any]:
        """Take over the ports, which belong to this process from now on."""
        self.sessions = sessions
        self._predecessors.take_over()
        return {}

    @Remaining.responder
    def remaining(self, sessions: int) -> dict[str, Any]:
        """Note how many sessions the process still has."""
        self.sessions = sessions
        self._predecessors.changed()
        return {}

    @Instances.responder
    def note_instances(self, names: list[str]) -> dict[str, Any]:
        """Note more instances of the process."""
        self.instances.update(names)
        return {}

    def introduce(self) -> None:
        """Ask the process for its instances."""
        self.callRemote(Introduce).addBoth(self._introduced)

    def _introduced(self, _: object) -> None:
        self.is_known = True
        self._predecessors.introduced()

    def forward(self, connection: int) -> None:
        """Let the process answer the request on a connection; its descriptor is closed here afterwards."""
        self.transport.sendFileDescriptor(connection)
        self.callRemote(Forward).addBoth(lambda _: os.close(connection))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the process has ended; called by Twisted."""
        super().connectionLost(reason)
        self._predecessors.remove(self)
        self.gone.callback(None)


class Predecessors:
    """The earlier processes of the server that still run.

    Args:
        reactor: The reactor.
        handed_over: What the latest of them has handed over; None if this process is the first.

    Attributes:
        links: The links to them, the latest first.
        when_known: Functions to call when all have listed their instances.
        changed: Called when the number of their sessions has changed.
        taken_over: Called with what was handed over when this process owns the ports.
        fail: Called with the reason if this process will never own the ports.
    """

    def __init__(self, reactor: Any, handed_over: HandedOver | None) -> None:
        self.changed: Callable[[], object] = lambda: None
        self.taken_over: Callable[[HandedOver], object] = lambda handed_over: None
        self.fail: Callable[[str], object] = lambda reason: None
        self.links: list[PredecessorLink] = []
        self.when_known: list[Callable[[], object]] = []
        self._handed_over = handed_over
        self._reactor = reactor
        self._serves = handed_over is None

    @property
    def sessions(self) -> int:
        """The total number of their sessions."""
        return sum(each.sessions for each in self.links)

    def ready(self) -> None:
        """Tell the process being replaced that this one is ready to serve."""
        assert self._handed_over is not None
        link = self._adopt(self._handed_over.process, self._handed_over.link, 0)
        if link.transport is not None:
            link.callRemote(Ready)

    def _adopt(self, process: int, descriptor: int, sessions: int) -> PredecessorLink:
        link = PredecessorLink(process, sessions, self)
        self.links.append(link)
        adopt(self._reactor, socket.socket(fileno=descriptor), link)
        return link

    def take_over(self) -> None:
        """Take everything else that belongs to the server."""
        handed_over = self._handed_over
        assert handed_over is not None
        self._serves = True
        for each in handed_over.predecessors:
            self._adopt(each.process, each.link, each.sessions)
        handed_over.close_rest()
        os.dup2(handed_over.stderr, 2)
        os.close(handed_over.stderr)
        for link in self.links:
            link.introduce()
        self.changed()
        self.taken_over(handed_over)

    @property
    def are_known(self) -> bool:
        """Whether all have listed their instances."""
        return all(each.is_known for each in self.links)

    def introduced(self) -> None:
        """Note that one of them has listed its instances, or has ended."""
        if self.are_known:
            waiting, self.when_known = self.when_known, []
            for act in waiting:
                act()

    def owner_of(self, instance: str) -> PredecessorLink | None:
        """Return the process that has an instance; None if none of them has."""
        return next((each for each in self.links if instance in each.instances), None)

    def remove(self, link: PredecessorLink) -> None:
        """Forget a process that has ended."""
        self.links.remove(link)
        if self._serves:
            log.info("[upgrade] process {process}, which had handed over, has ended", process=link.process)
            self.changed()
            self.introduced()
        else:
            self.fail("the server that started this process has ended before it handed over its ports")

    def counted(self) -> dict[str, int]:
        """Return the number of sessions of each, by process id."""
        return {str(each.process): each.sessions for each in self.links}

    def described(self) -> list[Predecessor]:
        """Return them in the form that the next process needs; descriptors are numbers in this process."""
        return [Predecessor(each.process, each.transport.fileno(), each.sessions) for each in self.links]

    def release(self) -> None:
        """Leave them to the process that replaces this one, which reads from the same sockets."""
        for each in self.links:
            each.transport.stopReading()
        self.links.clear()

    def stop(self) -> defer.Deferred[Any]:
        """Tell them to stop; return a Deferred that fires when all have ended."""
        waited = [each.gone for each in self.links]
        for each in self.links:
            each.callRemote(Stop)
        if waited:
            log.info("Stopping {processes} that had handed over, too", processes=counted(len(waited), "process"))
        return defer.DeferredList(waited)
