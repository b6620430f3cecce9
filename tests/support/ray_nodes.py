"""A Ray cluster of several nodes on this machine, in processes of their own: the tests import no Ray.

Run as a program it holds the cluster, says which nodes there are, and adds nodes and removes them when it is told.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
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
        raylet: The process of its raylet, or the one that started it in a namespace.
    """

    host: str
    raylet: int


class RayNodes:
    """A cluster. Leaving its context stops it, and checks that it left no process behind.

    Args:
        count: How many nodes it has.
        cpus: How many CPUs each of them has, as Ray counts.
        directory: Where Ray keeps its files.
        head: The IP address of the first node.
        settings: Ray's own settings.
    """

    def __init__(
        self,
        count: int,
        cpus: int,
        directory: Path,
        head: str = "127.0.0.2",
        settings: Mapping[str, int] = SETTINGS,
    ) -> None:
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        variables = {**os.environ, "PYTHONPATH": path, "RAY_TMPDIR": str(directory), "RAY_USAGE_STATS_ENABLED": "0"}
        self.directory = directory
        with socket.create_server((head, 0)) as free:
            #: The port of Ray's client server, if grpcio is there.
            self.client_port: int = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(cpus), json.dumps(settings), str(self.client_port)],
            cwd=REPOSITORY,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.nodes: list[RayNode] = []
        self.address = ""
        self._hosts = 2
        self._add(command="head", host=head)
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
        # By the module: the path of a checkout may be in the name of any process.
        ours = [handle for handle in handles if " -m gymtwist." in handle.name]
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

    def add(self, **options: Any) -> RayNode:
        """Add a node, with a host of its own.

        Args:
            options: What Ray should know of it: ``num_gpus``, ``resources``, ``labels``, ``env_vars``.
        """
        self._hosts += 1
        return self._add(command="node", host=f"127.0.0.{self._hosts}", options=options)

    def add_in_namespace(self, name: str, host: str) -> RayNode:
        """Add a node in a network namespace, where it has this IP address."""
        return self._add(command="namespace", host=host, name=name)

    def _add(self, **command: Any) -> RayNode:
        added = self._tell(**command)
        self.address = added["address"]
        node = RayNode(added["host"], added["raylet"])
        self.nodes.append(node)
        return node

    def remove(self, node: RayNode, *, graceful: bool) -> None:
        """Remove a node, in order or by killing its processes."""
        self._tell(command="remove", host=node.host, graceful=graceful)
        self.nodes.remove(node)

    def demand(self) -> Any:
        """Return what Ray's autoscaler was asked for last."""
        return self._tell(command="demand", host="")["demand"]

    def idle(self) -> list[str]:
        """Return the hosts of the nodes that Ray's autoscaler would remove."""
        hosts: list[str] = self._tell(command="idle", host="")["idle"]
        return hosts

    def server(self, node: RayNode) -> int:
        """Return the process of the server of gymtwist on a node."""
        return next(each for each in descendants(node.raylet) if command_line(each).endswith("-m gymtwist.placement"))

    def head_services(self) -> int:
        """Return the process of the head that knows the nodes: Ray's GCS."""
        return next(each for each in descendants(self.process.pid) if "/gcs_server " in command_line(each))

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


def start_in_namespace(name: str, host: str, cluster: str, **options: int) -> int:
    """Start a node in a network namespace; return its first process."""
    words = ["ip", "netns", "exec", name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    words += ["--address", cluster, "--node-ip-address", host]
    words += [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
    started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert started.stdout is not None
    while b"Ray runtime started" not in started.stdout.readline():
        assert started.poll() is None, "the node does not start"
    return started.pid


def main() -> None:
    """Hold a cluster: read commands from standard input, one a line, and answer each."""
    from ray._raylet import GcsClient
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.cluster_utils import Cluster

    cluster: Any = None
    nodes: dict[str, Any] = {}
    settings = json.loads(sys.argv[2])
    fixed = {"num_cpus": int(sys.argv[1]), "object_store_memory": STORE}
    for line in sys.stdin:
        told = json.loads(line)
        host = told["host"]
        if told["command"] == "head":
            own = {"node_ip_address": host, "include_dashboard": False, "_system_config": settings}
            if importlib.util.find_spec("grpc") is not None:
                own["ray_client_server_port"] = int(sys.argv[3])
            cluster = Cluster(initialize_head=True, head_node_args={**fixed, **own})
            nodes[host] = cluster.head_node
        elif told["command"] == "node":
            nodes[host] = cluster.add_node(node_ip_address=host, **fixed, **told["options"])
        elif told["command"] == "demand":
            kept = GcsClient(address=cluster.address).internal_kv_get(b"autoscaler_resource_request", None, None)
            print(json.dumps({"demand": json.loads(kept or b"null")}), flush=True)
            continue
        elif told["command"] == "idle":
            status = get_cluster_status(cluster.address)
            print(json.dumps({"idle": [each.ip_address for each in status.idle_nodes]}), flush=True)
            continue
        elif told["command"] == "namespace":
            raylet = start_in_namespace(told["name"], host, cluster.address, **fixed)
            print(json.dumps({"host": host, "raylet": raylet, "address": cluster.address}), flush=True)
            continue
        else:
            cluster.remove_node(nodes.pop(host), allow_graceful=told["graceful"])
        raylet = nodes[host].all_processes["raylet"][0].process.pid if host in nodes else 0
        print(json.dumps({"host": host, "raylet": raylet, "address": cluster.address}), flush=True)


if __name__ == "__main__":
    main()
