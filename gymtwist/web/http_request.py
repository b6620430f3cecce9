"""A request: it is checked before any resource is asked, and each error is JSON."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod

from gymtwist.protocol.http_head import SECURITY_HEADERS, Problem, shown
from gymtwist.web.json_resource import json_body

_log = Logger("gymsock")
_OPTIONS_ALLOWED = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"


class HttpRequest(server.Request):
    """A request to the site; called by Twisted."""

    defaultContentType = None
    site: Any

    def process(self) -> None:
        """Refuse the request, or find its resource and let that answer."""
        channel: Any = self.channel
        self.site = channel.site
        for name, value in SECURITY_HEADERS.items():
            self.setHeader(name.encode(), value.encode())
        host, origin = self.getHeader("host"), self.getHeader("origin")
        problem = self.site.policy.problem(host, origin)
        if problem is not None:
            self.answer(json_body(self, 421 if problem.field == "Host" else 403, problem))
        elif origin is not None and self.site.policy.allows_other(origin):
            self._allow(origin)
            if self.method == b"OPTIONS":
                self.setResponseCode(204)
                self.answer(b"")
            else:
                super().process()
        else:
            super().process()

    def _allow(self, origin: str) -> None:
        """Let a browser pass the response on to a page of another site."""
        self.setHeader(b"Access-Control-Allow-Origin", origin.encode("latin-1"))
        self.setHeader(b"Access-Control-Allow-Methods", _OPTIONS_ALLOWED)
        self.setHeader(b"Access-Control-Allow-Headers", b"Content-Type")
        self.setHeader(b"Vary", b"Origin")

    def render(self, resrc: Any) -> None:
        """Let a resource answer."""
        body: Any
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
        """Send the whole body of the response, and finish it."""
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer after an error of the server itself, without a word of it."""
        _log.failure("an error in gymtwist itself, at {path}", failure=reason, path=self.path)
        if not self.startedWriting:
            self.answer(json_body(self, 500, Problem("an error in the server itself; its log has more", "error")))
        else:
            self.loseConnection()
        return reason
