"""Counts what a step costs: ``python -m tests.support.cost_scenarios [--marks] SUBJECT[+BURDEN]...``.

SUBJECT is the protocol of a session (classic, netstring or int32), which is served to a client in another process, or
``client``: then it is the Python client that is counted, and the session is in the other process. With ``-frame``
behind it the environment has Pong's frames, with ``-nested`` a Dict within a Tuple, and with ``-shared`` both sides
share memory, and poll. BURDEN is the name of something that each step does besides.

Each subject has a process of its own, forked from an interpreter that does nothing but import the same for all. It
writes a line of JSON. With ``--marks`` nothing is counted: the steps that whoever looks on from outside is to count are
marked.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium import spaces

from gymtwist.client.client_session import Session
from gymtwist.client.connection import Connection
from gymtwist.client.shared_memory_connection import SharedMemoryConnection
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing, ProtocolName
from gymtwist.worker import session_loop, shared_memory_transport, socket_waiting
from gymtwist.worker.session_status import SessionStatus, create
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import FramedClient, message
from gymtwist_conformance.reference_client import classic_client as classic
from tests.support.cost_counters import Blocks, Calls, Instructions, Lines, Marks, Peak, Plan

ENVIRONMENT = "Cost-v0"
CLIENT = "client"
#: Python 3.10 has a cache that is used from the 1024th call of a function on.
WARM, SHORT, LONG = 1100, 100, 300
#: That cache asks the kernel nothing.
WARM_FOR_MARKS = 100
#: With so many calls the reference goes along with a session from Python 3.10 to 3.13, to a few hundredths.
_PARTS = 5
#: Seconds to poll: nobody has to wait otherwise.
_LONG = 10.0
_UINT32 = struct.Struct(">I")


SMALL = spaces.Box(-1.0, 1.0, (4,), np.float32)
FRAME = spaces.Box(0, 255, (210, 160, 3), np.uint8)
NESTED = spaces.Tuple(
    (SMALL, spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "goal": spaces.Discrete(10), "at": SMALL}))
)


class Costless(gymnasium.Env[Any, Any]):
    """Does nothing but tell a plan."""

    action_space = spaces.Discrete(2)

    def __init__(
        self,
        step: Callable[[], None],
        space: spaces.Space[Any] = SMALL,
        burden: Callable[[], object] | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Take what to call in each step."""
        self.observation_space = space
        self._told = step
        self._burden = burden
        self._observation = np.zeros(space.shape, space.dtype) if isinstance(space, spaces.Box) else space.sample()
        self._info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Observe."""
        return self._observation, self._info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observe."""
        self._told()
        if self._burden is not None:
            self._burden()
        return self._observation, 1.0, False, False, self._info


class StepRequest(msgspec.Struct, tag_field="op", tag="step"):
    """The request of the reference."""

    action: bytes


class StepReply(msgspec.Struct, tag_field="op", tag="step"):
    """The reply of the reference."""

    observation: memoryview
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class Part:
    """Does what a method of a few lines does; the reference has as many of them as a session has about."""

    def __init__(self) -> None:
        """Have one number."""
        self._number = 0
        self._odd = False

    def act(self, number: int) -> int:
        """Count."""
        own = self._number
        if number > own or self._odd:
            self._number = own = number
        self._odd = number == 7
        return own


_hoard: list[object] = []


def _something() -> None:
    os.getppid()
    _hoard.append(object())


def _instructions() -> int:
    # One line and no call.
    return -(7**3000)


#: What a step can do besides, so that it is seen that it is seen.
BURDENS: dict[str, Callable[[], object]] = {"something": _something, "instructions": _instructions}


def in_another_process(act: Callable[[socket.socket], None]) -> socket.socket:
    """Return a connection to a process that does something with the other end, and then ends."""
    ours, its = socket.socketpair()
    if os.fork() == 0:
        try:
            ours.close()
            act(its)
        finally:
            os._exit(0)
    its.close()
    return ours


def reference(steps: int) -> float | None:
    """Count the instructions of a loop that answers steps and have nothing of gymtwist's.

    It reads, decodes a message, takes a step, encodes the reply and writes, and between that it calls some methods. So
    it goes along with the version of Python, of msgspec and of NumPy, as a session does.
    """
    meter = Instructions()
    if meter.read() is None:
        return None
    request = message("int32", "step", action=bytes(8))

    def ask(connection: socket.socket) -> None:
        for _ in range(WARM + steps):
            connection.sendall(request)
            connection.recv(4096)

    connection = in_another_process(ask)
    environment = Costless(lambda: None)
    received, reply = bytearray(4096), bytearray()
    view = memoryview(received)
    decode, encode_into = msgspec.msgpack.Decoder(StepRequest).decode, msgspec.msgpack.Encoder().encode_into
    parts = [Part() for _ in range(_PARTS)]
    for number in range(WARM + steps):
        if number == WARM:
            meter.start()
        count = connection.recv_into(received)
        asked = decode(view[4:count])
        (action,) = struct.unpack("<q", asked.action)
        for each in parts:
            each.act(number)
        observation, reward, terminated, truncated, info = environment.step(action)
        told = StepReply(memoryview(observation).cast("B"), float(reward), bool(terminated), bool(truncated), info)
        encode_into(told, reply, 4)
        _UINT32.pack_into(reply, 0, len(reply) - 4)
        connection.sendall(reply)
    meter.stop(steps)
    connection.close()
    os.wait()
    return meter.least


