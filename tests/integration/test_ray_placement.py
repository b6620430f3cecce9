"""Sessions on the nodes of a real Ray cluster: three nodes on this machine, each with an address of its own."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from gymtwist_conformance.reference_client import INT32, FramedClient
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually, left_after
from tests.support.ray_nodes import RayNode, RayNodes, stop_process
from tests.support.server_process import ServerProcess, connected

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (gymtwist[ray])"),
]

#: Sessions that each node has room for.
ROOM = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """Three nodes."""
    with RayNodes(3, ROOM, tmp_path_factory.mktemp("ray")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def module_front(cluster: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A front whose nodes all serve."""
    words = ("--place", cluster.address, "--warm", "2")
    with ServerProcess(tmp_path_factory.mktemp("front"), *words, measured=True) as server:
        for node in cluster.nodes:
            server.wait_for(rf"\[node {node.host} \(\w+\)\] has room for {ROOM} sessions")
        yield server


@pytest.fixture
def front(module_front: ServerProcess) -> ServerProcess:
    """The front, when the sessions of the test before have ended: the next ones then spread evenly."""
    eventually(lambda: not api(module_front, "sessions")["sessions"], PATIENCE)
    return module_front


class Twin:
    """A remote environment, and the same in this process.

    Attributes:
        host: The node that the remote one is on.
    """

    def __init__(self, server: ServerProcess, seed: int, **options: Any) -> None:
        """Connect, and reset both."""
        since = server.mark()
        self.local = gymnasium.make("CartPole-v1")
        self.remote = gymtwist.client.connect(f"localhost:{server.port}", "CartPole-v1", **options)
        self.random = np.random.default_rng(seed)
        self.reset(seed)
        self.number, self.host = placed(server, since)

    def reset(self, seed: int) -> None:
        """Reset both."""
        assert self.remote.reset(seed=seed)[0].tobytes() == self.local.reset(seed=seed)[0].tobytes()

    def play(self, steps: int) -> None:
        """Step both, and compare what they return."""
        for _ in range(steps):
            action = int(self.random.integers(2))
            remote, local = self.remote.step(action), self.local.step(action)
            assert remote[0].tobytes() == local[0].tobytes()
            assert remote[1:4] == local[1:4]
            if local[2] or local[3]:
                self.reset(int(self.random.integers(1000)))

    def close(self) -> None:
        """Close both."""
        self.remote.close()
        self.local.close()


def placed(server: ServerProcess, since: int) -> tuple[int, str]:
    """Return the number of the session that has started, and the node that it is on."""
    found = server.wait_for(r"\[session (\d+)\] started: .* on ([\d.]+) \(", since=since)
    return int(found[1]), found[2]


def test_sixty_sessions_play_on_three_nodes_as_in_process(front: ServerProcess) -> None:
    """They fill the nodes evenly, and one more waits until there is room."""
    with contextlib.ExitStack() as stack:
        twins = [stack.enter_context(contextlib.closing(Twin(front, seed))) for seed in range(3 * ROOM)]
        assert sorted(twin.host for twin in twins) == sorted(f"127.0.0.{2 + i % 3}" for i in range(3 * ROOM))
        for twin in twins:
            twin.play(25)
        since = front.mark()
        with front.connect() as waiting:
            waiting.send(b"\x00\x0b\x00\x00\x00CartPole-v1")
            front.wait_for("queued", since=since)
            twins.pop().close()
            waiting.read_error()


def test_classic_clients_play_on_nodes(front: ServerProcess) -> None:
    """As with a server of one machine."""
    with front.open("CartPole-v1") as client:
        client.play()


