"""A node as the front sees it: its address, its resources, and the link on which each end watches the other."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet import defer, task
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

import gymtwist
from gymtwist.placement import node_commands
from gymtwist.placement.node_commands import BEAT_INTERVAL, BEAT_TIMEOUT
from gymtwist.placement.node_resources import Demand, NodeResources, Taken
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.readiness import Readiness

#: Seconds that the agent of a resting node has to start; the first node of a cluster has as many.
WAKE_TIMEOUT = 300.0


class NodeInfo(msgspec.Struct, frozen=True):
    """A node with a running server.

    Attributes:
        id: Its id in the cluster.
        host: Its IP address.
        port: The port for connections with tickets.
        control_port: The port for the front's commands.
        secret: What the front must present.
        resources: Its resources, as reported by Ray.
        labels: Its labels.
        gpus: The ids of its GPUs; if empty, they are numbered.
        readiness: The environments that it can make.
    """

    id: str
    host: str
    port: int
    control_port: int
    secret: str
    resources: dict[str, float] = {}
    labels: dict[str, str] = {}
    gpus: tuple[str, ...] = ()
    readiness: Readiness = Readiness()

    @property
    def name(self) -> str:
        """The name for people: its address, and the first characters of its id."""
        return f"{self.host} ({self.id[:8]})"


class NodeLink(Link):
    """The front's end of the link to a node.

    Args:
        reactor: The reactor.
        node: The node.
        entered: Called when the node accepts commands.
        reported: Called with the fields of :class:`~.node_commands.Report`; with those of
            :class:`~.node_commands.Ended` when a session has ended.
        expired: Called with a ticket that was not used in time.
        lost: Called once with the reason when the node is lost.
    """

    transport: Any

    def __init__(
        self,
        reactor: Any,
        node: NodeInfo,
        entered: Callable[[], None],
        reported: Callable[..., None],
        expired: Callable[[bytes], None],
        lost: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._node = node
        self._entered = entered
        self._reported, self._expired = reported, expired
        self._lost: Callable[[str], None] | None = lost
        self._answered_at = reactor.seconds()
        self._beats = task.LoopingCall.withCount(self._beat)
        self._beats.clock = reactor

    def connectionMade(self) -> None:
        """Present the secret, and begin to watch the node; called by Twisted."""
        self._answered_at = self._reactor.seconds()
        self._beats.start(BEAT_INTERVAL, now=False)
        entering = self.callRemote(node_commands.Enter, secret=self._node.secret.encode(), version=gymtwist.__version__)
        entering.addCallbacks(lambda _: self._entered(), self._refused)

    def _refused(self, failure: Failure) -> None:
        self.lose(f"it refuses: {failure.getErrorMessage()}")

    def _beat(self, intervals: int) -> None:
        now = self._reactor.seconds()
        if intervals > 2:
            # This process itself was stopped or busy: answers may have arrived that are not read yet.
            self._answered_at = now
        elif now - self._answered_at > BEAT_TIMEOUT:
            self.lose(f"no answer for {BEAT_TIMEOUT:g} s")
            return
        self.callRemote(node_commands.Beat).addCallbacks(self._answered, lambda _: None)

    def _answered(self, answer: object) -> None:
        self._answered_at = self._reactor.seconds()

    @node_commands.Report.responder
    def report(self, **fields: Any) -> dict[str, Any]:
        """Note what a session has done."""
        self._reported(**fields)
        return {}

    @node_commands.Ended.responder
    def ended(self, **fields: Any) -> dict[str, Any]:
        """Note that a session has ended."""
        self._reported(**fields)
        return {}

    @node_commands.Expired.responder
    def expired(self, ticket: bytes) -> dict[str, Any]:
        """Note that a ticket was not used in time."""
        self._expired(ticket)
        return {}

    def lose(self, how: str) -> None:
        """Treat the node as lost.

        Args:
            how: Why, as a clause.
        """
        if self._lost is None:
            return
        lost, self._lost = self._lost, None
        if self._beats.running:
            self._beats.stop()
        if self.transport is not None:
            self.transport.abortConnection()
        lost(how)

    def rest(self) -> None:
        """Stop watching the node: its server is about to end."""
        self._lost = None
        if self._beats.running:
            self._beats.stop()

    def close(self) -> None:
        """Close the link; the node then ends its sessions."""
        self.rest()
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the link; called by Twisted."""
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


class NodeState(enum.Enum):
    """Whether sessions can begin on a node."""

    CONNECTING = enum.auto()  # its server is running, but has not let the front in yet
    OPEN = enum.auto()
    RESTING = enum.auto()  # it has no agent, so that an autoscaler may remove it
    WAKING = enum.auto()  # it has been given a session, and its agent is starting
    LOST = enum.auto()


