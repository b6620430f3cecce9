"""A request: it is checked before any resource sees it, and all errors are JSON."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.http import parse_qs

from gymtwist.errors import TokenRefused
from gymtwist.protocol.http_head import SECURITY_HEADERS, Problem, shown
from gymtwist.server.client_address import name_of, network_of
from gymtwist.server.identities import EVERYBODY, Identity
from gymtwist.server.session_events import Refused
from gymtwist.web.authentication import CHALLENGE
from gymtwist.web.http_channel import MAX_BODY
from gymtwist.web.json_resource import json_body

_log = Logger("gymsock")
#: Paths for clients without a token, such as load balancers.
_FOR_EVERYBODY = (b"/healthz", b"/readyz")
_OPTIONS_ALLOWED = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"


class HttpRequest(server.Request):
    """A request to the site; called by Twisted."""

    defaultContentType = None
    site: Any
    #: Who sent the request.
    identity: Identity = EVERYBODY

    def getHeader(self, key: Any) -> Any:
        """Return the last value of a header, which may have any bytes; also called by Twisted."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode())
        return None if value is None else value.decode("latin-1")

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that is too long; called by Twisted, which would store a long one in a file."""
        channel: Any = self.channel
        if length is not None and length > MAX_BODY:
            channel.take(length)
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless the body is too long; called by Twisted."""
        channel, content = cast(Any, self.channel), cast(Any, self.content)
        if channel.take(content.tell() + len(data)):
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Handle a complete request, without looking for form data in its body; called by Twisted.

        Twisted's method parses the content type of each body, which takes a fifth of the time of a REST step.
        """
        content: Any = self.content
        content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, question, query = path.partition(b"?")
        self.args = parse_qs(query, True) if question else {}
        self.process()

    def process(self) -> None:
        """Refuse the request, or find its resource and let that answer; called by Twisted."""
        channel: Any = self.channel
        self.site = channel.site
        for name, value in SECURITY_HEADERS.items():
            self.setHeader(name.encode(), value.encode())
        hosts, origin = self.requestHeaders.getRawHeaders(b"host"), self.getHeader("origin")
        host = None if hosts is None else b", ".join(hosts).decode("latin-1")
        refused = self.site.policy.refusal(host, origin, needs_host=self.clientproto != b"HTTP/1.0")
        if refused is not None:
            self.answer(json_body(self, *refused))
            return
        if origin is not None and self.site.policy.allows_other(origin):
            self._allow(origin)
            if self.method == b"OPTIONS":  # a browser's preflight request has no token
                self.setResponseCode(204)
                self.answer(b"")
                return
        if self._has_identity():
            super().process()

    def _has_identity(self) -> bool:
        """Identify the client, or refuse the request: at once without a token, after a delay with a wrong one."""
        if self.path in _FOR_EVERYBODY:
            return True
        factory, header = self.site.factory, self.getHeader("authorization")
        transport: Any = self.transport
        try:
            self.identity = self.site.identity_of(header, transport)
        except TokenRefused as error:
            if header is None:
                self._refuse_token(error)
            else:
                client = name_of(transport.getPeer())
                factory.events.publish(Refused(client, error))
                delay = factory.token_delays.next(network_of(client))
                refusal = factory.reactor.callLater(delay, self._refuse_token, error)
                self.notifyFinish().addErrback(lambda _: refusal.cancel())
            return False
        return True

    def _refuse_token(self, error: TokenRefused) -> None:
        self.setHeader(b"WWW-Authenticate", CHALLENGE.encode())
        self.answer(json_body(self, 401, Problem(str(error), code=error.code, field="Authorization")))

    def _allow(self, origin: str) -> None:
        """Let a browser pass the response to a page of another site."""
        self.setHeader(b"Access-Control-Allow-Origin", origin.encode("latin-1"))
        self.setHeader(b"Access-Control-Allow-Methods", _OPTIONS_ALLOWED)
        self.setHeader(b"Access-Control-Allow-Headers", b"Authorization, Content-Type")
        self.setHeader(b"Vary", b"Origin")

    def render(self, resrc: Any) -> None:
        """Let a resource answer, without the Server header that Twisted sets."""
        body: Any
        self.responseHeaders.removeHeader(b"Server")
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            allowed = b", ".join(error.allowedMethods).decode()
            self.setHeader(b"Allow", allowed.encode())
            problem = Problem(
                "this path does not take the method of the request",
                code="method-not-allowed",
                field="method",
                value=shown(self.method.decode("latin-1")),
                remedy=f"use one of {allowed}",
            )
            body = json_body(self, 405, problem)
        if body is not server.NOT_DONE_YET:
            self.answer(body)

    def answer(self, body: bytes) -> None:
        """Send the whole body and finish the response, unless the client has left."""
        channel: Any = self.channel
        if channel is None:
            return
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer after an internal error, without revealing it."""
        _log.failure("an error in gymtwist itself, at {path}", failure=reason, path=self.path)
        if not self.startedWriting:
            self.answer(json_body(self, 500, Problem("an error in the server itself; its log has more", "error")))
        else:
            self.loseConnection()
        return reason
