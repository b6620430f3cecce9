"""The client's side of WebSocket (RFC 6455): it sends any frames, and checks each frame of the server."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from typing import Any, NamedTuple

from gymtwist_conformance.reference_client.byte_stream import ByteStream, require
from gymtwist_conformance.reference_client.frames import INT32, MAX_PAYLOAD, find_payload, frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes
    final: bool = True

    @property
    def code(self) -> int | None:
        """The code of a close frame; None if it has none."""
        require(self.opcode == CLOSE, f"the frame {self} where the connection should be closed")
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        return self.payload[2:].decode()


def client_frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes | None = None, reserved: int = 0
) -> bytes:
    """Encode a frame of a client.

    Args:
        opcode: The opcode, which need not be a valid one.
        payload: The payload.
        final: Whether this is the message's last frame.
        mask: Four bytes; None for random ones; empty for none, which the RFC forbids for clients.
        reserved: The three reserved bits.
    """
    mask = os.urandom(4) if mask is None else mask
    bit, length = 0x80 if mask else 0, len(payload)
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    if not mask:
        return head + payload
    pattern = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ pattern).to_bytes(length, "big")


def upgrade_request(path: str = "/ws", **headers: str) -> bytes:
    """Encode an upgrade request; empty headers are left out, and underscores become hyphens."""
    fields = {
        **{"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade"},
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()},
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode()


class WebSocketStream(ByteStream):
    """A connection that speaks WebSocket.

    Args:
        connection: A connected socket.
        upgrade: Whether to send the upgrade request at once.
        **options: Arguments of the stream.
    """

    def __init__(self, connection: socket.socket, *, upgrade: bool = True, **options: Any) -> None:
        super().__init__(connection, **options)
        if upgrade:
            self.upgrade()

    def upgrade(self) -> None:
        """Send the upgrade request, and check the response."""
        request = upgrade_request()
        self.send(request)
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        status, headers = self.read_head()
        expected = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        require(status == 101, f"the status is {status}; expected 101")
        require(headers.get("upgrade", "").lower() == "websocket", f"not upgraded to websocket: {headers}")
        require(headers.get("connection", "").lower() == "upgrade", f"the connection is not upgraded: {headers}")
        require(headers.get("sec-websocket-accept") == expected, f"Sec-WebSocket-Accept is wrong: {headers}")
        require("sec-websocket-extensions" not in headers, "an extension that nobody asked for")

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response: its status, and its headers in lower case."""
        while b"\r\n\r\n" not in self.peek():
            if not self.receive():
                raise EOFError("the connection was closed within the head of a response")
        head = self.take(self.peek().index(b"\r\n\r\n") + 4).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def send_frame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send a frame; see :func:`client_frame`."""
        self.send(client_frame(opcode, payload, **options))

    def read_frame(self) -> Frame:
        """Read a frame, which must follow RFC 6455's rules for servers."""
        first, second = self.read(2)
        require(not first & 0x70, f"a frame with reserved bits: {first:#x}")
        require(first & 15 in (0, 1, 2, 8, 9, 10), f"a frame with the opcode {first & 15}")
        require(not second & 0x80, "a masked frame of the server")
        length = second
        if length >= 126:
            length = int.from_bytes(self.read(2 if second == 126 else 8), "big")
            require(length >= (126 if second == 126 else 65536), "a length that is longer than it needs to be")
        require(length <= MAX_PAYLOAD, f"a frame of {length} bytes")
        if first & 15 >= CLOSE:
            require(first & 0x80 and length <= 125, "a control frame that is too long, or in pieces")
        return Frame(first & 15, self.read(length), bool(first & 0x80))


class WebSocketLink:
    """A socket that carries frames of the framed protocol as WebSocket messages.

    Args:
        connection: A connected socket.
        encoding: The framing of its users: netstrings become text messages, int32 frames binary ones.
    """

    def __init__(self, connection: socket.socket, encoding: str) -> None:
        self.stream = WebSocketStream(connection)
        self._encoding = encoding
        self._opcode = BINARY if encoding == INT32 else TEXT
        self._unsent, self._unread = bytearray(), bytearray()

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the socket."""
        return getattr(self.stream.socket, name)

    def sendall(self, data: bytes) -> None:
        """Send each complete frame as a message."""
        self._unsent += data
        while (found := find_payload(self._encoding, self._unsent)) is not None:
            begin, stop, end = found
            payload = bytes(self._unsent[begin:stop])
            del self._unsent[:end]
            self.stream.send_frame(self._opcode, payload)

    def recv_into(self, space: memoryview) -> int:
        """Receive a part of a frame; answer pings, and take a close frame as the end."""
        while not self._unread:
            try:
                received = self.stream.read_frame()
            except EOFError:
                return 0
            if received.opcode == CLOSE:
                return 0
            if received.opcode == PING:
                self.stream.send_frame(PONG, received.payload)
            elif received.opcode != PONG:
                require(received.opcode == self._opcode and received.final, f"not a whole message: {received!r:.200}")
                self._unread += frame(self._encoding, received.payload)
        count = min(len(space), len(self._unread))
        space[:count] = self._unread[:count]
        del self._unread[:count]
        return count
