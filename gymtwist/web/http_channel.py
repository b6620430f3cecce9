"""A connection that speaks HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from gymtwist.protocol.http_head import MAX_HEAD, Problem, response

#: The most bytes of the body of a request.
MAX_BODY = 4 * 1024 * 1024
#: The same of all requests together, without those that are not long.
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
    """Reads the requests of one connection, one after the other; called by Twisted."""

    transport: Any
    #: Sends the last bytes, and closes the connection; set by the connection.
    dismiss: Callable[[bytes], None]
    #: Counts the connection: whether it waits for a response; set likewise.
    count: Callable[[bool], None]
    #: Reads what has come and was not read; set likewise.
    read_pending: Callable[[], None] = staticmethod(lambda: None)
    #: The bytes of long bodies, of all channels of a site.
    bodies: dict[Any, int]
    totalHeadersSize = MAX_HEAD
    #: A request that was answered, while the client does not read the responses.
    _unread: Any = None
    #: Whether a request has come since this was last set to False.
    _has_come = False

    def take(self, size: int) -> bool:
        """Return whether the body of a request may have a size; refuse the request if not."""
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
        """Do nothing: a request must be complete in time, however often a byte comes; called by Twisted."""

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Return whether further requests may come; not if another process answers them. Called by Twisted."""
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

        Twisted answers all that were received before, however long the responses become.
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
        """Go on: the client reads; called by Twisted."""
        super().resumeProducing()
        request, self._unread = self._unread, None
        if request is not None:
            super().requestDone(request)

    def refuse(self, status: int, problem: Problem) -> None:
        """Answer a request that is not complete, and read no more of it."""
        self.bodies.pop(self, None)
        self.setTimeout(None)
        self._networkProducer.unregisterProducer()
        vars(self).update(lineReceived=_ignore, rawDataReceived=_ignore, _send100Continue=lambda: None)
        self.dismiss(response(status, problem))

    def timeoutConnection(self) -> None:
        """Refuse a request that is not complete in time, or close an idle connection; called by Twisted."""
        if self._unread is None:
            self._has_come = False
            self.read_pending()
            if self._has_come:
                return
        if self._unread is None and (self.requests or self._buffer):
            self.refuse(408, _TOO_SLOW)
        else:
            self._unread = None
            self.dismiss(b"")  # the client may not read what it was sent

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the memory at once; called by Twisted."""
        super().connectionLost(reason)
        self.bodies.pop(self, None)
        self.requests.clear()
        self._unread = None
        self._transferDecoder = None

    def finish(self) -> None:
        """Close the connection, at once or after the response that is on its way: the server stops."""
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
    """Take no notice of what comes behind a request that was refused."""
