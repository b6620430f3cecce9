"""Sessions on the nodes of a real Ray cluster: three nodes on this machine, each with an address of its own."""

from __future__ import annotations

import collections
import contextlib
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from gymtwist_conformance.reference_client import INT32, FramedClient
from tests.support.patience import PATIENCE
from tests.support.process_inspection import command_line, descendants, eventually, left_after
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


def test_sessions_have_the_priority_of_the_raylet(cluster: RayNodes, front: ServerProcess) -> None:
    """Ray's actors have a lower one, and the kernel kills them first when memory runs out."""
    for node in cluster.nodes:
        server = cluster.server(node)
        assert os.getpriority(os.PRIO_PROCESS, server) == os.getpriority(os.PRIO_PROCESS, node.raylet)
        server_score, score = (Path(f"/proc/{each}/oom_score_adj").read_text() for each in (server, node.raylet))
        assert server_score == score


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


def test_a_vector_spreads_over_the_nodes(front: ServerProcess) -> None:
    """Eight sessions of eight environments each, relayed."""
    remote = gymtwist.client.connect_vec(
        f"localhost:{front.port}", "CartPole-v1", 64, processes=8, vectorization_mode="sync"
    )
    local = gymnasium.make_vec("CartPole-v1", 64, vectorization_mode="sync")
    with contextlib.closing(remote), contextlib.closing(local):
        assert remote.reset(seed=5)[0].tobytes() == local.reset(seed=5)[0].tobytes()
        for step in range(20):
            actions = np.full(64, step % 2)
            assert remote.step(actions)[0].tobytes() == local.step(actions)[0].tobytes()
        nodes = collections.Counter(row["node"] for row in api(front, "sessions")["sessions"])
        assert sorted(nodes.values()) == [2, 3, 3]


# Ray's client server forks while threads of gRPC run: on a busy machine its process may hang.
@pytest.mark.parametrize("way", ["", pytest.param("ray://", marks=pytest.mark.sweep)])
def test_another_front_packs_sessions_and_prepares_its_nodes(
    cluster: RayNodes, front: ServerProcess, tmp_path: Path, way: str
) -> None:
    """Its agents are its own; it reaches the cluster as a member, or through Ray's client server."""
    if way and importlib.util.find_spec("grpc") is None:
        pytest.skip("Ray's client needs grpcio (ray[client])")
    prepared = tmp_path / "environment.json"
    # Ray's client has 30 seconds for its start, and preparing takes some of them.
    prepared.write_text("{}" if way else '{"env_vars": {"GYMTWIST_PREPARED": "yes"}}')
    address = f"ray://{cluster.nodes[0].host}:{cluster.client_port}" if way else cluster.address
    words = ("--place", address, "--session-cpus", str(ROOM / 2), "--place-strategy", "pack")
    with (
        ServerProcess(tmp_path, *words, "--runtime-env", str(prepared)) as server,
        contextlib.closing(Twin(front, 7)),
    ):
        for node in cluster.nodes:
            server.wait_for(rf"\[node {node.host} \(\w+\)\] has room for 2 sessions")
            servers = [
                each for each in descendants(node.raylet) if command_line(each).endswith("-m gymtwist.placement")
            ]
            have = [b"GYMTWIST_PREPARED=yes" in Path(f"/proc/{each}/environ").read_bytes() for each in servers]
            assert sum(have) == (0 if way else 1)
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(contextlib.closing(Twin(server, seed))).host for seed in range(4)]
            # The autoscaler is asked for room for all of them, and for the session of the first front.
            asked = [{"CPU": 1.0}, *4 * [{"CPU": ROOM / 2}]]
            eventually(lambda: sorted(cluster.demand() or (), key=str) == sorted(asked, key=str), PATIENCE)
        eventually(lambda: cluster.demand() == [{"CPU": 1.0}], PATIENCE)
        assert server.search("process that speaks to Ray has ended", 0) is None
        assert hosts[0] == hosts[1] != hosts[2] == hosts[3]


@pytest.mark.sweep  # Ray's client server: see above
def test_a_client_server_that_does_not_start_at_once(cluster: RayNodes, tmp_path: Path) -> None:
    """The front asks Ray for another one."""
    if importlib.util.find_spec("grpc") is None:
        pytest.skip("Ray's client needs grpcio (ray[client])")

    def client_servers() -> list[int]:
        return [each for each in descendants(cluster.process.pid) if "--mode=specific-server" in command_line(each)]

    address = f"ray://{cluster.nodes[0].host}:{cluster.client_port}"
    with ServerProcess(tmp_path, "--place", address, "--session-cpus", "1") as server:
        eventually(lambda: bool(client_servers()), PATIENCE)
        os.kill(client_servers()[0], signal.SIGKILL)
        server.wait_for("Ray: (Starting Ray client server failed|Proxy failed to Connect to backend); trying again")
        server.wait_for(rf"\[node {cluster.nodes[0].host} \(\w+\)\] has room for")


#: Registers environments whose infos name the GPUs that CUDA would find.
SETUP = """
import os

import gymnasium


class Seeing(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "all")}


for name in ("Usual", "Half", "Whole", "Huge", "Near", "Far"):
    gymnasium.register(f"{name}-v0", Seeing)
"""
NEEDS = """
session-cpus = 0.5

[session-needs."Half-*"]
gpus = 0.5

[session-needs."Whole-*"]
gpus = 1
resources = {simulator = 1}

[session-needs."Huge-*"]
gpus = 3

[session-needs."Near-*"]
labels = {zone = "in(eu, us)"}

[session-needs."Far-*"]
labels = {zone = "asia"}
"""


