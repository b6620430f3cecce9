"""Nodes of a real Ray cluster whose network is cut, and a cluster whose head dies: a node is in a network namespace."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import gymtwist.client
from tests.integration.test_ray_placement import Twin, front
from tests.support.patience import PATIENCE
from tests.support.process_inspection import left_after
from tests.support.ray_nodes import RayNodes
from tests.support.server_process import ServerProcess

__all__ = ["front"]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (gymtwist[ray])"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="there is no program `ip`: it comes with iproute2"),
]

ROOM = 8
#: Ray itself must not count the node as dead, but give up soon when its head is gone.
SETTINGS = {"health_check_failure_threshold": 100, "gcs_rpc_server_reconnect_timeout_s": 5}


def ip(*words: str) -> None:
    """Run the program `ip`."""
    subprocess.run(("ip", *words), check=True, capture_output=True)


class Link:
    """A network namespace, and the link to it.

    Attributes:
        name: The name of the namespace.
        here: The IP address of this end.
        there: The IP address of the other end.
    """

    def __init__(self) -> None:
        number = os.getpid()
        self.name = f"gymtwist{number}"
        # Other runs of these tests may have links on this machine, too.
        network = f"10.{128 + number // 256 % 64}.{number % 256}"
        self.here, self.there = f"{network}.1", f"{network}.2"
        self._device = f"gtc{number}"
        other = f"gtd{number}"
        ip("netns", "add", self.name)
        ip("link", "add", self._device, "type", "veth", "peer", "name", other)
        ip("link", "set", other, "netns", self.name)
        ip("address", "add", f"{self.here}/30", "dev", self._device)
        ip("-n", self.name, "address", "add", f"{self.there}/30", "dev", other)
        ip("-n", self.name, "link", "set", other, "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        self.set("up")

    def set(self, state: str) -> None:
        """Connect (up) or cut (down)."""
        ip("link", "set", self._device, state)

    def close(self) -> None:
        """Remove both; the devices end with the namespace."""
        ip("netns", "delete", self.name)


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    """A link to a namespace."""
    with contextlib.closing(Link()) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(link: Link, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """Two nodes, one of which is behind the link."""
    with RayNodes(1, ROOM, tmp_path_factory.mktemp("ray"), link.here, SETTINGS) as nodes:
        nodes.add_in_namespace(link.name, link.there)
        yield nodes


@pytest.fixture(scope="module")
def module_front(cluster: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A front whose nodes both serve."""
    with ServerProcess(tmp_path_factory.mktemp("front"), "--place", cluster.address, measured=True) as server:
        for node in cluster.nodes:
            server.wait_for(has_room(node.host))
        yield server


def has_room(host: str) -> str:
    """Return a pattern of the line that says that a node serves."""
    return rf"\[node {re.escape(host)} \(\w+\)\] has room for {ROOM} sessions"


@pytest.mark.parametrize("seconds", [0.0, 12.0])
def test_sessions_of_a_node_that_is_cut_off_go_on_elsewhere(
    link: Link, cluster: RayNodes, front: ServerProcess, seconds: float
) -> None:
    """Whether the link comes back before direct clients notice it or not; the node ends its sessions by itself."""
    with contextlib.ExitStack() as stack:
        twins = [stack.enter_context(contextlib.closing(Twin(front, seed, direct=seed > 1))) for seed in range(4)]
        losers = [twin for twin in twins if twin.host == link.there]
        assert len(losers) == 2
        there, since, began = cluster.below(cluster.nodes[-1]), front.mark(), time.monotonic()
        link.set("down")
        stack.callback(link.set, "up")
        front.wait_for(rf"\[node {re.escape(link.there)} .* lost: no answer", timeout=2.5, since=since)
        for twin in twins:
            if twin not in losers:
                twin.play(20)
        assert not left_after(there, began + 8.0 - time.monotonic())
        if not seconds:
            link.set("up")
        for twin in losers:
            with pytest.raises(gymtwist.client.EnvironmentFailed, match="was lost with the node") as error:
                twin.remote.step(0)
            assert error.value.reset_needed
            assert time.monotonic() - began < 8.0 + seconds
            twin.reset(7)
            twin.play(20)
        link.set("up")
        front.wait_for(has_room(link.there), since=since)


@pytest.mark.sweep  # Ray takes more than a minute to give up the nodes
def test_sessions_go_on_without_a_head_until_ray_gives_up_its_nodes(cluster: RayNodes, front: ServerProcess) -> None:
    """Then clients are told that there is no node, and nothing is left. This test is the last one of the cluster."""
    with contextlib.ExitStack() as stack:
        twins = [stack.enter_context(contextlib.closing(Twin(front, seed, direct=seed > 1))) for seed in range(4)]
        there = [handle for node in cluster.nodes for handle in cluster.below(node)]
        os.kill(cluster.head_services(), 9)
        for twin in twins:
            twin.play(20)
        assert not left_after(there, PATIENCE)

        def fail(twin: Twin) -> None:
            with pytest.raises(gymtwist.client.ServerFailed, match="no node had room for it within 30 s"):
                twin.remote.step(0)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fail, twins))