class Rest:
    """An instance of the REST interface."""

    def __init__(self, port: int) -> None:
        """Make it."""
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.path = f"/v1/envs/{self.ask('/v1/envs/', {'env_id': 'CartPole-v1'})['instance_id']}"

    def ask(self, path: str, body: Any = None) -> Any:
        """Send a request; return the JSON of the answer."""
        self.connection.request("POST", path, json.dumps(body or {}), {"Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())

    def close(self) -> None:
        """Close it."""
        self.connection.request("POST", f"{self.path}/close/", "{}", {"Content-Type": "application/json"})
        self.connection.getresponse().read()
        self.connection.close()


def test_instances_of_the_rest_interface_play_on_nodes(front: ServerProcess) -> None:
    """The front plays each as a client of a node."""
    with contextlib.closing(Rest(front.port)) as instance:
        assert len(instance.ask(f"{instance.path}/reset/")["observation"]) == 4
        assert instance.ask(f"{instance.path}/step/", {"action": 1})["reward"] == 1.0


# Connections to nodes


def moved(front: ServerProcess) -> FramedClient:
    """Return a client that was told to connect to a node."""
    client = FramedClient(connected(("127.0.0.1", front.port)), INT32)
    client.say("make", id="CartPole-v1", direct=True)
    return client


def test_a_direct_client_plays_as_in_process(front: ServerProcess) -> None:
    """On its node, with shared memory or without; the front has the session until it ends."""
    for options in ({}, {"shared_memory": False}, {"protocol": "netstring"}):
        with contextlib.closing(Twin(front, 3, direct=True, **options)) as twin:
            assert peer_of(twin) == twin.host
            twin.play(100)
        front.wait_for(rf"\[session {twin.number}\] ended: the client left; .* [1-9]\d+ steps")


def peer_of(twin: Twin) -> str:
    """Return the address that the client is connected to."""
    with socket.socket(fileno=os.dup(twin.remote._session.connection.descriptor)) as connection:
        host: str = connection.getpeername()[0]
        return host


def test_direct_vectors_are_on_several_nodes(front: ServerProcess) -> None:
    """Each process is a session, and so has a place of its own."""
    remote = gymtwist.client.connect_vec(
        f"localhost:{front.port}", "CartPole-v1", 6, processes=3, vectorization_mode="sync", direct=True
    )
    local = gymnasium.make_vec("CartPole-v1", 6, vectorization_mode="sync")
    with contextlib.closing(remote), contextlib.closing(local):
        assert remote.reset(seed=5)[0].tobytes() == local.reset(seed=5)[0].tobytes()
        for step in range(50):
            actions = np.full(6, step % 2)
            assert remote.step(actions)[0].tobytes() == local.step(actions)[0].tobytes()
        assert len({row["node"] for row in api(front, "sessions")["sessions"]}) == 3


def api(front: ServerProcess, what: str) -> Any:
    """Return what the API says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{front.port}/api/{what}") as answer:
        return json.loads(answer.read())


def test_the_front_knows_what_sessions_do_on_nodes(front: ServerProcess) -> None:
    """Their steps and episodes, within a second or two, and how full each node is."""
    with contextlib.closing(Twin(front, 11)) as twin:
        twin.play(100)

        def row() -> Any:
            return api(front, f"sessions/{twin.number}")

        eventually(lambda: row()["steps"] == 100 and row()["memory"], PATIENCE)
        found = row()
        assert found["node"].startswith(twin.host)
        assert found["episodes"] == len(found["last_episodes"]) > 0
        assert found["state"] == "waiting"
        nodes = {each["name"]: each["sessions"] for each in api(front, "status")["nodes"]}
        assert nodes[found["node"]] == {"taken": 1, "limit": ROOM}
        with urllib.request.urlopen(f"http://127.0.0.1:{front.port}/metrics") as answer:
            assert f'gymtwist_node_sessions{{node="{found["node"]}"}} 1.0' in answer.read().decode()


def test_a_ticket_is_valid_once(front: ServerProcess) -> None:
    """Whoever brings another one, or the same again, gets nothing."""
    with moved(front) as client:
        told = client.reply("moved")
        address, ticket = (told["host"], told["port"]), told["ticket"].encode() + b"\n"
        with connected(address) as wrong:
            wrong.sendall(b"0" * len(ticket))
            assert wrong.recv(100) == b""
        with FramedClient(connected(address), INT32) as there, connected(address) as late:
            there.send(ticket)
            there.reply("make")
            late.sendall(ticket)
            assert late.recv(100) == b""
            there.ask("reset", seed=1)


def test_a_client_that_cannot_reach_its_node_is_relayed(front: ServerProcess) -> None:
    """It sends the make message again."""
    with moved(front) as client:
        client.reply("moved")
        client.say("make", id="CartPole-v1", direct=True)
        client.reply("make")
        client.ask("reset", seed=1)


# Faults


def killed_raylet(cluster: RayNodes, node: RayNode) -> None:
    """Kill the raylet, which stays a zombie: the process that started it does not wait for it."""
    os.kill(node.raylet, signal.SIGKILL)


def stopped_raylet(cluster: RayNodes, node: RayNode) -> None:
    """Stop the raylet, as if its machine froze."""
    stop_process(node.raylet)


def stopped_server(cluster: RayNodes, node: RayNode) -> None:
    """Stop the server, whose sessions go on, as if the network to it was cut."""
    stop_process(cluster.server(node))


def killed_agent(cluster: RayNodes, node: RayNode) -> None:
    """Kill the agent, which Ray does not restart."""
    os.kill(cluster.agent(node), signal.SIGKILL)


def removed_node(cluster: RayNodes, node: RayNode) -> None:
    """Remove the node in order."""
    cluster.remove(node, graceful=True)


@pytest.mark.parametrize("fault", [killed_agent, stopped_server, stopped_raylet, killed_raylet, removed_node])
def test_sessions_of_a_lost_node_go_on_elsewhere(
    cluster: RayNodes, front: ServerProcess, fault: Callable[[RayNodes, RayNode], None]
) -> None:
    """The front knows soon; those elsewhere notice nothing, nothing is left there, and the places come back."""
    with contextlib.ExitStack() as stack:
        # Of each three, one is on each node.
        twins = [stack.enter_context(contextlib.closing(Twin(front, seed, direct=seed > 2))) for seed in range(6)]
        for twin in twins:
            twin.play(5)
        since = front.mark()
        classic = stack.enter_context(front.open("CartPole-v1"))
        classic_host = placed(front, since)[1]
        lost = cluster.nodes[-1]
        losers = [twin for twin in twins if twin.host == lost.host]
        assert losers
        there, since, began = cluster.below(lost), front.mark(), time.monotonic()
        fault(cluster, lost)
        # A raylet must be found stopped for a while before that counts.
        patience = 5.0 if fault is stopped_raylet else 2.0
        front.wait_for(rf"\[node {re.escape(lost.host)} .* lost", timeout=patience, since=since)
        for twin in twins:
            if twin not in losers:
                twin.play(50)
        if classic_host == lost.host:
            assert classic.read_to_end() == b""
        else:
            classic.play()
        # A server that is stopped is killed with its agent, which the front replaces.
        assert not left_after(there, began + 5.0 - time.monotonic())
        for twin in losers:
            with pytest.raises(gymtwist.client.EnvironmentFailed, match="was lost with the node") as error:
                twin.remote.step(0)
            assert error.value.reset_needed
            twin.reset(7)
            twin.play(50)
        if fault is stopped_raylet:
            # Ray may have found it dead by now, and does not take it back then.
            os.kill(lost.raylet, signal.SIGKILL)
        if fault in (stopped_raylet, killed_raylet, removed_node):
            with contextlib.suppress(ValueError):
                cluster.nodes.remove(lost)
            lost = cluster.add()
        front.wait_for(rf"\[node {re.escape(lost.host)} .* has room for {ROOM}", since=since)


def test_nothing_is_left_on_nodes_when_the_front_dies(cluster: RayNodes, front: ServerProcess) -> None:
    """Neither servers nor sessions, whether relayed or direct; this test is the last one of the front."""
    with contextlib.closing(Twin(front, 1)), contextlib.closing(Twin(front, 2, direct=True)) as twin:
        there = [handle for node in cluster.nodes for handle in cluster.below(node)]
        assert len(there) > 2 * len(cluster.nodes)
        front.process.kill()
        assert not left_after(there, 5.0)
        with pytest.raises(gymtwist.client.RemoteError):
            twin.remote.step(0)
