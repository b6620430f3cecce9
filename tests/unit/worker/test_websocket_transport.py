"""A session over WebSocket: its replies, its end, and pings while the environment computes."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gymtwist.protocol.websocket import Opcode
from gymtwist.worker import session_loop
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.session_status import BUSY_SINCE, Operation, SessionStatus, create
from gymtwist.worker.websocket_transport import WebSocketTransport
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import encode
from gymtwist_conformance.reference_client.frames import INT32, NETSTRING, decode
from gymtwist_conformance.reference_client.websocket_stream import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketStream,
    client_frame,
)
from tests.support.patience import PATIENCE
from tests.support.websocket_cases import REFUSED

#: What is answered by a close frame and nothing else.
ENDING = [case for case in REFUSED if "has ended" not in case[0]][::7]
MAKE = {"op": "make", "id": "CartPole-v1"}


class Session:
    """A session in a thread, and the stream of its client."""

    def __init__(self, opcode: int = TEXT, **make: Any) -> None:
        """Start it, and read what make tells."""
        ours, self.its = socket.socketpair()
        descriptor = create()
        self.status = SessionStatus(descriptor, with_recovery=True)
        os.close(descriptor)
        self.stream = WebSocketStream(ours, upgrade=False)
        self.opcode, self.encoding = opcode, NETSTRING if opcode == TEXT else INT32
        self.reasons: list[str] = []
        protocol = "websocket-text" if opcode == TEXT else "websocket-binary"
        handshake = encode(self.encoding, {**MAKE, **make})
        settings = WorkerSettings(monitor_root="/")

        def serve() -> None:
            self.reasons.append(session_loop.serve(protocol, self.its, handshake, b"", settings, self.status))

        self._thread = threading.Thread(target=serve)
        self._thread.start()
        self.made = self.reply()

    def send(self, op: str, **fields: Any) -> None:
        """Send a request."""
        self.stream.send_frame(self.opcode, encode(self.encoding, {"op": op, **fields}))

    def reply(self) -> dict[str, Any]:
        """Read a reply."""
        frame = self.stream.read_frame()
        assert frame.opcode == self.opcode, frame
        return decode(self.encoding, frame.payload)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and read the reply."""
        self.send(op, **fields)
        return self.reply()

    def ended(self) -> str:
        """Wait for the end; return the reason."""
        self._thread.join(PATIENCE)
        return self.reasons[0]

    def close(self) -> None:
        """Leave."""
        self.stream.close()
        self._thread.join(PATIENCE)
        self.status.close()


@pytest.fixture
def session() -> Iterator[Session]:
    """A session of text messages."""
    session = Session()
    yield session
    session.close()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_an_episode_is_played(opcode: int) -> None:
    """In JSON or in MessagePack; memory is never shared."""
    session = Session(opcode)
    assert not session.made.get("shared_memory")
    assert session.ask("reset", seed=1)["op"] == "reset"
    assert session.ask("step", action=1 if opcode == TEXT else struct.pack("<q", 1))["reward"] == 1.0
    assert session.ask("share")["code"] == "sharing-refused"
    assert session.ask("close") == {"op": "close"}
    assert session.stream.read_frame() == Frame(CLOSE, struct.pack(">H", 1000))
    assert session.stream.read_to_end() == b""
    session.close()


@pytest.mark.parametrize("size", [0, 125, 126, 127, 65535, 65536])
def test_requests_of_every_length_are_answered(session: Session, size: int) -> None:
    """Also of no byte, which is no message; the session goes on."""
    session.stream.send_frame(TEXT, b'{"op":"sample"}'.ljust(size) if size else b"")
    assert session.reply()["op"] == ("sample" if size else "error")
    assert session.ask("sample")["op"] == "sample"


def test_fragments_and_control_frames_may_be_mixed(session: Session) -> None:
    """Each ping is answered at once, and a pong never."""
    session.stream.send_frame(TEXT, b'{"op":', final=False)
    session.stream.send_frame(PING, b"1")
    assert session.stream.read_frame() == Frame(PONG, b"1")
    session.stream.send_frame(PONG, b"2")
    session.stream.send_frame(CONTINUATION, b'"sam', final=False)
    session.stream.send_frame(CONTINUATION, b"", final=False)
    session.stream.send_frame(PING, bytes(125))
    session.stream.send_frame(CONTINUATION, b'ple"}')
    assert session.stream.read_frame() == Frame(PONG, bytes(125))
    assert session.reply()["op"] == "sample"


