"""A node as the front sees it: its address, its room, and the link by which both know that the other is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet import defer, task
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

import gymtwist
from gymtwist.placement import node_commands
from gymtwist.placement.node_commands import BEAT_INTERVAL, BEAT_TIMEOUT
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.readiness import Readiness


class NodeInfo(msgspec.Struct, frozen=True):
    """A node with a running server.

    Attributes:
        id: Its id in the cluster.
        host: Its IP address.
        port: Where connections bring their tickets.
        control_port: Where the front sends commands.
        secret: What the front must know.
        room: How many sessions its resources suffice for.
        readiness: The environments that it can make.
    """

    id: str
    host: str
    port: int
    control_port: int
    secret: str
    room: int
    readiness: Readiness = Readiness()

    @property
    def name(self) -> str:
        """The name for people: its address, and the beginning of its id."""
        return f"{self.host} ({self.id[:8]})"


class NodeLink(Link):
    """The front's end of the link with a node.

    Args:
        reactor: The reactor.
        node: The node.
        entered: Called when the node takes commands.
        reported: Called with the fields of :class:`~.node_commands.Report`, and of :class:`~.node_commands.Ended` when
            a session has ended.
        lost: Called once with the reason when the node is lost.
    """

    transport: Any

    def __init__(
        self,
        reactor: Any,
        node: NodeInfo,
        entered: Callable[[], None],
        reported: Callable[..., None],
        lost: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._node = node
        self._entered = entered
        self._reported = reported
        self._lost: Callable[[str], None] | None = lost
        self._answered_at = reactor.seconds()
        self._beats = task.LoopingCall.withCount(self._beat)
        self._beats.clock = reactor

    def connectionMade(self) -> None:
        """Show the secret, and begin to watch the node."""
        self._answered_at = self._reactor.seconds()
        self._beats.start(BEAT_INTERVAL, now=False)
        entering = self.callRemote(node_commands.Enter, secret=self._node.secret.encode(), version=gymtwist.__version__)
        entering.addCallbacks(lambda _: self._entered(), self._refused)

    def _refused(self, failure: Failure) -> None:
        self.lose(f"it refuses: {failure.getErrorMessage()}")

    def _beat(self, intervals: int) -> None:
        now = self._reactor.seconds()
        if intervals > 2:
            # This process itself was stopped or busy: the answers may have come, and not be read yet.
            self._answered_at = now
        elif now - self._answered_at > BEAT_TIMEOUT:
            self.lose(f"no answer for {BEAT_TIMEOUT:g} s")
            return
        self.callRemote(node_commands.Beat).addCallbacks(self._answered, lambda _: None)

    def _answered(self, answer: object) -> None:
        self._answered_at = self._reactor.seconds()

    @node_commands.Report.responder
    def report(self, **fields: Any) -> dict[str, Any]:
        """A session has done something."""
        self._reported(**fields)
        return {}

    @node_commands.Ended.responder
    def ended(self, **fields: Any) -> dict[str, Any]:
        """A session has ended."""
        self._reported(**fields)
        return {}

    def lose(self, how: str) -> None:
        """Count the node as lost.

        Args:
            how: Why.
        """
        if self._lost is None:
            return
        lost, self._lost = self._lost, None
        if self._beats.running:
            self._beats.stop()
        if self.transport is not None:
            self.transport.abortConnection()
        lost(how)

    def close(self) -> None:
        """Close the link; the node then ends its sessions."""
        self._lost = None
        if self._beats.running:
            self._beats.stop()
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the link."""
        super().connectionLost(reason)
        self.lose("its server has ended")


class _LinkFactory(Factory):
    noisy = False

    def __init__(self, link: NodeLink) -> None:
        self._link = link

    def buildProtocol(self, addr: Any) -> NodeLink:
        return self._link

    def startedConnecting(self, connector: Any) -> None:
        """Do nothing; called by Twisted."""

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Handle a node that cannot be reached; called by Twisted."""
        self._link.lose(f"it cannot be reached: {reason.getErrorMessage()}")

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """Do nothing: the link handles its end; called by Twisted."""


class Node:
    """A node that sessions are placed on.

    Args:
        reactor: The reactor.
        info: The node.
        entered: Called with the node when it takes sessions.
        lost: Called with the node and the reason when it is lost.

    Attributes:
        info: The node.
        sessions: Its sessions by their tickets.
        is_open: Whether it takes sessions.
        shares_memory: Whether clients on its machine may share memory with their workers.
    """

    def __init__(
        self, reactor: Any, info: NodeInfo, entered: Callable[[Node], None], lost: Callable[[Node, str], None]
    ) -> None:
        self.info = info
        self.sessions: dict[bytes, Any] = {}
        self.is_open = False
        self.shares_memory = False
        self._entered, self._lost = entered, lost
        self._link = NodeLink(reactor, info, self._open, self._report, self._lose)
        reactor.connectTCP(info.host, info.control_port, _LinkFactory(self._link), timeout=5)

    @property
    def free(self) -> int:
        """How many more sessions it has room for."""
        return self.info.room - len(self.sessions)

    def _open(self) -> None:
        self.is_open = True
        self._entered(self)

    def _lose(self, how: str) -> None:
        self.is_open = False
        self._lost(self, how)

    def _report(self, ticket: bytes, **fields: Any) -> None:
        session = self.sessions.get(ticket)
        if session is not None:
            session.node_reported(**fields)

    def expect(self, **fields: Any) -> defer.Deferred[Any]:
        """Tell the node which connection is to come; see :class:`~.node_commands.Expect`."""
        answer: defer.Deferred[Any] = self._link.callRemote(node_commands.Expect, **fields)
        return answer

    def end(self, ticket: bytes, *, kill: bool) -> None:
        """End a session."""
        if self.is_open:
            self._link.callRemote(node_commands.End, ticket=ticket, kill=kill)

    def lose(self, how: str) -> None:
        """Count the node as lost."""
        self._link.lose(how)

    def close(self) -> None:
        """Let go of the node, which then ends its sessions."""
        self.is_open = False
        self._link.close()