class Node:
    """A node that sessions are placed on.

    Args:
        reactor: The reactor.
        info: The node.
        entered: Called with the node when it accepts sessions.
        lost: Called with the node and the reason when it is lost.

    Attributes:
        info: The node.
        sessions: Its sessions by ticket.
        resources: Its total and free resources.
        state: Whether sessions can begin there.
        idle_since: When its last session ended, in the reactor's time.
        shares_memory: Whether clients on its machine may share memory with their workers.
    """

    def __init__(
        self, reactor: Any, info: NodeInfo, entered: Callable[[Node], None], lost: Callable[[Node, str], None]
    ) -> None:
        self.sessions: dict[bytes, Any] = {}
        self.resources = NodeResources(info.resources, info.labels, info.gpus)
        self._taken: dict[bytes, Taken] = {}
        self.shares_memory = False
        self.idle_since = reactor.seconds()
        self._reactor = reactor
        self._entered, self._lost = entered, lost
        #: Functions to call when it is open, and the timer that gives up waiting for that.
        self._awaiting: list[Callable[[], None]] = []
        self._timer: Any = None
        self.connect(info)

    @property
    def takes_sessions(self) -> bool:
        """Whether it can be given sessions, which begin once it is open."""
        return self.state in (NodeState.OPEN, NodeState.RESTING, NodeState.WAKING)

    def room(self, demand: Demand) -> int:
        """Return how many more sessions with this demand it has room for."""
        return self.resources.room(demand)

    def enter(self, ticket: bytes, session: Any, demand: Demand) -> str | None:
        """Allocate resources to a session.

        Args:
            ticket: The ticket of the session.
            session: The session.
            demand: What the session needs.

        Returns:
            The ids of its GPUs; None on a node without GPUs.
        """
        self.sessions[ticket] = session
        taken = self._taken[ticket] = self.resources.take(demand)
        return self.resources.gpus_of(taken)

    def leave(self, ticket: bytes) -> None:
        """Release the resources of a session."""
        self.sessions.pop(ticket, None)
        self.idle_since = self._reactor.seconds()
        taken = self._taken.pop(ticket, None)
        if taken is not None:
            self.resources.give_back(taken)

    # Its state

    def connect(self, info: NodeInfo) -> None:
        """Connect to its server, which has started, perhaps after a rest."""
        self._stop_timer()
        self.info = info
        self.state = NodeState.CONNECTING
        self._link = NodeLink(self._reactor, info, self._open, self._report, self._expire, self._lose)
        self._reactor.connectTCP(info.host, info.control_port, _LinkFactory(self._link), timeout=5)

    def when_open(self, act: Callable[[], None]) -> None:
        """Call a function when sessions can begin: now or later; never if the node is lost first."""
        if self.state is NodeState.OPEN:
            act()
        else:
            self._awaiting.append(act)

    def rest(self) -> None:
        """Note that its agent is about to end."""
        self.state = NodeState.RESTING
        self._link.rest()

    def wake(self) -> None:
        """Note that its agent is about to start; it is lost if that takes too long."""
        self.state = NodeState.WAKING
        self._timer = self._reactor.callLater(WAKE_TIMEOUT, self.lose, f"no agent started within {WAKE_TIMEOUT:g} s")

    def lose(self, how: str) -> None:
        """Treat the node as lost."""
        if self.state in (NodeState.RESTING, NodeState.WAKING):
            self._lose(how)
        else:
            self._link.lose(how)

    def close(self) -> None:
        """Release the node, which then ends its sessions."""
        self._stop_timer()
        self.state = NodeState.LOST
        self._link.close()

    def _open(self) -> None:
        self.state = NodeState.OPEN
        self.idle_since = self._reactor.seconds()
        awaiting, self._awaiting = self._awaiting, []
        for act in awaiting:
            act()
        self._entered(self)

    def _lose(self, how: str) -> None:
        self._stop_timer()
        self.state = NodeState.LOST
        self._awaiting.clear()
        self._lost(self, how)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    # Its sessions

    def _report(self, ticket: bytes, **fields: Any) -> None:
        session = self.sessions.get(ticket)
        if session is not None:
            session.node_reported(**fields)

    def _expire(self, ticket: bytes) -> None:
        session = self.sessions.get(ticket)
        if session is not None:
            session.ticket_expired()

    def expect(self, **fields: Any) -> defer.Deferred[Any]:
        """Tell the node which connection to expect; see :class:`~.node_commands.Expect`."""
        answer: defer.Deferred[Any] = self._link.callRemote(node_commands.Expect, **fields)
        return answer

    def end(self, ticket: bytes, *, kill: bool) -> None:
        """End a session."""
        if self.state is NodeState.OPEN:
            self._link.callRemote(node_commands.End, ticket=ticket, kill=kill)