def shows_what_is_taken(server: ServerProcess, control: Path, node: RayNode, lack: str) -> None:
    """Check what the server tells of a node without free GPUs, and of a session that waits for one."""
    status = api(server, "status")
    (found,) = (each for each in status["nodes"] if each["name"].startswith(node.host))
    gpus, simulators = {"taken": 2.0, "limit": 2.0}, {"taken": 1.0, "limit": 1.0}
    assert found["resources"].items() >= {"GPU": gpus, "simulator": simulators}.items()
    assert found["resources"].keys() == {"CPU", "GPU", "simulator"}
    assert not found["resting"]
    assert status["waiting"] == [{"environment": "Whole-v0", "count": 1, "lack": lack}]
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        metrics = answer.read().decode()
    assert f'gymtwist_node_resources_taken{{node="{found["name"]}",resource="GPU"}} 2.0' in metrics
    assert f'gymtwist_node_resources_limit{{node="{found["name"]}",resource="simulator"}} 1.0' in metrics
    assert 'gymtwist_queue_resources{resource="GPU"} 1.0' in metrics
    rows = subprocess.check_output(
        [sys.executable, "-m", "gymtwist.control.gymsockctl", "--socket", str(control), "status"], text=True
    )
    assert re.search(rf"node +{re.escape(found['name'])}: 6 of \d+ sessions, .*2 of 2 GPU, .*1 of 1 simulator", rows)
    assert f"1 for Whole-v0: {lack}" in rows


def test_sessions_get_what_their_environments_need(cluster: RayNodes, front: ServerProcess, tmp_path: Path) -> None:
    """GPUs of their own, other resources, and nodes with labels; who has no room waits, and who cannot have is told."""
    setup, config, control = tmp_path / "setup.py", tmp_path / "gymsock.toml", tmp_path / "control"
    setup.write_text(SETUP)
    config.write_text(NEEDS)
    options = {"num_gpus": 2, "labels": {"zone": "eu"}, "resources": {"simulator": 1}}
    node = cluster.add(**options, env_vars={"CUDA_VISIBLE_DEVICES": "5,7"})
    words = ("--place", cluster.address, "--config", str(config), "--setup", str(setup), "--place-strategy", "pack")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(tmp_path, *words, "--control", str(control)))
        server.wait_for(rf"\[node {node.host} .* has room for {2 * ROOM} sessions")

        def seen(name: str) -> tuple[Any, str, str]:
            since = server.mark()
            remote = gymtwist.client.connect(f"localhost:{server.port}", f"{name}-v0")
            stack.callback(remote.close)
            gpus = remote.reset()[1]["gpus"]
            return remote, placed(server, since)[1], gpus

        assert [seen("Half")[1:] for _ in range(2)] == 2 * [(node.host, "5")]
        whole, *rest = seen("Whole")
        assert rest == [node.host, "7"]
        assert seen("Near")[1:] == (node.host, "")
        assert seen("Usual")[1:] == (node.host, "")  # the node with the least room
        since = server.mark()
        with FramedClient(connected(("127.0.0.1", server.port)), INT32) as waiting:
            waiting.say("make", id="Whole-v0")
            lack = "no node has room for a session that takes 0.5 CPU, 1 GPU, 1 simulator"
            server.wait_for(rf"queued .* for Whole-v0: {lack}", since=since)
            assert seen("Usual")  # others pass it
            bundle = {"CPU": 0.5, "GPU": 1.0, "simulator": 1.0}
            eventually(lambda: (cluster.demand() or []).count(bundle) == 2, PATIENCE)
            shows_what_is_taken(server, control, node, lack)
            whole.close()
            waiting.reply("make")
            assert waiting.ask("reset")["info"]["gpus"] == "7"
        for name, problem in (
            ("Huge", r'no node can have .* gpus of "Huge-\*" in --session-needs is 3; the node has 2 GPU'),
            ("Far", r'labels.zone of "Far-\*" in --session-needs is "asia"; the label zone of the node is eu'),
        ):
            with pytest.raises(gymtwist.client.RequestRefused, match=problem) as refused:
                gymtwist.client.connect(f"localhost:{server.port}", f"{name}-v0")
            assert refused.value.code == "node-missing"
    since = front.mark()
    cluster.remove(node, graceful=True)
    front.wait_for(rf"\[node {re.escape(node.host)} .* lost", since=since)


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


def test_a_ticket_that_nobody_uses_gives_its_place_back(front: ServerProcess) -> None:
    """The client is told so, and may ask again."""
    with moved(front) as client:
        client.reply("moved")
        told = client.hear()
        assert told["op"] == "error"
        assert "did not connect to the node" in told["message"]
    eventually(lambda: not api(front, "sessions")["sessions"], PATIENCE)


@pytest.mark.parametrize("size", [10, 2**20])
def test_a_client_comes_back_with_any_request(front: ServerProcess, size: int) -> None:
    """It gets an error in the place of the reply, and goes on."""
    with moved(front) as client:
        told = client.reply("moved")
        with FramedClient(connected((told["host"], told["port"])), INT32) as there:
            there.send(told["ticket"].encode() + b"\n")
            there.reply("make")
        client.say("reset", seed=1, options={"text": "x" * size})
        assert client.hear()["reset_needed"]
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
        eventually(cluster.demand, PATIENCE)
        front.process.kill()
        assert not left_after(there, 5.0)
        with pytest.raises(gymtwist.client.RemoteError):
            twin.remote.step(0)
    # The request for room of a front that has died does not last.
    eventually(lambda: cluster.demand() == [], PATIENCE)