@pytest.mark.parametrize(("data", "code"), [case[1:] for case in ENDING], ids=[case[0] for case in ENDING])
def test_what_breaks_the_rules_ends_the_session(session: Session, data: bytes, code: int) -> None:
    """With a close frame, and the end of the connection right behind it."""
    session.stream.send(data)
    frame = session.stream.read_frame()
    assert frame.code == code
    assert frame.reason
    assert session.stream.read_to_end() == b""
    assert session.ended().startswith("the client broke the protocol: ")


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9leaving", struct.pack(">H", 4999)])
def test_a_close_frame_is_answered_with_its_code(session: Session, payload: bytes) -> None:
    """Then the connection ends, and what came behind it is not answered."""
    session.stream.send(client_frame(CLOSE, payload) + client_frame(PING))  # later nobody might be there to take it
    assert session.stream.read_frame() == Frame(CLOSE, payload[:2])
    assert session.stream.read_to_end() == b""
    assert session.ended() == "the client left"


def test_the_end_of_the_stream_ends_the_session(session: Session) -> None:
    """Whoever only reads still learns of it."""
    session.stream.socket.shutdown(socket.SHUT_WR)
    assert session.stream.read_frame().code == 1001
    assert session.ended() == "the client left"


# Pings while the environment computes


class Busy:
    """A transport whose session is busy until the test says otherwise."""

    def __init__(self, received: bytes = b"") -> None:
        """Begin an operation; some bytes have come together with its request."""
        ours, self.connection = socket.socketpair()
        descriptor = create()
        self.status = SessionStatus(descriptor, with_recovery=True)
        os.close(descriptor)
        self.status.begin(Operation.STEP)
        self.stream = WebSocketStream(ours, upgrade=False)
        recovery = RecoveryState(self.status)
        self.transport = WebSocketTransport(
            self.connection, Opcode.TEXT, received, recovery, self.connection.recv_into, self.status, 0.01
        )

    def close(self) -> None:
        """End the thread, and close everything."""
        self.transport.end()
        self.stream.close()
        self.connection.close()


@pytest.fixture
def busy() -> Iterator[Busy]:
    """A transport whose session is busy."""
    busy = Busy()
    yield busy
    busy.close()


def test_pings_are_answered_while_the_environment_computes(busy: Busy) -> None:
    """Those behind requests as well; afterwards the requests are received, and nothing is answered twice."""
    for number in range(3):
        busy.stream.send_frame(TEXT, b"request %d" % number)
        busy.stream.send_frame(PING, b"%d" % number)
        assert busy.stream.read_frame() == Frame(PONG, b"%d" % number)
    busy.status.end()
    busy.transport.send_parts([b"re", b"ply"])
    assert busy.stream.read_frame() == Frame(TEXT, b"reply")
    received = [bytes(busy.transport.receive() or b"") for _ in range(3)]
    assert received == [b"request 0", b"request 1", b"request 2"]
    busy.stream.send_frame(PING, b"last")
    busy.stream.send_frame(TEXT, b"next")
    assert bytes(busy.transport.receive() or b"") == b"next"
    assert busy.stream.read_frame() == Frame(PONG, b"last")


def test_a_ping_that_came_with_the_request_is_answered() -> None:
    """Though nothing else comes."""
    busy = Busy(client_frame(PING, b"early"))
    assert busy.stream.read_frame() == Frame(PONG, b"early")
    busy.close()


def test_the_session_can_be_resumed_with_what_the_thread_has_read(busy: Busy) -> None:
    """Another process finds the requests that wait."""
    busy.stream.send_frame(TEXT, b"request")
    busy.stream.send_frame(PING)
    assert busy.stream.read_frame() == Frame(PONG, b"")
    assert b"ping" not in RecoveryState(busy.status).pending()
    assert len(RecoveryState(busy.status).pending()) >= len(b"request") + 6


def test_a_session_that_is_not_busy_for_long_pays_nothing(busy: Busy) -> None:
    """Its methods are the usual ones as soon as the operation has ended."""
    busy.status.end()
    assert busy.status.words[BUSY_SINCE] == 0.0
    busy.transport.send_parts([b"reply"])
    assert not {"send_parts", "receive"} & vars(busy.transport).keys()
