"""The process between the front and Ray: it keeps one agent on each node, and tells the front where they listen.

Ray is imported here and not in the front: it starts threads, handles signals, and may block for seconds.

Both send lines of JSON over a UNIX socket. To the front go ``connected`` (how many nodes there are), ``up`` (a node
serves), ``failed`` (its server does not start) and ``down``; from there come ``replace`` (a node is lost) and
``demand`` (resources that sessions wait for).
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gymtwist.placement.node_agent import NodeAgent

#: Seconds between two looks at the cluster.
_INTERVAL = 0.5
#: Seconds before an agent is started again on a node where one has ended, at first and at most.
_BACKOFF, _MAX_BACKOFF = 1.0, 30.0


class _Place:
    """A node of the cluster.

    Attributes:
        agent: Its agent.
        starting: Fires with where its server listens; None once that is known.
        running: Fires when its server has ended; None before it has started.
        not_before: When to start an agent there.
        backoff: Seconds to wait after the next failure.
    """

    def __init__(self) -> None:
        self.agent: Any = None
        self.starting: Any = None
        self.running: Any = None
        self.not_before = 0.0
        self.backoff = _BACKOFF


class Driver:
    """Keeps the agents.

    Args:
        front: The socket of the front.
        task: What it says first: the address of the cluster, the options, and the resources of a session.
    """

    def __init__(self, front: socket.socket, task: dict[str, Any]) -> None:
        self._front = front
        self._task = task
        self._received = b""
        self._places: dict[str, _Place] = {}
        self._demand: list[dict[str, float]] = []
        actor: Any = ray.remote(num_cpus=0, max_concurrency=2, max_restarts=0)(NodeAgent)
        self._actor = actor

    def connect(self) -> None:
        """Connect to the cluster."""
        address = self._task["address"]
        ray.init(
            address=address or "auto",
            log_to_driver=False,
            namespace="gymtwist",
            runtime_env=self._task["runtime_env"] or None,
            logging_level="ERROR",
        )
        self._tell("connected", nodes=len([each for each in ray.nodes() if each["Alive"]]))

    def _tell(self, event: str, **fields: Any) -> None:
        self._front.sendall(json.dumps({"event": event, **fields}).encode() + b"\n")

    def run(self) -> None:
        """Keep the agents until the front closes its socket."""
        while self._listen():
            self._look()

    def _listen(self) -> bool:
        readable, _, _ = select.select([self._front], [], [], _INTERVAL)
        if not readable:
            return True
        data = self._front.recv(65536)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said["event"] == "replace":
                self._drop(said["node"])
            elif said["event"] == "demand":
                self._show_demand(said["bundles"])
        return bool(data)

    def _show_demand(self, bundles: list[dict[str, float]]) -> None:
        """Let Ray's autoscaler make room for what waits and for what runs."""
        if bundles != self._demand:
            self._demand = bundles
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=bundles)

    def _look(self) -> None:
        """Start agents where there are none, and tell what has become of the others."""
        alive = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}
        for gone in self._places.keys() - alive.keys():
            self._drop(gone)
            del self._places[gone]
        for name, node in alive.items():
            place = self._places.setdefault(name, _Place())
            if place.agent is None:
                if time.monotonic() >= place.not_before:
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
        self._tell("up", node=name, resources=node["Resources"], **listening)

    def _drop(self, name: str) -> None:
        """Forget the agent of a node, and start another after a while."""
        place = self._places.get(name)
        if place is None or place.agent is None:
            return
        was_up = place.running is not None
        try:
            ray.kill(place.agent)
        except Exception as error:
            print(f"an agent could not be killed: {error}", file=sys.stderr)
        place.agent = place.starting = place.running = None
        place.not_before = time.monotonic() + place.backoff
        place.backoff = min(2 * place.backoff, _MAX_BACKOFF)
        if was_up:
            self._tell("down", node=name)


def _problem(error: Exception) -> str:
    """Return the cause of a failure without Ray's traceback of the worker."""
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
    os._exit(0)  # Ray's threads are not waited for


if __name__ == "__main__":
    main()
