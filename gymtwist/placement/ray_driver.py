"""The process between the front and Ray: it keeps one agent on each node, and tells the front where they listen.

Ray is imported here and not in the front, since it starts threads, handles signals, and may block for seconds.

Both send lines of JSON over a UNIX socket. The front receives ``connected`` (with the number of nodes), ``up`` (a node
serves), ``failed`` (its server does not start) and ``down``; it sends ``replace`` (a node is lost), ``rest`` (a node
has no sessions), ``wake`` (it gets one) and ``demand`` (the resources that sessions need).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
import uuid
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gymtwist.placement import demand_keeper
from gymtwist.placement.demand_keeper import DemandKeeper
from gymtwist.placement.node_agent import NodeAgent
from gymtwist.placement.node_resources import HEAD

#: Seconds between checks of the cluster.
_INTERVAL = 0.5
#: The first and the longest delay in seconds before an agent is restarted on a node where one has ended.
_BACKOFF, _MAX_BACKOFF = 1.0, 30.0
#: What Ray's client server (ray://) reports if the process that it starts for a client has died, or does not answer
#: within 30 s. It forks while gRPC threads are running, which sometimes fails. And how often to try.
_CLIENT_FAILURES = "Starting Ray client server failed", "Proxy failed to Connect to backend"
_CLIENT_ATTEMPTS = 3


class _Place:
    """A node of the cluster.

    Attributes:
        agent: Its agent; None if it has none.
        starting: A Ray reference to where its server listens; None once that is known.
        running: A Ray reference that resolves when its server has ended; None before the server has started.
        is_resting: Whether it has no agent because it has no sessions.
        not_before: The earliest time to start an agent there, by ``time.monotonic``.
        backoff: Seconds to wait after the next failure.
    """

    def __init__(self) -> None:
        self.agent: Any = None
        self.starting: Any = None
        self.running: Any = None
        self.is_resting = False
        self.not_before = 0.0
        self.backoff = _BACKOFF


class Driver:
    """Keeps one agent on each node.

    Args:
        front: The socket to the front.
        task: The front's first message: the address of the cluster, the options, and the runtime environment.
    """

    def __init__(self, front: socket.socket, task: dict[str, Any]) -> None:
        self._front = front
        self._task = task
        self._received = b""
        self._places: dict[str, _Place] = {}
        self._demand: list[dict[str, Any]] = []
        #: The id of this front, for the demand keeper.
        self._id = uuid.uuid4().hex
        self._keeper: Any = None
        #: A Ray reference that resolves when the keeper has received the last demand.
        self._told: Any = None
        self._shown_at = 0.0
        actor: Any = ray.remote(num_cpus=0, max_concurrency=2, max_restarts=0)(NodeAgent)
        self._actor = actor

    def connect(self) -> None:
        """Connect to the cluster."""
        for attempts_left in reversed(range(_CLIENT_ATTEMPTS)):
            try:
                ray.init(
                    address=self._task["address"] or "auto",
                    log_to_driver=False,
                    namespace=demand_keeper.NAMESPACE,
                    runtime_env=self._task["runtime_env"] or None,
                    logging_level="ERROR",
                )
                break
            except ConnectionAbortedError as error:
                problem = next((each for each in _CLIENT_FAILURES if each in str(error)), None)
                if problem is None or not attempts_left:
                    raise
                print(f"Ray: {problem}; trying again", file=sys.stderr)
        self._tell("connected", nodes=len([each for each in ray.nodes() if each["Alive"]]))

    def _tell(self, event: str, **fields: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the front has ended, which also ends run()
            self._front.sendall(json.dumps({"event": event, **fields}).encode() + b"\n")

    def run(self) -> None:
        """Keep the agents until the front closes its socket."""
        while self._listen():
            self._look()
            if self._demand and time.monotonic() - self._shown_at > demand_keeper.REPORT_INTERVAL:
                self._show_demand()
        if self._keeper is not None:
            with contextlib.suppress(Exception):  # otherwise, the keeper notices later that this front is gone
                ray.get(self._keeper.leave.remote(self._id), timeout=1.0)

    def _listen(self) -> bool:
        readable, _, _ = select.select([self._front], [], [], _INTERVAL)
        if not readable:
            return True
        try:
            data = self._front.recv(65536)
        except ConnectionResetError:  # the front has ended without reading everything
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said["event"] == "replace":
                self._drop(said["node"])
            elif said["event"] == "rest":
                self._rest(said["node"])
            elif said["event"] == "wake":
                self._wake(said["node"])
            elif said["event"] == "demand":
                self._demand = said["bundles"]
                self._show_demand()
        return bool(data)

    def _show_demand(self) -> None:
        """Ask Ray's autoscaler, through the keeper, for room for all waiting and running sessions."""
        silent, self._shown_at = time.monotonic() - self._shown_at, time.monotonic()
        if silent > demand_keeper.FRONT_TIMEOUT / 2:
            self._keeper = None  # it may have ended
        try:
            if self._keeper is not None and ray.wait([self._told], timeout=0)[0]:
                ray.get(self._told)
            if self._keeper is None:
                # On the head: its actor would prevent any other node from being removed.
                keeper: Any = ray.remote(num_cpus=0, resources={HEAD: 0.001}, max_restarts=-1)(DemandKeeper)
                self._keeper = keeper.options(name=demand_keeper.NAME, get_if_exists=True, lifetime="detached").remote()
            self._told = self._keeper.show.remote(self._id, self._demand)
        except Exception as error:
            self._keeper = None  # the next call starts another one
            print(f"the autoscaler was not asked for room: {error}", file=sys.stderr)

    def _look(self) -> None:
        """Start agents where there are none, and report what has become of the others."""
        alive = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}
        for gone in self._places.keys() - alive.keys():
            self._end(self._places.pop(gone))
            # Whatever its state: sessions may be waiting for its agent.
            self._tell("down", node=gone)
        for name, node in alive.items():
            place = self._places.setdefault(name, _Place())
            if place.agent is None:
                if not place.is_resting and time.monotonic() >= place.not_before:
                    self._start(name, place)
            elif place.starting is not None:
                self._look_at_start(name, place, node)
            elif ray.wait([place.running], timeout=0)[0]:
                self._drop(name)

    def _start(self, name: str, place: _Place) -> None:
        place.agent = self._actor.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=name, soft=False)
        ).remote()
        place.starting = place.agent.start.remote(self._task["options"])

    def _look_at_start(self, name: str, place: _Place, node: dict[str, Any]) -> None:
        if not ray.wait([place.starting], timeout=0)[0]:
            return
        try:
            listening = ray.get(place.starting)
        except Exception as error:
            self._tell("failed", node=name, host=node["NodeManagerAddress"], problem=_problem(error))
            self._drop(name)
            return
        place.starting = None
        place.running = place.agent.wait.remote()
        place.backoff = _BACKOFF
        self._tell("up", node=name, resources=node["Resources"], labels=node["Labels"], **listening)

    def _drop(self, name: str) -> None:
        """Forget the agent of a node, and start another one after a delay."""
        place = self._places.get(name)
        if place is None or (place.agent is None and not place.is_resting):
            return
        was_known = place.is_resting or place.running is not None
        self._end(place)
        place.is_resting = False
        place.not_before = time.monotonic() + place.backoff
        place.backoff = min(2 * place.backoff, _MAX_BACKOFF)
        if was_known:
            self._tell("down", node=name)

    def _end(self, place: _Place) -> None:
        """End the agent of a node, if it has one."""
        if place.agent is not None:
            try:
                ray.kill(place.agent)
            except Exception as error:
                print(f"an agent could not be killed: {error}", file=sys.stderr)
            place.agent = place.starting = place.running = None

    def _rest(self, name: str) -> None:
        """End the agent of a node without sessions: Ray's autoscaler removes no node that has an actor."""
        place = self._places.get(name)
        if place is not None:
            self._end(place)
            place.is_resting = True

    def _wake(self, name: str) -> None:
        """Start the agent of a resting node."""
        place = self._places.get(name)
        if place is None:
            self._tell("down", node=name)  # it was removed
        elif place.is_resting:
            place.is_resting, place.not_before = False, 0.0


def _problem(error: Exception) -> str:
    """Return the cause of a failure, without the traceback that Ray adds."""
    cause = getattr(error, "cause", None) or error
    return str(cause).strip().rpartition("\n")[2] or type(cause).__name__


def main() -> None:
    """Run the driver; the first line that the front sends is the task."""
    front = socket.socket(fileno=int(sys.argv[1]))
    line = b""
    while not line.endswith(b"\n"):
        line += front.recv(1)
    driver = Driver(front, json.loads(line))
    try:
        driver.connect()
    except Exception as error:
        front.sendall(json.dumps({"event": "refused", "problem": str(error).strip()}).encode() + b"\n")
        raise SystemExit(1) from error
    driver.run()
    ray.shutdown()
    os._exit(0)  # do not wait for Ray's threads


if __name__ == "__main__":
    main()
