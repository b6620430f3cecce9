"""The new process of an upgrade: it takes over from the old one, and knows those that go on with their sessions."""

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
        process: The number of the process.
        sessions: How many sessions it has.
        predecessors: The earlier processes that run.

    Attributes:
        process: As above.
        sessions: As above.
        instances: Its instances of gym-http-api.
        is_known: Whether these are all that it had when this process took over.
        gone: Fires when the process has ended.
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
        """The ports are this process's own."""
        self.sessions = sessions
        self._predecessors.take_over()
        return {}

    @Remaining.responder
    def remaining(self, sessions: int) -> dict[str, Any]:
        """The process has this many sessions."""
        self.sessions = sessions
        self._predecessors.changed()
        return {}

    @Instances.responder
    def note_instances(self, names: list[str]) -> dict[str, Any]:
        """The process has these instances."""
        self.instances.update(names)
        return {}

    def introduce(self) -> None:
        """Ask for the instances of the process."""
        self.callRemote(Introduce).addBoth(self._introduced)

    def _introduced(self, _: object) -> None:
        self.is_known = True
        self._predecessors.introduced()

    def forward(self, connection: int) -> None:
        """Let the process answer the request of a connection, whose descriptor is closed here once it has it."""
        self.transport.sendFileDescriptor(connection)
        self.callRemote(Forward).addBoth(lambda _: os.close(connection))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The process has ended; called by Twisted."""
        super().connectionLost(reason)
        self._predecessors.remove(self)
        self.gone.callback(None)


class Predecessors:
    """The earlier processes of the server that still run.

    Args:
        reactor: The reactor.
        handed_over: What the last one of them has handed over; None if this process is the first.

    Attributes:
        links: The links to them, the last one before the others.
        when_known: What to call when all have told their instances.
        changed: Called when their sessions are others.
        taken_over: Called with what was handed over when the ports are this process's own.
        fail: Called with the reason if they never will be.
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
        """How many sessions they have together."""
        return sum(each.sessions for each in self.links)

    def ready(self) -> None:
        """Tell the process that is to be replaced that this one can serve."""
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
        """Take what else belongs to the server."""
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
        """Whether all have told their instances."""
        return all(each.is_known for each in self.links)

    def introduced(self) -> None:
        """One of them has told its instances, or has ended."""
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
        """Return how many sessions each of them has, by the number of the process."""
        return {str(each.process): each.sessions for each in self.links}

    def described(self) -> list[Predecessor]:
        """Return them for the process that is to replace this one; descriptors are those of this process."""
        return [Predecessor(each.process, each.transport.fileno(), each.sessions) for each in self.links]

    def release(self) -> None:
        """Leave them to the process that replaces this one, which reads from the same sockets."""
        for each in self.links:
            each.transport.stopReading()
        self.links.clear()

    def stop(self) -> defer.Deferred[Any]:
        """Tell them to stop; return what fires when all have ended."""
        waited = [each.gone for each in self.links]
        for each in self.links:
            each.callRemote(Stop)
        if waited:
            log.info("Stopping {processes} that had handed over, too", processes=counted(len(waited), "process"))
        return defer.DeferredList(waited)
