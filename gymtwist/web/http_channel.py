"""A connection that speaks HTTP."""

from __future__ import annotations

from typing import Any

from twisted.web import http

from gymtwist.protocol.http_head import MAX_HEAD, Problem, response

_BAD_REQUEST = Problem("this is not a request of HTTP/1.1", code="bad-opening")


class HttpChannel(http.HTTPChannel):
    """Reads the requests of one connection, one after the other; called by Twisted."""

    transport: Any
    totalHeadersSize = MAX_HEAD

    def finish(self) -> None:
        """Close the connection, at once or after the response that is on its way: the server stops."""
        if self.requests:
            self.persistent = False
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.transport.write(response(400, _BAD_REQUEST))
        self.loseConnection()
