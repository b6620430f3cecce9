"""Which node a session gets, and for how long one waits that has a place and no node."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from gymtwist.errors import GymtwistError
from gymtwist.placement.node import WAKE_TIMEOUT, NodeInfo, NodeState
from gymtwist.placement.node_resources import HEAD, Demands, NodeResources, Taken
from gymtwist.placement.remote_pool import RemotePool
from gymtwist.placement.remote_session import State
from gymtwist.server.admission import MOST_PASSED, Admission
from gymtwist.server.command_line import Options
from gymtwist.server.identities import EVERYBODY
from gymtwist.server.server_options import ServerOptions
from tests.unit.placement.test_remote_session import Reactor

DEMANDS = Demands(ServerOptions())


class StandInNode:
    """A node with room for one session."""

    takes_sessions = True
    state = NodeState.OPEN

    def __init__(self) -> None:
        """Have room."""
        self.free = 1

    def room(self, demand: Any) -> int:
        """Return how many more sessions it has room for."""
        return self.free


class StandInSession:
    """A session that notes what becomes of it."""

    demand = DEMANDS.usual

    def __init__(self) -> None:
        """Wait."""
        self.state = State.WAITING
        self.reasons: list[str] = []

    def begin_on(self, node: StandInNode) -> None:
        """Take the room of a node."""
        node.free -= 1
        self.state = State.PLAYING

    def give_up(self, reason: str) -> None:
        """End."""
        self.reasons.append(reason)


def test_a_session_that_waits_again_has_the_whole_time_again() -> None:
    """As one does whose node is lost soon after it had got that."""
    reactor = Reactor()
    pool = RemotePool(reactor, SimpleNamespace(), 0, DEMANDS, spread=False)  # type: ignore[arg-type]
    node, session = StandInNode(), StandInSession()
    place: Any = pool._place
    place(session)
    reactor.advance(20)
    pool.nodes["one"] = node  # type: ignore[assignment]
    pool._place_waiting()
    assert session.state is State.PLAYING
    session.state = State.WAITING
    place(session)
    reactor.advance(29)
    assert not session.reasons
    reactor.advance(2)
    (reason,) = session.reasons
    assert "within 30 s" in reason


# Large sessions and small ones


class CountingNode:
    """A node that counts what its sessions take."""

    takes_sessions = True
    state = NodeState.OPEN

    def __init__(self, pool: RemotePool, name: str, **resources: float) -> None:
        """Enter the pool."""
        self.sessions: dict[Client, Taken] = {}
        self.resources = NodeResources(resources)
        pool.nodes[name] = self  # type: ignore[assignment]

    def room(self, demand: Any) -> int:
        """Return how many more sessions it has room for."""
        return self.resources.room(demand)


class Client:
    """A client whose session is placed as soon as it is admitted."""

    identity = EVERYBODY

    def __init__(self, pool: RemotePool, environment: str) -> None:
        """Ask for nothing yet."""
        self.environment = environment
        self.node: Any = None
        self._pool = pool

    def queued(self) -> None:
        """Wait."""

    def moved(self, place: int) -> None:
        """Do not note the place."""

    def admitted(self) -> None:
        """Take the room of a node."""
        demand = self._pool._demands.of(self.environment)
        self.node = self._pool._choose(demand)
        self.node.sessions[self] = self.node.resources.take(demand)

    def end(self) -> None:
        """Give it back."""
        self.node.resources.give_back(self.node.sessions.pop(self))

    def refused(self, error: GymtwistError) -> None:
        """Fail the test."""
        raise error


class Crowd:
    """An admission and a pool, and clients that come again as soon as their sessions have ended."""

    def __init__(self) -> None:
        """Have no nodes."""
        parsed = Options()
        needs = {"large": {"cpus": 4}, "seeing": {"cpus": 0, "gpus": 1}, "learning": {"gpus": 1}}
        parsed.parseOptions(["--session-cpus", "1", "--session-needs", json.dumps(needs)])
        demands = Demands(parsed.server_options())
        self.pool = RemotePool(Reactor(), SimpleNamespace(), 0, demands, spread=True)  # type: ignore[arg-type]
        self.nodes: Any = self.pool.nodes
        self.admission = Admission(100, 100)
        self.admission.ask(self.pool)
        self.clients: list[Client] = []

    def enter(self, environment: str) -> Client:
        """Let a client come."""
        client = Client(self.pool, environment)
        self.clients.append(client)
        self.admission.enter(client)
        return client

    def end_first(self, environment: str = "small", *, comes_again: bool = True) -> None:
        """End the oldest session of an environment, whose client comes again."""
        client = next(each for each in self.clients if each.environment == environment and each.node is not None)
        self.clients.remove(client)
        client.end()
        self.admission.session_ended(client)
        if comes_again:
            self.enter(environment)


@pytest.mark.parametrize("crowd_size", [4, 12], ids=["who come later", "who wait as well"])
def test_a_large_session_is_passed_so_often_by_small_ones(crowd_size: int) -> None:
    """Its node then becomes free."""
    crowd = Crowd()
    CountingNode(crowd.pool, "only", CPU=4)
    for _ in range(4):
        crowd.enter("small")
    large = crowd.enter("large")
    for _ in range(crowd_size - 4):
        crowd.enter("small")
    for _ in range(MOST_PASSED + 3):
        crowd.end_first()
        assert large.node is None
    crowd.end_first()
    assert large.node is not None
    crowd.end_first("large", comes_again=False)
    assert sum(each.node is not None for each in crowd.clients) == 4


def overdue(crowd: Crowd) -> Client:
    """Return a large session that was passed often enough."""
    for _ in range(4):
        crowd.enter("small")
    large = crowd.enter("large")
    for _ in range(MOST_PASSED):
        crowd.end_first()
    assert large.node is None
    return large


def test_others_go_on_at_other_nodes_and_with_other_resources() -> None:
    """One node is held, and only from those that take of the same."""
    crowd = Crowd()
    CountingNode(crowd.pool, "large", CPU=4, GPU=1)
    CountingNode(crowd.pool, "small", CPU=2)
    crowd.enter("small")
    crowd.enter("small")
    large = overdue(crowd)
    assert crowd.enter("seeing").node is crowd.nodes["large"]
    for _ in range(10):
        crowd.end_first()
    assert large.node is crowd.nodes["large"]
    assert len(crowd.nodes["small"].sessions) == 2


def test_a_node_is_held_for_what_it_lacks() -> None:
    """Of what it has plenty of, it keeps as much as the session needs."""
    crowd = Crowd()
    CountingNode(crowd.pool, "only", CPU=24, GPU=1)
    crowd.enter("learning")
    learning = crowd.enter("learning")
    small = [crowd.enter("small") for _ in range(23)]
    assert [each.node is not None for each in small] == 22 * [True] + [False]
    crowd.end_first("learning", comes_again=False)
    assert learning.node is not None
    assert small[-1].node is not None


def test_who_leaves_holds_no_node() -> None:
    """The others have its room."""
    crowd = Crowd()
    CountingNode(crowd.pool, "only", CPU=4)
    large = overdue(crowd)
    crowd.end_first()
    assert len(crowd.nodes["only"].sessions) == 3
    crowd.admission.leave_queue(large)
    assert len(crowd.nodes["only"].sessions) == 4


def test_another_node_is_held_if_that_is_lost() -> None:
    """As soon as the loss is known."""
    crowd = Crowd()
    for name in ("one", "other"):
        CountingNode(crowd.pool, name, CPU=4)
    for _ in range(4):
        crowd.enter("small")
    large = overdue(crowd)
    crowd.end_first()
    (lost,) = (name for name, node in crowd.nodes.items() if len(node.sessions) == 3)
    for client in crowd.nodes.pop(lost).sessions:
        crowd.clients.remove(client)
        crowd.admission.session_ended(client)
    (node,) = crowd.nodes.values()
    for _ in range(4):
        assert large.node is None
        crowd.end_first()
    assert large.node is node


def test_a_session_that_lost_its_node_may_use_a_held_one() -> None:
    """It was admitted before."""
    crowd = Crowd()
    node: Any = CountingNode(crowd.pool, "only", CPU=4)
    overdue(crowd)
    crowd.end_first(comes_again=False)
    assert crowd.pool.lack("small") == (
        "no node has room for a session that takes 1 CPU, except one that is held for a session that takes 4 CPU and "
        "came before"
    )
    assert crowd.pool.wanted == {"CPU": 4.0}
    assert crowd.pool._choose(crowd.pool._demands.of("small")) is node


# Nodes without sessions


class Cluster:
    """A cluster that notes what it is told."""

    def __init__(self) -> None:
        """Have been told nothing."""
        self.told: list[tuple[str, str]] = []

    def follow(self, up: Any, down: Any) -> None:
        """Take what to call."""
        self.up, self.down = up, down

    def rest(self, node: str) -> None:
        """Note it."""
        self.told.append(("rest", node))

    def wake(self, node: str) -> None:
        """Note it."""
        self.told.append(("wake", node))

    def replace(self, node: str) -> None:
        """Note it."""
        self.told.append(("replace", node))

    def demand(self, sessions: Any) -> None:
        """Do not note it."""


class Placed:
    """A session that notes where it is."""

    demand = DEMANDS.usual
    state = State.WAITING

    def __init__(self) -> None:
        """Be nowhere."""
        self.node: Any = None
        self.begun = False
        self.lost_by: list[str] = []

    def begin_on(self, node: Any) -> None:
        """Enter a node, and begin when that is open."""
        self.node = node
        node.enter(b"ticket", self, self.demand)
        node.when_open(lambda: setattr(self, "begun", True))

    def lost(self, how: str) -> None:
        """Leave the node."""
        self.lost_by.append(how)
        self.node.leave(b"ticket")


class Resting:
    """A pool with one node, which rests after ten seconds without sessions."""

    def __init__(self, **resources: float) -> None:
        """Let the node in."""
        self.reactor, self.cluster = MemoryReactorClock(), Cluster()
        settings = SimpleNamespace(shared_memory=False)
        starter: Any = SimpleNamespace(cluster=self.cluster, settings=settings)
        self.pool = RemotePool(self.reactor, starter, 0, DEMANDS, spread=False, rest_after=10.0)
        self.pool.start()
        self.info = NodeInfo("one", "10.0.0.1", 1, 2, "secret", resources={"CPU": 2.0, **resources})
        self.rise()

    @property
    def node(self) -> Any:
        """The node."""
        return self.pool.nodes["one"]

    def rise(self) -> None:
        """Let the node serve, and the front in."""
        self.cluster.up(self.info)
        self.node._link.connectionMade = lambda: None
        self.node._open()

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds):
            self.reactor.advance(1)

    def place(self) -> Placed:
        """Place a session."""
        session: Any = Placed()
        self.pool._place(session)
        return session  # type: ignore[no-any-return]


def test_a_node_without_sessions_rests_and_a_session_wakes_it() -> None:
    """It has the same room all the time."""
    resting = Resting()
    session = resting.place()
    resting.wait(20)
    assert resting.cluster.told == []
    resting.node.leave(b"ticket")
    resting.wait(9)
    assert resting.cluster.told == []
    resting.wait(2)
    assert resting.cluster.told == [("rest", "one")]
    assert resting.pool.rooms == ((resting.info.name, 0, 2, True, {"CPU": (0.0, 2.0)}),)
    assert resting.pool.lack("CartPole-v1") == ""
    session = resting.place()
    assert resting.cluster.told[1:] == [("wake", "one")]
    assert (resting.node.room(DEMANDS.usual), session.begun) == (1, False)
    another = resting.place()
    assert len(resting.cluster.told) == 2
    resting.rise()
    assert session.begun
    assert another.begun
    assert resting.node.sessions


def test_the_head_never_rests() -> None:
    """Ray's autoscaler never removes it."""
    resting = Resting(**{HEAD: 1.0})
    resting.wait(60)
    assert resting.cluster.told == []


@pytest.mark.parametrize("how", ["removed", "not started"])
def test_a_session_whose_node_does_not_wake_is_not_lost(how: str) -> None:
    """It is told, and can begin elsewhere."""
    resting = Resting()
    resting.wait(11)
    session = resting.place()
    if how == "removed":
        resting.cluster.down("one")
    else:
        resting.wait(int(WAKE_TIMEOUT))
    assert len(session.lost_by) == 1
    assert not resting.pool.nodes
    assert resting.cluster.told[-1] == ("replace", "one")


def test_a_resting_node_that_is_removed_has_no_room() -> None:
    """Nothing else is lost."""
    resting = Resting()
    resting.wait(11)
    resting.cluster.down("one")
    assert resting.pool.lack("CartPole-v1")
