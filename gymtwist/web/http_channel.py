"""A connection that speaks HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from gymtwist.protocol.http_head import MAX_HEAD, Problem, response

#: The maximum size of a request body, in bytes.
MAX_BODY = 4 * 1024 * 1024
#: The maximum total size of all long request bodies, and the size above which a body is long.
MAX_BODIES, _LONG = 64 * 1024 * 1024, 64 * 1024
TOO_LONG = Problem(
    "the body of the request is too long", "limit-exceeded", "body", remedy=f"send at most {MAX_BODY} bytes"
)
_TOO_MANY = Problem(
    "there are too many requests with long bodies", "server-full", "body", remedy="try again later, or send less"
)
_TOO_SLOW = Problem("the request was not complete in time", "bad-opening", remedy="send it at once")
_BAD_REQUEST = Problem("this is not a request of HTTP/1.1", code="bad-opening")


class HttpChannel(http.HTTPChannel):
    """Reads the requests of one connection, one after another; called by Twisted."""

    transport: Any
    #: Sends some last bytes and closes the connection; set by the connection.
    dismiss: Callable[[bytes], None]
    #: Called with whether the connection is being answered, so that it is counted accordingly; set likewise.
    count: Callable[[bool], None]
    #: Reads data that has arrived but was not read; set likewise.
    read_pending: Callable[[], None] = staticmethod(lambda: None)
    #: The sizes of long bodies, shared by all channels of a site.
    bodies: dict[Any, int]
    totalHeadersSize = MAX_HEAD
    #: A request that was answered, kept until the client reads its responses; None if there is none.
    _unread: Any = None
    #: Whether a request has arrived since this was last set to False.
    _has_come = False

    def take(self, size: int) -> bool:
        """Return whether the body of a request may have this size, in bytes; refuse the request if not."""
        if size > _LONG:
            self.bodies[self] = size
        if size > MAX_BODY:
            self.refuse(413, TOO_LONG)
        elif size > _LONG and sum(self.bodies.values()) > MAX_BODIES:
            self.refuse(503, _TOO_MANY)
        else:
            return True
        return False

    def resetTimeout(self) -> None:
        """Do nothing: a request must be complete in time, however often a byte arrives; called by Twisted."""

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Return whether more requests may follow; not if another process answers them. Called by Twisted."""
        if self.factory.is_retired:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def allContentReceived(self) -> None:
        """Answer a request; called by Twisted."""
        self._has_come = True
        self.count(True)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Wait for the next request, once the client reads the responses to earlier ones; called by Twisted.

        Twisted would answer all requests received so far, however much memory the responses take.
        """
        self.bodies.pop(self, None)
        self.count(False)
        if self._waitingForTransport:
            self._unread = request
            self.setTimeout(self._savedTimeOut)
            self.transport.pauseProducing()
        else:
            super().requestDone(request)

    def resumeProducing(self) -> None:
        """Continue, since the client is reading; called by Twisted."""
        super().resumeProducing()
        request, self._unread = self._unread, None
        if request is not None:
            super().requestDone(request)

    def refuse(self, status: int, problem: Problem) -> None:
        """Answer an incomplete request with an error, and read no more of it."""
        self.bodies.pop(self, None)
        self.setTimeout(None)
        self._networkProducer.unregisterProducer()
        vars(self).update(lineReceived=_ignore, rawDataReceived=_ignore, _send100Continue=lambda: None)
        self.dismiss(response(status, problem))

    def timeoutConnection(self) -> None:
        """Refuse a request that was not complete in time, or close an idle connection; called by Twisted."""
        if self._unread is None:
            self._has_come = False
            self.read_pending()
            if self._has_come:
                return
        if self._unread is None and (self.requests or self._buffer):
            self.refuse(408, _TOO_SLOW)
        else:
            self._unread = None
            self.dismiss(b"")  # the client may not be reading its responses

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the memory at once; called by Twisted."""
        super().connectionLost(reason)
        self.bodies.pop(self, None)
        self.requests.clear()
        self._unread = None
        self._transferDecoder = None

    def finish(self) -> None:
        """Close the connection, after the current response if there is one: the server is stopping."""
        if self.requests:
            self.persistent = False
        else:
            self.loseConnection()

    def stop(self, reason: str) -> None:
        """Close the connection at once: the server has waited long enough."""
        self.transport.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, _BAD_REQUEST)


def _ignore(data: bytes) -> None:
    """Ignore data after a refused request."""
