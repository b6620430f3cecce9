"""A Ray cluster of several nodes on this machine, in processes of their own: the tests import no Ray.

Run as a program it holds the cluster, says which nodes there are, and adds nodes and removes them when it is told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, command_line, descendants, eventually, hold, left_after

REPOSITORY = Path(__file__).resolve().parents[2]
#: Bytes of the object store of each node, of which sessions use nothing: the least that Ray takes.
STORE = 78 * 1024 * 1024
#: The head notices a lost node sooner than by default, so that it can come back.
SETTINGS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


class RayNode(NamedTuple):
    """A node of the cluster.

    Attributes:
        host: Its IP address.
        raylet: The process of its raylet.
    """

    host: str
    raylet: int


class RayNodes:
    """A cluster. Leaving its context stops it, and checks that it left no process behind.

    Args:
        count: How many nodes it has.
        cpus: How many CPUs each of them has, as Ray counts.
        directory: Where Ray keeps its files.
    """

    def __init__(self, count: int, cpus: int, directory: Path) -> None:
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        variables = {**os.environ, "PYTHONPATH": path, "RAY_TMPDIR": str(directory), "RAY_USAGE_STATS_ENABLED": "0"}
        variables.pop("COVERAGE_PROCESS_CONFIG", None)
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(cpus)],
            cwd=REPOSITORY,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.nodes: list[RayNode] = []
        self.address = ""
        self._hosts = 1
        self.add("head")
        for _ in range(count - 1):
            self.add()

    def __enter__(self) -> RayNodes:
        """Return the cluster itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the cluster; some processes of Ray's would take their time."""
        handles = hold(descendants(self.process.pid))
        ours = [handle for handle in handles if "gym" in handle.name]
        for handle in handles:
            if handle not in ours:
                handle.kill()
        self.process.kill()
        self.process.communicate()
        left = left_after(ours, 10)
        for handle in left:
            handle.kill()
        assert error is not None or not left, f"outlived the cluster: {left}"

    def _tell(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the cluster has ended with status {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def add(self, kind: str = "node") -> RayNode:
        """Add a node, with a host of its own."""
        self._hosts += 1
        added = self._tell(command=kind, host=f"127.0.0.{self._hosts}")
        self.address = added["address"]
        node = RayNode(added["host"], added["raylet"])
        self.nodes.append(node)
        return node

    def remove(self, node: RayNode, *, graceful: bool) -> None:
        """Remove a node, in order or by killing its processes."""
        self._tell(command="remove", host=node.host, graceful=graceful)
        self.nodes.remove(node)

    def server(self, node: RayNode) -> int:
        """Return the process of the server of gymtwist on a node."""
        return next(each for each in descendants(node.raylet) if command_line(each).endswith("-m gymtwist.placement"))

    def agent(self, node: RayNode) -> int:
        """Return the process of the agent on a node."""
        return next(each for each in descendants(node.raylet) if command_line(each).startswith("ray::NodeAgent"))

    def below(self, node: RayNode) -> list[Handle]:
        """Take hold of the server of a node, and of everything below it."""
        server = self.server(node)
        return hold({server, *descendants(server)})


def stop_process(process: int) -> None:
    """Stop a process, and wait until it is stopped."""
    os.kill(process, signal.SIGSTOP)
    state = Path(f"/proc/{process}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", PATIENCE)


def main() -> None:
    """Hold a cluster: read commands from standard input, one a line, and answer each."""
    from ray.cluster_utils import Cluster

    cluster: Any = None
    nodes: dict[str, Any] = {}
    fixed = {"num_cpus": int(sys.argv[1]), "object_store_memory": STORE}
    for line in sys.stdin:
        told = json.loads(line)
        host = told["host"]
        if told["command"] == "head":
            own = {"node_ip_address": host, "include_dashboard": False, "_system_config": SETTINGS}
            cluster = Cluster(initialize_head=True, head_node_args={**fixed, **own})
            nodes[host] = cluster.head_node
        elif told["command"] == "node":
            nodes[host] = cluster.add_node(node_ip_address=host, **fixed)
        else:
            cluster.remove_node(nodes.pop(host), allow_graceful=told["graceful"])
        raylet = nodes[host].all_processes["raylet"][0].process.pid if host in nodes else 0
        print(json.dumps({"host": host, "raylet": raylet, "address": cluster.address}), flush=True)


if __name__ == "__main__":
    main()
