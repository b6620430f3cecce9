"""Many clients at once: whether all are served, how fast, and at which cost to the parent."""

from __future__ import annotations

import collections
import multiprocessing
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.process_statistics import total_cpu
from gymtwist_benchmarks.protocol_clients import random_actions
from gymtwist_benchmarks.server_launcher import ServerProcess, gymtwist_server
from gymtwist_conformance.reference_client import classic_client

#: Seconds for all clients to have their first observation, and for the last replies.
_OPENING_PATIENCE, _CLOSING_PATIENCE = 60.0, 10.0
_COMMANDS = [classic_client.step(action) for action in random_actions(2, 1000)]
#: The processes of clients.
_PROCESSES = 4
_TARGET_SHARE = 0.05


class ConcurrentClient:
    """One of many clients in a process: cheap, so that the server is measured.

    Attributes:
        steps: The number of steps it has taken.
        waited: The seconds from connect to the first observation; None until then.
    """

    def __init__(self, port: int) -> None:
        self.steps = 0
        self.waited: float | None = None
        self._connected_at = time.perf_counter()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        # The selector tells when it is connected.
        self.socket.connect_ex(("127.0.0.1", port))
        self._received = b""
        self._understand: Callable[[bytes], bool] = self._handle_opening
        self._next = classic_client.handshake("CartPole-v1")

    def act(self) -> None:
        """Send the next request."""
        self.socket.sendall(self._next)

    def read(self) -> bool:
        """Read received bytes; return whether they complete a reply, so that it is the client's turn."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        reply = self._received + data
        understood = self._understand(reply)
        self._received = b"" if understood else reply
        return understood

    def _handle_opening(self, reply: bytes) -> bool:
        if classic_client.string_end(reply) is None:
            return False
        if len(reply) > 4:
            raise ConnectionError(classic_client.error_text(reply))
        self._understand, self._next = self._handle_reset, classic_client.RESET
        return True

    def _handle_reset(self, reply: bytes) -> bool:
        if classic_client.observation_end(reply) is None:
            return False
        if self.waited is None:
            self.waited = time.perf_counter() - self._connected_at
        self._understand, self._next = self._handle_step, _COMMANDS[0]
        return True

    def _handle_step(self, reply: bytes) -> bool:
        done = classic_client.step_done(reply)
        if done is None:
            return False
        self.steps += 1
        if done:
            self._understand, self._next = self._handle_reset, classic_client.RESET
        else:
            self._next = _COMMANDS[self.steps % len(_COMMANDS)]
        return True


class ConcurrentClients:
    """All clients of this process."""

    def __init__(self, port: int, count: int) -> None:
        self._failures: collections.Counter[str] = collections.Counter()
        #: The clients that wait for a reply.
        self._waiting = selectors.DefaultSelector()
        self._clients: list[ConcurrentClient] = []
        for _ in range(count):
            client = ConcurrentClient(port)
            self._clients.append(client)
            self._waiting.register(client.socket, selectors.EVENT_WRITE, client)

    def open(self) -> dict[str, Any]:
        """Wait until every client has its first observation; return the seconds that each has waited."""
        deadline = time.monotonic() + _OPENING_PATIENCE
        while self._waiting.get_map() and time.monotonic() < deadline:
            for client in self._turns():
                if client.waited is None:
                    self._attempt(client, client.act)
                else:
                    self._waiting.unregister(client.socket)
        self._give_up("no first observation")
        return {"waited_s": [client.waited for client in self._clients if client.waited is not None]}

    def play(self, seconds: float) -> dict[str, Any]:
        """Play, all clients at once; return the steps of each client, and the number of failures by reason."""
        for client in self._clients:
            if client.waited is not None:
                self._waiting.register(client.socket, selectors.EVENT_READ, client)
                self._attempt(client, client.act)
        end = time.monotonic() + seconds
        while self._waiting.get_map() and (now := time.monotonic()) < end + _CLOSING_PATIENCE:
            for client in self._turns():
                if now < end:
                    self._attempt(client, client.act)
                else:
                    self._waiting.unregister(client.socket)
        self._give_up("no reply")
        return {"steps": [client.steps for client in self._clients], "failures": dict(self._failures)}

    def _turns(self) -> Iterator[ConcurrentClient]:
        """Let clients read; yield those whose turn it is then."""
        for key, events in self._waiting.select(1.0):
            client: ConcurrentClient = key.data
            if events & selectors.EVENT_WRITE:  # it is connected
                self._waiting.modify(client.socket, selectors.EVENT_READ, client)
                yield client
            elif self._attempt(client, client.read):
                yield client

    def _attempt(self, client: ConcurrentClient, act: Callable[[], bool | None]) -> bool | None:
        """Let a client act; count an error, and wait for that client no longer."""
        try:
            return act()
        except OSError as error:
            self._failures[str(error)] += 1
            self._waiting.unregister(client.socket)
            return None

    def _give_up(self, reason: str) -> None:
        """Count the clients that still wait for a reply as failed."""
        for key in list(self._waiting.get_map().values()):
            self._failures[reason] += 1
            self._waiting.unregister(key.fileobj)


def add_failures(section: Section, name: str, failures: Mapping[str, int], answered: int) -> None:
    """Add a line with the number of failures, and their reasons."""
    note = "".join([f"{answered} answered", *(f"; {reason}: {count}" for reason, count in failures.items())])
    section.add_value(name, float(sum(failures.values())), note=note)


def measure_rush(section: Section, name: str, server: ServerProcess, count: int, seconds: float) -> None:
    """Let many clients of this process connect to a server at the same moment, and play at once."""
    clients = ConcurrentClients(server.port, count)
    waited = clients.open()["waited_s"]
    say(f"  {name}: {len(waited)} of {count} clients have their first observation")
    played = clients.play(seconds)
    text, steps = f"{count} clients that connect at once", played["steps"]
    add_failures(section, f"{text}: failures, {name}", played["failures"], sum(1 for each in steps if each))
    if waited:
        section.add_median(f"{text}: first observation, {name}", waited, "s")
        section.add_value(f"{text}: the last first observation, {name}", max(waited), "s")
        section.add_value(f"{text}: steps of all, {name}", sum(steps) / seconds, "per s")
        section.add_value(f"{text}: steps of the slowest, {name}", min(steps) / seconds, "per s", steps)


def _run_clients(port: int, count: int, seconds: float, pipe: Connection) -> None:
    """Run a process of clients: send the result of opening, wait for the start, and send the result of playing."""
    clients = ConcurrentClients(port, count)
    pipe.send(clients.open())
    pipe.recv()
    pipe.send(clients.play(seconds))


def measure(clients: int, seconds: float) -> Section:
    """Let many clients in several processes play CartPole at once."""
    with gymtwist_server() as server:
        time.sleep(1.0)
        pipes = []
        for index in range(_PROCESSES):
            ours, theirs = multiprocessing.Pipe()
            count = clients // _PROCESSES + (index < clients % _PROCESSES)
            process = multiprocessing.Process(
                target=_run_clients, args=(server.port, count, seconds, theirs), daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(ours)
        waited = [each for pipe in pipes for each in pipe.recv()["waited_s"]]
        say(f"  {len(waited)} of {clients} clients have their first observation")
        before, start = total_cpu(server.pid), time.monotonic()
        for pipe in pipes:
            pipe.send("start")
        time.sleep(seconds)
        used, elapsed = total_cpu(server.pid) - before, time.monotonic() - start
        played = [pipe.recv() for pipe in pipes]
    return _section(clients, elapsed, waited, played, used)


def _section(clients: int, seconds: float, waited: list[float], played: list[dict[str, Any]], parent: float) -> Section:
    steps = [each for one in played for each in one["steps"]]
    failures = sum((collections.Counter(one["failures"]) for one in played), collections.Counter[str]())
    failed, share = failures.total(), parent / seconds
    section = Section(f"{clients} connections at once, all playing CartPole-v1 for {seconds:.0f} s")
    section.samples = {"waited_s": waited, "steps": steps, "failures": failures}
    section.samples |= {"seconds": seconds, "parent_cpu_s": parent}
    reasons = "".join(f"; {reason}: {count}" for reason, count in failures.items())
    section.add("connections that failed", f"{failed}{reasons}", "0", failed == 0)
    target = f"under {_TARGET_SHARE:.0%}"
    section.add("the parent's share of a core while they play", f"{share:.1%}", target, share < _TARGET_SHARE)
    section.add("steps per second, all together", f"{sum(steps) / seconds:,.0f}")
    if waited:
        spread = f"{min(steps):,}; {statistics.median(steps):,.0f}; {max(steps):,}"
        section.add("steps of one connection: least; median; most", spread)
        spread = f"{statistics.median(waited):.2f}; {max(waited):.2f} s"
        section.add("first observation after they all connected: median; last", spread)
    return section
