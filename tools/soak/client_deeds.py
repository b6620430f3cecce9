"""What clients of a soak do: most play, and others break, hang, vanish, flood, speak rubbish, or watch."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from gymtwist.client import connect
from gymtwist_conformance.reference_client import (
    INT32,
    NETSTRING,
    ClassicClient,
    Failed,
    FramedClient,
    Refused,
    SharingClient,
    message,
)
from tools.fuzzing.__main__ import seeds
from tools.fuzzing.mutations import mutated
from tools.soak.journal import Orders
from tools.soak.protocol_players import PATIENCE, PLAYERS, Comparison, PythonPlayer, environments_of

#: Connections of a flood, and those that begin sessions at once.
_FLOOD, _BURST = 300, 12
#: Where a flood comes from: the server counts connections without a session by address.
_ELSEWHERE = ("127.0.0.2", 0)
#: Seconds that a flood, and a client that says nothing more, stay.
_STAY = 2.0
#: Seconds that a session waits for a client that has lost its connection.
_RESUME = 8.0
#: Environments whose episodes do not end within a few steps.
_LONG = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1")
#: Environments that fail, or kill their process.
_CRASHES = (
    *("SegfaultInStep", "ExitInStep", "SystemExitInStep", "RaiseInStep", "SegfaultInReset", "RaiseInReset"),
    *("SegfaultInMake", "ExitInMake", "RaiseInMake", "TwoResults", "WrongShapeInStep"),
)
_ENCODINGS = (INT32, NETSTRING)
_SEEDS = seeds()


class Unexpected(Exception):
    """The server did not answer as it should."""


class Visit(NamedTuple):
    """One client's time at the server: what it was told, and where chance comes from."""

    orders: Orders
    source: random.Random

    @property
    def port(self) -> int:
        """Where the server listens."""
        return self.orders.port

    def framed(self) -> FramedClient:
        """Connect with either encoding."""
        return FramedClient.connect(self.port, encoding=self.source.choice(_ENCODINGS), patience=PATIENCE)

    def stay(self, most: float) -> None:
        """Stay for a random time in seconds, or until the clients should end."""
        end = time.monotonic() + self.source.uniform(0, most)
        while time.monotonic() < end and not self.orders.is_quiet():
            self.orders.stop.wait(0.1)


def play(visit: Visit) -> None:
    """Play some steps by any protocol, compare each, and leave in order."""
    kind = visit.source.choice(tuple(PLAYERS))
    environment = visit.source.choice(environments_of(kind))
    player = PLAYERS[kind](visit.port, environment)
    comparison = Comparison(kind, environment, player, visit.source.randrange(2**31))
    with contextlib.closing(comparison):
        for _ in range(visit.source.randint(1, 30 if environment.startswith("ALE/") else 300)):
            comparison.step()


def crash(visit: Visit) -> None:
    """Let the environment fail or kill its process, and go on in the same session."""
    name = visit.source.choice(_CRASHES)
    with visit.framed() as client:
        for _ in range(1 if name.endswith("InMake") else visit.source.randint(1, 3)):
            with _expected_fault(name):
                if not client.made:
                    client.make(f"Fault/{name}-v0")
                client.reset()
                client.step(0)


def crash_a_classic_client(visit: Visit) -> None:
    """The same by the protocol that has no errors in a step: the connection ends."""
    name = visit.source.choice(("SegfaultInStep", "ExitInStep", "RaiseInReset", "SegfaultInMake"))
    with contextlib.suppress(EOFError, ConnectionError, Refused):
        with ClassicClient.connect(visit.port, patience=PATIENCE) as client:
            client.open(f"Fault/{name}-v0")
            client.reset()
            client.step(0)
        raise Unexpected(f"a classic client of {name} went on")


def hang(visit: Visit) -> None:
    """Let the environment hang; wait for the error, or leave."""
    name = visit.source.choice(("HangInStep", "SpinInStep", "HangInReset", "HangInMake", "HangInClose"))
    with visit.framed() as client:
        if visit.source.random() < 0.5 and name != "HangInClose":
            with _expected_fault(name):
                client.make(f"Fault/{name}-v0")
                client.reset()
                client.step(0)
            return
        client.say("make", id=f"Fault/{name}-v0")
        client.say("reset")
        client.say("step", action=0)
        visit.stay(_STAY)


@contextmanager
def _expected_fault(name: str) -> Iterator[None]:
    try:
        yield
    except Failed as failed:
        if failed.fault != "environment":
            raise Unexpected(f"{name} was answered with {failed}") from None
    else:
        raise Unexpected(f"{name} was answered as if nothing were wrong")


def vanish(visit: Visit) -> None:
    """Disappear in the middle of something: with a handshake half sent, replies unread, or shared memory in use."""
    connection = socket.create_connection(("127.0.0.1", visit.port), PATIENCE)
    encoding = visit.source.choice(_ENCODINGS)
    client = SharingClient(connection, encoding, PATIENCE)
    when = visit.source.randrange(4)
    if when == 0:
        opening = message(encoding, "make", id="CartPole-v1")
        client.send(opening[: visit.source.randrange(len(opening))])
    else:
        resume = {"resume": _RESUME} if visit.source.random() < 0.3 else {}
        client.say("make", id=visit.source.choice(("CartPole-v1", "ALE/Pong-v5")), **resume)
    if when > 1:
        client.read_made()
        if when == 3 and encoding == INT32:
            client.share()
        client.reset()
        with contextlib.suppress(Failed):  # the episode may have ended
            for _ in range(visit.source.randint(1, 50)):
                client.say("step", action=0)
                if when == 3:
                    client.reply("step")
    visit.stay(_STAY / 4)
    client.abort() if visit.source.random() < 0.5 else client.close()


