"""Requests for instances of another process of the server, which keeps its sessions after an upgrade."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web import server

from gymtwist.server.identities import EVERYBODY
from gymtwist.web.http_request import HttpRequest

#: The header that names the sender; the process that accepted the request has checked the identity.
_IDENTITY = b"X-Gymtwist-Identity"


class ForwardedRequest(HttpRequest):
    """A request that another process has accepted and checked."""

    def process(self) -> None:
        """Let the resource answer; called by Twisted."""
        channel: Any = self.channel
        self.site = channel.site
        name = bytes.fromhex(self.getHeader(_IDENTITY).decode()).decode()
        self.identity = msgspec.structs.replace(EVERYBODY, name=name)
        server.Request.process(self)


class _Response(Protocol):
    """Sends a request to another process, and receives the response.

    Args:
        request: The request, as bytes.
        received: Called with the response, as bytes.
    """

    transport: Any

    def __init__(self, request: bytes, received: Callable[[bytes], None]) -> None:
        self._request = request
        self._received = received
        self._data = bytearray()

    def connectionMade(self) -> None:
        """Send the request; called by Twisted."""
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Receive a part of the response; called by Twisted."""
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the complete response, or the end of the other process; called by Twisted."""
        self._received(bytes(self._data))


def forward(reactor: Any, request: Any, send: Callable[[int], None]) -> None:
    """Let another process answer a request.

    Args:
        reactor: The reactor.
        request: The request.
        send: Sends a descriptor to that process, and closes it here.
    """
    body = request.content.read()
    head = [
        (b"GET" if request.method == b"HEAD" else request.method) + b" " + request.uri + b" HTTP/1.1",
        b"Host: localhost",
        b"Connection: close",
        b"Content-Type: " + (request.getHeader(b"content-type") or b""),
        b"Content-Length: %d" % len(body),
        _IDENTITY + b": " + request.identity.name.encode().hex().encode(),
    ]
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        response = _Response(b"\r\n".join([*head, b"", body]), lambda data: _answer(request, data))
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: response))
        send(theirs.detach())


def _answer(request: Any, response: bytes) -> None:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if len(body) != int(headers.get(b"content-length", -1)):
        request.setResponseCode(503)
        request.answer(b'{"message":"the process of this instance has ended"}\n')
        return
    request.setResponseCode(int(status.split(b" ")[1]))
    if b"content-type" in headers:
        request.setHeader(b"Content-Type", headers[b"content-type"])
    request.answer(body)
