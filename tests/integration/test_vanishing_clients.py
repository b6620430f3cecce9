"""Clients that are gone without a word, and clients that only seem to be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from gymtwist_conformance.reference_client.classic_client import RESET, step
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.server_process import REPOSITORY

#: Linux (linux/tcp.h): with it set, closing a socket sends nothing. Python's socket module does not name it.
TCP_REPAIR = 19

#: "Within about" the keepalive time: what a session may take to end beyond it.
ABOUT = 10.0

CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from gymtwist_conformance.reference_client import ClassicClient
from gymtwist_conformance.reference_client.classic_client import RESET, step
client = ClassicClient.connect(int(sys.argv[3]), sys.argv[2]).open("Observe/Frame-v0")
if sys.argv[4] == "idle":
    client.reset()
    print(client.port, flush=True)
    client.read(1)
else:
    client.send(RESET + step(0) * 10_000)
    client.read_observation()
    client.read_step()
    print(client.port, flush=True)
    while True:
        client.read_step()
"""


def test_a_vanished_client_ends_its_session(start_once: Start) -> None:
    """No FIN and no RST: only the kernel's probes can tell."""
    server = start_once("--keepalive", "1")
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.reset()
        try:
            client.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("TCP_REPAIR needs CAP_NET_ADMIN")
    server.end(session, 1 + ABOUT)
    assert not left_after([handle], PATIENCE)


class Network(NamedTuple):
    """A network namespace at the other end of a cable."""

    name: str
    address: str
    cable: str

    def unplug(self) -> None:
        """Nothing goes through the cable any more."""
        self._set("down")

    def plug(self) -> None:
        """What was unplugged is plugged in again."""
        self._set("up")

    def _set(self, state: str) -> None:
        subprocess.run(["ip", "-n", self.name, "link", "set", self.cable, state], check=True)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Make a namespace with a cable to this one, where that may be done."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace takes root and the command ip")
    number = os.getpid() % 16384
    here, there = f"gth{number}", f"gtt{number}"
    subnet = f"10.213.{number // 64}.{number % 64 * 4 + 1}", f"10.213.{number // 64}.{number % 64 * 4 + 2}"
    made = subprocess.run(["ip", "netns", "add", there], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace: {made.stderr.strip()}")
    try:
        for command in (
            f"link add {here} type veth peer name {there} netns {there}",
            f"address add {subnet[0]}/30 dev {here}",
            f"link set {here} up",
            f"-n {there} address add {subnet[1]}/30 dev {there}",
            f"-n {there} link set {there} up",
        ):
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"ip {command}: {done.stderr.strip()}")
        yield Network(there, subnet[0], there)
    finally:
        subprocess.run(["ip", "link", "delete", here], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", there], capture_output=True, check=False)


@pytest.mark.parametrize("doing", ["idle", "streaming"])
def test_a_client_behind_a_cut_cable_ends_its_session(start_once: Start, network: Network, doing: str) -> None:
    """A machine that is gone answers no probe and acknowledges no reply; the session ends all the same.

    While replies are under way no probe is sent: the kernel sends them again for a quarter of an hour,
    unless it is told otherwise.
    """
    server = start_once("--trusted-network", "--keepalive", "2", port=f"tcp:0:interface={network.address}")
    words = ["ip", "netns", "exec", network.name, sys.executable, "-c", CLIENT, str(REPOSITORY / "conformance")]
    words += [network.address, str(server.port), doing]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as player:
        try:
            assert player.stdout is not None
            port = int(player.stdout.readline())
            line = server.wait_for(rf"\[session (\d+)\] started: .* for \S+:{port} .*process (\d+)\)")
            handle = Handle(int(line.group(2)))
            network.unplug()
            server.wait_for(rf"\[session {line.group(1)}\] ended: ", 2 + ABOUT)
            assert not left_after([handle], PATIENCE)
        finally:
            player.kill()
            network.plug()


def test_a_client_that_reads_late_has_not_vanished(start_once: Start) -> None:
    """A window that stays closed for longer than the keepalive time is a slow client, not an absent one."""
    server = start_once("--keepalive", "1")
    with server.open("Observe/Frame-v0") as client:
        session = server.session(client)
        client.send(RESET + step(0) * 300)
        client.read_observation()
        assert server.search(rf"\[session {session.number}\] ended", 5) is None
        for _ in range(300):
            assert client.read_step().reward == 1.0


def test_a_client_that_is_silent_has_not_vanished(start_once: Start) -> None:
    """A learner may think for longer than the keepalive time."""
    server = start_once("--keepalive", "1")
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        client.reset()
        assert server.search(rf"\[session {session.number}\] ended", 4) is None
        client.play()


def test_a_client_that_never_reads_is_idle(start: Start) -> None:
    """Replies pile up to what the kernel holds, then the session waits; waiting is limited."""
    server = start("--idle-timeout", "1.5", "--warm", "1")
    with server.open("Observe/Frame-v0") as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.send(RESET + step(0) * 5000)
        assert server.end(session).startswith("idle for more than 1.5 s; ")
        assert not left_after([handle], PATIENCE)
        with server.open("CartPole-v1") as other:
            other.play()