def come_back(visit: Visit) -> None:
    """Play in a session that outlives its connection, and cut that some times."""
    environment = visit.source.choice(environments_of("Int32"))
    player = PythonPlayer(visit.port, environment, shares=visit.source.random() < 0.5, resume=_RESUME)
    comparison = Comparison("a client that comes back", environment, player, visit.source.randrange(2**31))
    with contextlib.closing(comparison):
        for _ in range(visit.source.randint(1, 5)):
            for _ in range(visit.source.randint(1, 20)):
                comparison.step()
            with socket.socket(fileno=os.dup(player.env._session.connection.direct.descriptor)) as connection:
                connection.shutdown(visit.source.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)))


def go_back(visit: Visit) -> None:
    """Play on from a snapshot twice, the second time in another session at times; or leave with snapshots."""
    env = connect(f"127.0.0.1:{visit.port}", visit.source.choice(_LONG), timeout=PATIENCE)
    with contextlib.closing(env):
        env.reset(seed=visit.source.randrange(2**31))
        here = env.snapshot()
        actions = [env.action_space.sample() for _ in range(5)]
        expected = [env.step(action)[0] for action in actions]
        if visit.source.random() < 0.5:
            env.restore(here)
            found = [env.step(action)[0] for action in actions]
        else:
            with env.branch(here) as other:
                found = [other.step(action)[0] for action in actions]
        if not np.array_equal(found, expected):
            raise Unexpected(f"{found} after a snapshot instead of {expected}")
        if visit.source.random() < 0.5:
            here.release()


def flood(visit: Visit) -> None:
    """Open many connections at once that send a byte or none, and drop them."""
    with ExitStack() as stack:
        for _ in range(_FLOOD):
            address = ("127.0.0.1", visit.port)
            connection = stack.enter_context(socket.create_connection(address, PATIENCE, _ELSEWHERE))
            with contextlib.suppress(ConnectionError):
                connection.send(visit.source.choice((b"", b"\0", b"G", b"7")))
        visit.stay(_STAY)


def burst(visit: Visit) -> None:
    """Begin several sessions at once, and leave together."""
    with ExitStack() as stack:
        clients = [stack.enter_context(visit.framed()) for _ in range(_BURST)]
        for client in clients:
            client.say("make", id="CartPole-v1")
        for client in clients:
            client.read_made()
        for client in clients:
            client.play(3)


def speak_rubbish(visit: Visit) -> None:
    """Send a mutated message in place of a handshake, or in a session; read until the server closes, or a while."""
    with visit.framed() as client:
        if visit.source.random() < 0.5:
            client.make("CartPole-v1")
        with contextlib.suppress(ConnectionError, TimeoutError):
            client.send(mutated(_SEEDS, visit.source))
            client.socket.settimeout(1.0)
            client.read_to_end()


def say_nothing_more(visit: Visit) -> None:
    """Be silent in a session until the server ends it."""
    with visit.framed() as client:
        client.make("CartPole-v1")
        client.reset()
        with contextlib.suppress(ConnectionError):
            client.read_to_end()


def leave_processes(visit: Visit) -> None:
    """Let the environment start processes, one as a daemon, and print; then leave."""
    with visit.framed() as client:
        client.make(f"Fault/{visit.source.choice(('LeaveChildren', 'LeaveThread', 'Files', 'PrintOneLine'))}-v0")
        client.reset()
        client.step(0)


def watch(visit: Visit) -> None:
    """Look at the web page, the metrics, the sessions, and some frames of one of them, as a dashboard does."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", visit.port, timeout=PATIENCE)) as connection:
        for path in ("/", "/metrics", "/api/status", "/api/errors", "/api/environments"):
            _get(connection, path)
        running = json.loads(_get(connection, "/api/sessions"))["sessions"]
        if not running:
            return
        number, after = visit.source.choice(running)["number"], "0"
        for _ in range(visit.source.randint(1, 5)):
            if visit.orders.is_quiet():
                return
            connection.request("GET", f"/api/sessions/{number}/frame?after={after}")
            response = connection.getresponse()
            response.read()
            after = response.headers.get("Frame-Number", after)
        _get(connection, f"/api/sessions/{number}", 200, 404)


def _get(connection: http.client.HTTPConnection, path: str, *statuses: int) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status not in (statuses or (200,)):
        raise Unexpected(f"GET {path} was answered with {response.status}")
    return body


Deed = Callable[[Visit], Any]
#: What clients do, and how often in proportion.
DEEDS: dict[Deed, int] = {
    play: 40,
    crash: 8,
    crash_a_classic_client: 3,
    hang: 3,
    vanish: 12,
    come_back: 4,
    go_back: 4,
    flood: 2,
    burst: 2,
    speak_rubbish: 10,
    say_nothing_more: 1,
    leave_processes: 2,
    watch: 8,
}
