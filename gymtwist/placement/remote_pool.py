"""The pool of workers on nodes: it places each session, and moves those whose node is lost."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import defer, task

from gymtwist.errors import WorkerStartError
from gymtwist.placement.node import Node, NodeInfo
from gymtwist.placement.remote_session import RemoteSession, State
from gymtwist.server.server_log import log
from gymtwist.server.worker_pool import NodeRoom
from gymtwist.server.worker_starter import Starter
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds that a session which has a place may wait for a node: others may have been lost.
_WAIT_TIMEOUT = 30.0
#: Seconds between two looks at how many sessions there are.
_DEMAND_INTERVAL = 1.0


class Cluster(Protocol):
    """Where nodes come from."""

    def start(self) -> NodeInfo | None:
        """Connect, and return the first node; None if there is none yet."""

    def follow(self, up: Callable[[NodeInfo], None], down: Callable[[str], None]) -> None:
        """Call these functions when a node serves, and when it does not any more."""

    def replace(self, node: str) -> None:
        """Start a node again that is lost."""

    def demand(self, sessions: int) -> None:
        """Show how many sessions there are to be room for."""

    def stop(self) -> defer.Deferred[None]:
        """Let go of all nodes; fires when that is done."""


class RemotePool:
    """Places sessions on nodes; in place of a :class:`~gymtwist.server.worker_pool.WorkerPool`.

    Args:
        reactor: The reactor.
        starter: Has the settings of workers, and starts the cluster.
        spread: Whether to place a session where there is most room; otherwise where there is least.

    Attributes:
        starter: The same.
        warm: How many idle workers each node keeps ready.
        nodes: The nodes by their ids.
        started: Whether sessions can be placed.
    """

    #: The nodes watch their sessions.
    is_watching = False
    #: Idle workers of this machine.
    ready: frozenset[Any] = frozenset()

    def __init__(self, reactor: Any, starter: RemoteStarter, warm: int, *, spread: bool) -> None:
        self.starter = starter
        self.warm = warm
        self.nodes: dict[str, Node] = {}
        self._room_changed: Callable[[int], None] = lambda _: None
        self._queued: Callable[[], int] = lambda: 0
        self._demand = task.LoopingCall(self._show_demand)
        self._demand.clock = reactor
        self.started = False
        self._reactor = reactor
        self._spread = spread
        self._waiting: collections.deque[RemoteSession] = collections.deque()
        self._is_stopped = False

    def attend(self, room_changed: Callable[[int], None], queued: Callable[[], int]) -> None:
        """Tell who admits sessions how many there is room for.

        Args:
            room_changed: Called with the number of sessions that all nodes have room for.
            queued: Returns how many wait to be admitted.
        """
        self._room_changed, self._queued = room_changed, queued

    @property
    def rooms(self) -> tuple[NodeRoom, ...]:
        """The rooms of the nodes, by their names."""
        nodes = self.nodes.values()
        return tuple(sorted(NodeRoom(each.info.name, len(each.sessions), each.info.room) for each in nodes))

    # Start and stop

    def start(self, ampChild: object = None) -> defer.Deferred[Any]:
        """Connect to the nodes."""
        self.started = True
        self.starter.follow(self._up, self._down)
        self._update_room()
        self._demand.start(_DEMAND_INTERVAL, now=False)
        return defer.succeed(None)

    def stop(self) -> defer.Deferred[Any]:
        """Let go of the nodes, which then end what is left of their sessions."""
        self._is_stopped = True
        if self._demand.running:
            self._demand.stop()
        for node in self.nodes.values():
            node.close()
        return defer.succeed(None)

    def kill(self) -> None:
        """Do nothing: nodes end by themselves."""

    def renew(self) -> None:
        """Do nothing: nodes replace their idle workers."""

    # Nodes

    def _up(self, info: NodeInfo) -> None:
        if not self._is_stopped:
            self._down(info.id)
            node = self.nodes[info.id] = Node(self._reactor, info, self._entered, self._lost)
            node.shares_memory = self.starter.settings.shared_memory
            self._update_room()

    def _down(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is not None:
            node.lose("its agent has ended")

    def _entered(self, node: Node) -> None:
        log.info("[node {node}] has room for {room} sessions", node=node.info.name, room=node.info.room)
        self._place_waiting()

    def _lost(self, node: Node, how: str) -> None:
        if self.nodes.get(node.info.id) is not node:
            return
        del self.nodes[node.info.id]
        log.error(
            "[node {node}] lost: {how}; {count} sessions were there",
            node=node.info.name,
            how=how,
            count=len(node.sessions),
        )
        self._update_room()
        for session in list(node.sessions.values()):
            session.lost(how)
        if not self._is_stopped:
            self.starter.replace(node.info.id)

    def _update_room(self) -> None:
        self._room_changed(sum(node.info.room for node in self.nodes.values()))

    def _show_demand(self) -> None:
        """Show Ray what there is to be room for: sessions that run, and those that wait."""
        running = sum(len(node.sessions) for node in self.nodes.values())
        self.starter.demand(running + len(self._waiting) + self._queued())

    # Sessions

    def serve(self, assigned: Callable[[Any], None], **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Place a session.

        Args:
            assigned: Called with the session, which stands for its worker.
            job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`.

        Returns:
            The answer of the node; :class:`~.remote_session.NodeLost` if that is lost, and the session with it.

        Raises:
            WorkerStartError: The server is shutting down.
            OSError: There are no descriptors left.
        """
        if self._is_stopped:
            raise WorkerStartError("the server is shutting down")
        session = RemoteSession(self._reactor, job, self._place)
        session.finished.addCallback(lambda _: self._place_waiting())
        assigned(session)
        session.start()
        return session.answer

    def _place(self, session: RemoteSession) -> None:
        node = self._choose()
        if node is not None:
            session.begin_on(node)
            return
        self._waiting.append(session)
        self._reactor.callLater(_WAIT_TIMEOUT, self._give_up, session)

    def _give_up(self, session: RemoteSession) -> None:
        if session in self._waiting:
            self._waiting.remove(session)
            session.give_up(f"no node had room for it within {_WAIT_TIMEOUT:g} s; try again later")

    def _choose(self) -> Node | None:
        """Return the node for the next session; None if none has room."""
        free = [node for node in self.nodes.values() if node.is_open and node.free > 0]
        if not free:
            return None
        return max(free, key=lambda node: node.free) if self._spread else min(free, key=lambda node: node.free)

    def _place_waiting(self) -> None:
        while self._waiting:
            if self._waiting[0].state is not State.WAITING:
                self._waiting.popleft()
                continue
            node = self._choose()
            if node is None:
                return
            self._waiting.popleft().begin_on(node)


class RemoteStarter(Starter):
    """Connects to the cluster in place of starting a fork server.

    Args:
        reactor: The reactor.
        settings: The settings of the workers.
        cluster: Where nodes come from.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings, cluster: Cluster) -> None:
        super().__init__(reactor, settings)
        self._cluster = cluster

    def start(self) -> None:
        """Connect, and wait for the first node if there is one.

        Raises:
            WorkerStartError: It cannot connect, or no node can serve.
        """
        first = self._cluster.start()
        if first is not None:
            self.readiness = first.readiness

    def follow(self, up: Callable[[NodeInfo], None], down: Callable[[str], None]) -> None:
        """Call these functions when a node serves, and when it does not any more."""
        self._cluster.follow(up, down)

    def replace(self, node: str) -> None:
        """Start a node again that is lost."""
        self._cluster.replace(node)

    def demand(self, sessions: int) -> None:
        """Show the cluster how many sessions there are to be room for."""
        self._cluster.demand(sessions)

    def stop(self) -> defer.Deferred[None]:
        """Let go of the cluster."""
        return self._cluster.stop()