def play(protocol: str, shared: bool, steps: int, connection: socket.socket) -> None:
    """Is the client of a session."""
    client: Any
    if shared:
        _step_together(connection, ProtocolName(protocol), steps)
        return
    if protocol == "classic":
        client = classic.ClassicClient(connection)
        client.read_error()
    else:
        client = FramedClient(connection, protocol)
        client.read_made()
    client.reset()
    for _ in range(steps):
        client.step(1)
    client.close()


class Never(WaitPolicy):
    """Never tries whether polling at a socket would be faster: that asks the kernel as often as it pleases."""

    def __init__(self, _limit: float) -> None:
        super().__init__(0.0)


class Always(WaitPolicy):
    """Polls memory without trying whether that is faster."""

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.poll_seconds, self.waits_left = limit, sys.maxsize


def serve(protocol: str, connection: socket.socket, handshake: bytes) -> None:
    """Serve a connection; raise if its client did not leave of its own accord."""
    vars(socket_waiting).update(cores=lambda: 2, WaitPolicy=Never)
    vars(shared_memory_transport).update(WaitPolicy=Always)
    status = SessionStatus(create(), with_recovery=True)
    settings = WorkerSettings(monitor_root="/", poll=_LONG)
    reason = session_loop.serve(protocol, connection, handshake, b"", settings, status)
    assert reason == session_loop.CLIENT_LEFT, reason


def opening_of(protocol: str) -> bytes:
    """Return how a client begins."""
    return classic.handshake(ENVIRONMENT) if protocol == "classic" else message(protocol, "make", id=ENVIRONMENT)


def read_and_serve(protocol: str, connection: socket.socket) -> None:
    """Serve a connection whose handshake, which was sent at once, is still to come."""
    serve(protocol, connection, connection.recv(1 << 16))


def use(plan: Plan, shared: bool, connection: socket.socket) -> None:
    """Take steps with the Python client; without polling where that asks the kernel as often as it pleases."""
    _step_together(connection, ProtocolName.INT32, plan.total, plan.step, shared=shared)


def _step_together(
    connection: socket.socket,
    protocol: ProtocolName,
    steps: int,
    before: Callable[[], None] = lambda: None,
    *,
    shared: bool = True,
) -> None:
    kind, policy = (SharedMemoryConnection, Always(_LONG)) if shared else (Connection, WaitPolicy(0.0))
    connected = kind(connection, "a session", Framing(protocol.value), 60.0, policy)
    session = Session(connected, protocol, make_messages.Make(ENVIRONMENT)).finish()
    session.ask(messages.Reset(None, None), messages.ResetDone)
    step, own = session.step, session.values.own
    for _ in range(steps):
        before()
        step(1, own)
    # The end of the connection alone would not be seen until it has been polled for long.
    session.ask(messages.Close(), messages.Closed)
    connected.close()


def look(subject: str, plan: Plan, burden: Callable[[], object] | None) -> None:
    """Let a subject take the steps of a plan."""
    subject, _, rest = subject.partition("-")
    shared = rest == "shared"
    tell = (lambda: None) if subject == CLIENT else plan.step
    space = {"frame": FRAME, "nested": NESTED}.get(rest, SMALL)
    gymnasium.register(ENVIRONMENT, entry_point=partial(Costless, tell, space, burden), order_enforce=False)
    if subject == CLIENT:
        use(plan, shared, in_another_process(partial(read_and_serve, "int32")))
    elif shared:
        read_and_serve(subject, in_another_process(partial(play, subject, shared, plan.total)))
    else:
        serve(subject, in_another_process(partial(play, subject, shared, plan.total)), opening_of(subject))
    os.wait()


def count(subject: str, burden: Callable[[], object] | None) -> dict[str, Any]:
    """Count everything."""
    instructions, blocks, peak, calls, lines = Instructions(), Blocks(), Peak(), Calls(), Lines()
    windows: list[tuple[Any, int]] = [(instructions, SHORT) for _ in range(4)]
    windows += [(blocks, LONG), (peak, SHORT), (calls, SHORT), (lines, SHORT)]
    least = reference(LONG)
    look(subject, Plan(WARM, windows), burden)
    return {
        "calls": calls.python,
        "builtins": calls.builtin,
        "lines": lines.each,
        "blocks": blocks.grown,
        "peak": peak.bytes,
        "instructions": instructions.least,
        "windows": instructions.each,
        "reference": least,
    }


def mark(subject: str, burden: Callable[[], object] | None) -> dict[str, Any]:
    """Mark some steps; return which process does so."""
    look(subject, Plan(WARM_FOR_MARKS, [(Marks(), SHORT)]), burden)
    return {"process": os.getpid()}


def main(act: Callable[[str, Callable[[], object] | None], dict[str, Any]], words: list[str]) -> int:
    """Do something with each subject, and write what is found; return how many failed, whose errors are shown."""
    failed = 0
    for word in words:
        subject, _, burden = word.partition("+")
        process = os.fork()
        if process == 0:
            print(json.dumps({"subject": word, **act(subject, BURDENS[burden] if burden else None)}))
            return 0
        failed += os.waitpid(process, 0)[1] != 0
    return failed


if __name__ == "__main__":
    marks = sys.argv[1] == "--marks"
    sys.exit(main(mark if marks else count, sys.argv[1 + marks :]))
