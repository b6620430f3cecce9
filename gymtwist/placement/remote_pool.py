"""The pool of workers on nodes: it places each session, and moves the sessions of a lost node."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from twisted.internet import defer, task

from gymtwist.errors import WorkerStartError
from gymtwist.placement.node import WAKE_TIMEOUT, Node, NodeInfo, NodeState
from gymtwist.placement.node_resources import HEAD, Demand, Demands, NodeResources
from gymtwist.placement.relay_loop import relay_loop
from gymtwist.placement.remote_session import RemoteSession, State
from gymtwist.server.server_log import log
from gymtwist.server.worker_pool import NodeRoom
from gymtwist.server.worker_starter import Starter
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds that an admitted session may wait for a node: the others may have been lost.
_WAIT_TIMEOUT = 30.0
#: How many kinds of nodes an error message names.
_MOST_REASONS = 3
#: The states of nodes that accept sessions, the best first.
_READINESS = (NodeState.OPEN, NodeState.WAKING, NodeState.RESTING)
#: Seconds between checks of how many sessions there are, and which nodes have none.
_LOOK_INTERVAL = 1.0


class Cluster(Protocol):
    """Where nodes come from."""

    def start(self) -> NodeInfo | None:
        """Connect, and return the first node; None if there is none yet."""

    def follow(self, up: Callable[[NodeInfo], None], down: Callable[[str], None]) -> None:
        """Set the functions to call when a node starts serving, and when it stops."""

    def replace(self, node: str) -> None:
        """Start a lost node again."""

    def rest(self, node: str) -> None:
        """End what was started on a node without sessions, so that the cluster may remove the node."""

    def wake(self, node: str) -> None:
        """Start a resting node."""

    def demand(self, sessions: Mapping[Demand, int]) -> None:
        """Tell the cluster which sessions need room: the number of sessions for each demand."""

    def stop(self) -> defer.Deferred[None]:
        """Release all nodes; return a Deferred that fires when that is done."""


class RemotePool:
    """Places sessions on nodes; used in place of a :class:`~gymtwist.server.worker_pool.WorkerPool`.

    Args:
        reactor: The reactor.
        starter: Has the settings of workers, and starts the cluster.
        warm: The number of idle workers that each node keeps ready.
        demands: What sessions take.
        spread: Whether to place a session where there is most room; otherwise where there is least.
        grows: Whether larger nodes may come than there have been.
        rest_after: Seconds after which a node without sessions rests; 0 for never.

    Attributes:
        starter: Has the settings of workers, and starts the cluster.
        warm: The number of idle workers that each node keeps ready.
        nodes: The nodes by id.
        started: Whether sessions can be placed.
    """

    #: The nodes watch their own sessions.
    is_watching = False
    #: The idle workers of this machine: none.
    ready: frozenset[Any] = frozenset()

    def __init__(
        self,
        reactor: Any,
        starter: RemoteStarter,
        warm: int,
        demands: Demands,
        *,
        spread: bool,
        grows: bool = False,
        rest_after: float = 0.0,
    ) -> None:
        self.starter = starter
        self.warm = warm
        self.nodes: dict[str, Node] = {}
        self._room_changed: Callable[[], None] = lambda: None
        self._queued: Callable[[], Iterable[str]] = tuple
        self._demands, self._grows, self._rest_after = demands, grows, rest_after
        # A node that the cluster adds may take as long as one that wakes.
        self._wait_timeout = WAKE_TIMEOUT if grows else _WAIT_TIMEOUT
        #: The sessions that have not ended.
        self._sessions: set[RemoteSession] = set()
        #: One node of each kind seen so far.
        self._kinds: dict[Any, NodeResources] = {}
        self._looks = task.LoopingCall(self._look)
        self._looks.clock = reactor
        self.started = False
        self._reactor = reactor
        self._relays = relay_loop(reactor)
        self._spread = spread
        #: The sessions that wait for a node, in order, each with the timer that gives up.
        self._waiting: dict[RemoteSession, Any] = {}
        #: The demand of a session that has waited long, and the node that is held for it.
        self._held: tuple[Demand, Node] | None = None
        self._is_stopped = False

    def attend(self, room_changed: Callable[[], None], queued: Callable[[], Iterable[str]]) -> None:
        """Register callbacks.

        Args:
            room_changed: Called when there may be more room, as a node has come.
            queued: Returns the environments of the sessions that wait to be admitted.
        """
        self._room_changed, self._queued = room_changed, queued

    def lack(self, environment: str) -> str:
        """Return why no session of an environment can begin now, as a clause; empty if one can."""
        demand = self._demands.of(environment)
        room = sum(node.room(demand) for node in self.nodes.values() if not self._is_held(node, demand))
        # Each session whose node was lost needs one of these places. Looking for such sessions takes long if there are
        # thousands.
        homeless = 0
        if room and len(self._sessions) > sum(len(node.sessions) for node in self.nodes.values()):
            homeless = sum(each.node is None and each.demand == demand for each in self._sessions)
        if room > homeless:
            return ""
        lack = f"no node has room for a session that takes {demand}"
        if self._held is not None and self._is_held(self._held[1], demand) and self._held[1].room(demand):
            lack += f", except one that is held for a session that takes {self._held[0]} and came before"
        return lack

    def hold(self, environment: str | None) -> bool:
        """Hold a node for a session of an environment until the next call; None releases it.

        Returns:
            Whether there is a node that can have the session once others have ended.
        """
        held, self._held = self._held, None
        if environment is None:
            return False
        demand = self._demands.of(environment)
        able = [node for node in self.nodes.values() if node.takes_sessions and not node.resources.why_never(demand)]
        if held is not None and held[0] == demand and held[1] in able:
            self._held = held
        elif able:
            self._held = demand, min(able, key=lambda node: len(node.sessions))
        return self._held is not None

    def _is_held(self, node: Node, demand: Demand) -> bool:
        """Return whether a node is held for another session, and this one would leave too little for it."""
        if self._held is None or self._held[1] is not node:
            return False
        return demand != self._held[0] and not node.resources.spares(demand, self._held[0])

    def why_never(self, environment: str) -> str:
        """Return why no session of an environment can ever begin, as a clause; empty if one may."""
        demand = self._demands.of(environment)
        if self._grows or not self._kinds:
            return ""
        reasons = []
        for kind in self._kinds.values():
            reason = kind.why_never(demand)
            if not reason:
                return ""
            reasons.append(reason)
        causes = "; ".join(list(dict.fromkeys(reasons))[:_MOST_REASONS])
        return (
            f'no node can have a session of "{environment}", which takes {demand}: {causes}. Ask the operator to '
            "change that option, to add such a node, or, if Ray's autoscaler adds one, to start the server with "
            "--cluster-grows"
        )

    @property
    def rooms(self) -> tuple[NodeRoom, ...]:
        """The capacity of each node, sorted by name."""
        return tuple(sorted(map(self._room_of, self.nodes.values()), key=lambda each: each.name))

    def _room_of(self, node: Node) -> NodeRoom:
        sessions = len(node.sessions)
        room = sessions + node.room(self._demands.usual)
        return NodeRoom(node.info.name, sessions, room, node.state is NodeState.RESTING, node.resources.shares)

    @property
    def wanted(self) -> dict[str, float]:
        """How much of each resource the sessions need that wait to be admitted."""
        units: collections.Counter[str] = collections.Counter()
        for environment in self._queued():
            units.update(self._demands.of(environment).bundle)
        return dict(units)

    # Start and stop

    def start(self, ampChild: object = None) -> defer.Deferred[Any]:
        """Connect to the nodes."""
        self.started = True
        self.starter.cluster.follow(self._up, self._down)
        self._looks.start(_LOOK_INTERVAL, now=False)
        return defer.succeed(None)

    def stop(self) -> defer.Deferred[Any]:
        """Release the nodes, which then end their remaining sessions."""
        self._is_stopped = True
        if self._looks.running:
            self._looks.stop()
        for node in self.nodes.values():
            node.close()
        return defer.succeed(None)

    def kill(self) -> None:
        """Do nothing: nodes end by themselves."""

    def renew(self) -> None:
        """Do nothing: nodes replace their idle workers."""

    # Nodes

    def _up(self, info: NodeInfo) -> None:
        if self._is_stopped:
            return
        node = self.nodes.get(info.id)
        if node is not None and node.state in (NodeState.RESTING, NodeState.WAKING):
            node.connect(info)
        else:
            self._down(info.id)
            node = self.nodes[info.id] = Node(self._reactor, info, self._entered, self._lost)
            node.shares_memory = self.starter.settings.shared_memory
            self._kinds.setdefault(self._demands.kind(node.resources), node.resources)
            self._room_changed()

    def _down(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is not None:
            has_agent = node.state in (NodeState.CONNECTING, NodeState.OPEN)
            node.lose(
                "its agent has ended" if has_agent else "it was removed while it rested, or its agent failed to start"
            )

    def _entered(self, node: Node) -> None:
        log.info("[node {node}] has room for {room} sessions", node=node.info.name, room=node.room(self._demands.usual))
        self._place_waiting()

    def _lost(self, node: Node, how: str) -> None:
        if self.nodes.get(node.info.id) is not node:
            return
        del self.nodes[node.info.id]
        (log.error if node.sessions else log.info)(
            "[node {node}] lost: {how}; {count} sessions were there",
            node=node.info.name,
            how=how,
            count=len(node.sessions),
        )
        for session in list(node.sessions.values()):
            session.lost(how)
        if not self._is_stopped:
            self.starter.cluster.replace(node.info.id)

    def _look(self) -> None:
        self._show_demand()
        if self._rest_after:
            self._let_rest()

    def _let_rest(self) -> None:
        """Let nodes rest that have had no session for a while; not Ray's head node, which is never removed."""
        until = self._reactor.seconds() - self._rest_after
        for node in self.nodes.values():
            is_idle = node.state is NodeState.OPEN and not node.sessions and node.idle_since <= until
            if is_idle and HEAD not in node.info.resources:
                log.info("[node {node}] rests until it gets a session", node=node.info.name)
                node.rest()
                self.starter.cluster.rest(node.info.id)

    def _show_demand(self) -> None:
        """Tell the cluster which sessions need room: the running and the waiting ones."""
        placed = (each.demand for each in self._sessions if each.node is not None)
        waiting = (each.demand for each in self._waiting if each.state is State.WAITING)
        self.starter.cluster.demand(collections.Counter((*placed, *waiting, *map(self._demands.of, self._queued()))))

    # Sessions

    def serve(self, assigned: Callable[[Any], None], **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Place a session.

        Args:
            assigned: Called with the session, which stands in for its worker.
            job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`.

        Returns:
            A Deferred that fires with the node's answer; it fails with :class:`~.remote_session.NodeLost` if the node
                is lost along with the session.

        Raises:
            WorkerStartError: The server is shutting down.
            OSError: There are no descriptors left.
        """
        if self._is_stopped:
            raise WorkerStartError("the server is shutting down")
        session = RemoteSession(self._reactor, self._relays, job, self._place)
        session.answer.addBoth(self._answered, session)  # before the callbacks that admit other sessions
        session.finished.addCallback(lambda _: self._place_waiting())
        self._sessions.add(session)
        assigned(session)
        session.demand = self._demands.of(session.session.info.environment)
        session.start()
        return session.answer

    def _answered(self, answer: Any, session: RemoteSession) -> Any:
        self._sessions.discard(session)
        return answer

    def _place(self, session: RemoteSession) -> None:
        node = self._choose(session.demand)
        if node is not None:
            self._begin(session, node)
            return
        self._waiting[session] = self._reactor.callLater(self._wait_timeout, self._give_up, session)

    def _begin(self, session: RemoteSession, node: Node) -> None:
        if node.state is NodeState.RESTING:
            node.wake()
            self.starter.cluster.wake(node.info.id)
        session.begin_on(node)

    def _give_up(self, session: RemoteSession) -> None:
        del self._waiting[session]
        session.give_up(
            f"no node had room for it, which takes {session.demand}, within {self._wait_timeout:g} s; try again later"
        )

    def _choose(self, demand: Demand) -> Node | None:
        """Return the node for a session; None if none has room."""
        sign = -1 if self._spread else 1

        def rank(node: Node) -> tuple[bool, int, int]:
            # A session that was already admitted may move to a held node if no other has room.
            return self._is_held(node, demand), _READINESS.index(node.state), sign * node.room(demand)

        free = [node for node in self.nodes.values() if node.takes_sessions and node.room(demand) > 0]
        return min(free, key=rank, default=None)

    def _place_waiting(self) -> None:
        """Place the waiting sessions in order; those that no node has room for are passed over."""
        for session in list(self._waiting):
            if session not in self._waiting:  # another session, just placed, ended at once, and that placed this one
                continue
            is_waiting = session.state is State.WAITING
            node = self._choose(session.demand) if is_waiting else None
            if node is not None or not is_waiting:
                self._waiting.pop(session).cancel()
            if node is not None:
                self._begin(session, node)


class RemoteStarter(Starter):
    """Connects to the cluster instead of starting a fork server.

    Args:
        reactor: The reactor.
        settings: The settings of the workers.
        cluster: Where nodes come from.

    Attributes:
        cluster: Where nodes come from.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings, cluster: Cluster) -> None:
        super().__init__(reactor, settings)
        self.cluster = cluster

    def start(self) -> None:
        """Connect, and wait for the first node, if there is one.

        Raises:
            WorkerStartError: The cluster cannot be reached, or no node can serve.
        """
        first = self.cluster.start()
        if first is not None:
            self.readiness = first.readiness

    def stop(self) -> defer.Deferred[None]:
        """Release the cluster; return a Deferred that fires when that is done."""
        return self.cluster.stop()
