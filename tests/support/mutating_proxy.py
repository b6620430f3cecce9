"""Servers that are wrong in one way each: a real one behind a proxy that changes what goes through it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from gymtwist.errors import GymtwistError
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist_conformance.reference_client import INT32, NETSTRING, frame
from tests.support.listening_proxy import ListeningProxy
from tests.support.server_process import connected

Message = dict[str, Any]


class Mutation:
    """Changes nothing; subclasses are what a server can have wrong.

    Attributes:
        chunk: How many bytes are read of the client at once.
        is_json: What is spoken, once that is known.
        over: Set it to close the connection.
        shares: Whether memory is shared, so that an empty frame is a doorbell.
        deaf: Set it to leave the connection open where the server closes it.
        others: The changes to all connections of the proxy.
    """

    chunk = 1 << 16

    def __init__(self, others: list[Mutation]) -> None:
        """Take part."""
        self.others = others
        self.is_json = True
        self.over = self.deaf = self.shares = False
        others.append(self)

    def http(self, data: bytes, *, of_client: bool) -> bytes:
        """Change what either side sends in a connection that speaks HTTP."""
        return data

    def read(self, data: bytes) -> bytes:
        """Change what was read of the client."""
        return data

    def garbage(self, data: bytes) -> bytes:
        """Change bytes that are not a request."""
        return data

    def doorbell(self, data: bytes) -> bytes:
        """Change a doorbell of the client."""
        return data

    def request(self, message: Message) -> None:
        """Change a request."""

    def reply(self, message: Message, request: Message, pending: int) -> list[Message]:
        """Change a reply; `pending` is how many requests wait for theirs."""
        self.answer(message, request)
        return [message]

    def answer(self, message: Message, request: Message) -> None:
        """Change a reply that remains one."""

    def write(self, data: bytes) -> bytes:
        """Change the frame of a reply."""
        return data

    def left(self, unread: bool) -> None:
        """Note that the client has left, perhaps in the middle of a frame."""


class _Side:
    """One end of a proxied connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""

    def frames(self, is_json: bool) -> tuple[list[bytes], bool]:
        """Take the payloads that have come; tells whether what follows can be read."""
        taken: list[bytes] = []
        while self.buffer:
            reader = FrameReader(Framing.NETSTRING if is_json else Framing.INT32, self.buffer)
            reader.least = 0
            try:
                payload = reader.next_frame()
            except GymtwistError:
                return taken, False
            if payload is None:
                break
            taken.append(bytes(payload))
            self.buffer = self.buffer[len(frame(NETSTRING if is_json else INT32, taken[-1])) :]
        return taken, True


class Proxy(ListeningProxy):
    """A server that is wrong in the way of a mutation."""

    def __init__(self, port: int, mutation: Callable[[list[Mutation]], Mutation]) -> None:
        """Listen, in front of the server at a port."""
        self._upstream = port
        self._mutation = mutation
        self._mutations: list[Mutation] = []
        super().__init__()

    def _end(self) -> None:
        for mutation in self._mutations:
            mutation.over = True

    def _connected(self, client: socket.socket) -> None:
        upstream = connected(("127.0.0.1", self._upstream))
        threading.Thread(target=self._serve, args=(client, upstream), daemon=True).start()

    def _serve(self, client: socket.socket, upstream: socket.socket) -> None:
        with client, upstream, contextlib.suppress(OSError):
            if client.recv(1, socket.MSG_PEEK) == b"G":
                self._pass_on(client, upstream, self._mutation(self._mutations))
                return
            _ProxiedConnection(_Side(client), _Side(upstream), self._mutation(self._mutations)).run()

    def _pass_on(self, client: socket.socket, upstream: socket.socket, mutation: Mutation) -> None:
        """Pass bytes on as they come."""
        others = {client: upstream, upstream: client}
        while not mutation.over:
            for ready in select.select(list(others), [], [], 0.05)[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                others[ready].sendall(mutation.http(data, of_client=ready is client))


class _ProxiedConnection:
    """One connection through the proxy."""

    def __init__(self, client: _Side, server: _Side, mutation: Mutation) -> None:
        self.client, self.server, self.mutation = client, server, mutation
        self.requests: deque[Message] = deque()
        self.begun, self.is_open = False, True

    def run(self) -> None:
        while not self.mutation.over:
            sides = [self.client.socket] + [self.server.socket] * self.is_open
            for ready in select.select(sides, [], [], 0.05)[0]:
                if ready is self.client.socket:
                    self.hear_client()
                else:
                    self.hear_server()

    def hear_client(self) -> None:
        data = self.client.socket.recv(self.mutation.chunk)
        if not data:
            self.mutation.left(bool(self.client.buffer))
            self.mutation.over = True
            return
        if not self.begun:
            self.begun, self.mutation.is_json = True, data[:1] != b"\0"
        self.client.buffer += self.mutation.read(data)
        frames, readable = self.client.frames(self.mutation.is_json)
        for payload in frames:
            if not payload and self.mutation.shares:
                self.server.socket.sendall(self.mutation.doorbell(self.framed(payload)))
                continue
            message = self.decoded(payload)
            if not isinstance(message, dict):
                self.server.socket.sendall(self.mutation.garbage(self.framed(payload)))
                self.requests.append({})
                continue
            self.requests.append(dict(message))
            self.mutation.shares = self.mutation.shares or "request_room" in message
            before = self.encoded(message)
            self.mutation.request(message)
            after = self.encoded(message)
            # As it was written, unless the mutation changes what it means.
            self.server.socket.sendall(self.framed(payload if after == before else after))
        if not readable:
            self.server.socket.sendall(self.mutation.garbage(self.client.buffer))
            self.client.buffer = b""
            self.requests.append({})

    def hear_server(self) -> None:
        data = self.server.socket.recv(1 << 16)
        if not data:
            self.is_open = False
            self.mutation.over = not self.mutation.deaf
            return
        self.server.buffer += data
        for payload in self.server.frames(self.mutation.is_json)[0]:
            if self.mutation.over:
                return
            if not payload:
                self.client.socket.sendall(self.framed(payload))
                continue
            message = self.decoded(payload)
            request = self.requests.popleft() if self.requests else {}
            before = self.encoded(message)
            for each in self.mutation.reply(message, request, len(self.requests)):
                after = self.encoded(each)
                self.client.socket.sendall(self.mutation.write(self.framed(payload if after == before else after)))

    def decoded(self, frame: bytes) -> Any:
        try:
            return (msgspec.json if self.mutation.is_json else msgspec.msgpack).decode(frame)
        except (ValueError, RecursionError):
            return None

    def encoded(self, message: Message) -> bytes:
        return msgspec.json.encode(message) if self.mutation.is_json else msgspec.msgpack.encode(message)

    def framed(self, payload: bytes) -> bytes:
        return frame(NETSTRING if self.mutation.is_json else INT32, payload)
