"""Nodes of a real Ray cluster without sessions: Ray's autoscaler could remove them, and sessions begin there again."""

from __future__ import annotations

import contextlib
import importlib.util
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import gymtwist.client
from tests.support.patience import PATIENCE
from tests.support.process_inspection import command_line, descendants, eventually
from tests.support.ray_nodes import RayNodes
from tests.support.server_process import ServerProcess

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (gymtwist[ray])"),
]


def test_nodes_without_sessions_can_be_removed_and_serve_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their agents end. Sessions that come as soon as the front has decided that, and later, get new ones."""
    with RayNodes(1, 1, tmp_path_factory.mktemp("ray")) as cluster:
        node = cluster.add(resources={"away": 4})
        words = ("--place", cluster.address, "--cluster-grows", "--rest-after", "1", "--session-resource", "away=1")
        with ServerProcess(tmp_path, *words) as front:

            def play() -> None:
                since = front.mark()
                with contextlib.closing(gymtwist.client.connect(f"localhost:{front.port}", "CartPole-v1")) as env:
                    env.reset(seed=1)
                    front.wait_for(rf"started: .* on {node.host} ", since=since)
                    eventually(lambda: node.host not in cluster.idle(), PATIENCE)  # Ray learns of it a moment later

            since = 0
            for _ in range(3):
                front.wait_for(rf"\[node {node.host} \(\w+\)\] rests", since=since)
                since = front.mark()
                play()
            front.wait_for("rests", since=since)
            eventually(lambda: node.host in cluster.idle(), PATIENCE)
            assert not [each for each in map(command_line, descendants(node.raylet)) if "NodeAgent" in each]
            since = front.mark()
            play()
            assert cluster.agent(cluster.nodes[0])  # the head's never rests
            front.wait_for("rests", since=since)
            since = front.mark()
            cluster.remove(node, graceful=True)
            front.wait_for(rf"\[node {node.host} \(\w+\)\] lost", since=since)
            with pytest.raises(gymtwist.client.TimedOut):
                gymtwist.client.connect(f"localhost:{front.port}", "CartPole-v1", timeout=2)


def test_a_session_whose_node_is_removed_while_it_wakes_begins_on_another(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The front learns of the removal long before the agent would have had to start."""
    with RayNodes(1, 1, tmp_path_factory.mktemp("ray")) as cluster, ThreadPoolExecutor(1) as pool:
        node = cluster.add(resources={"away": 4})
        words = ("--place", cluster.address, "--cluster-grows", "--rest-after", "1", "--session-resource", "away=1")
        with ServerProcess(tmp_path, *words) as front:

            def is_waking() -> bool:
                with urllib.request.urlopen(f"http://localhost:{front.port}/api/status", timeout=PATIENCE) as answer:
                    return not any(each["resting"] for each in msgspec.json.decode(answer.read())["nodes"])

            front.wait_for(rf"\[node {node.host} \(\w+\)\] rests")
            connecting = pool.submit(
                gymtwist.client.connect, f"localhost:{front.port}", "CartPole-v1", timeout=PATIENCE
            )
            eventually(is_waking, PATIENCE)
            cluster.remove(node, graceful=False)
            front.wait_for(rf"\[node {node.host} \(\w+\)\] lost")
            cluster.add(resources={"away": 4})
            with contextlib.closing(connecting.result()) as env:
                env.reset(seed=1)
