"""Resources that answer with JSON, including for errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from twisted.web.resource import Resource

from gymtwist.protocol.http_head import UPGRADE_HEADERS, Problem, shown


def json_body(request: Any, status: int, content: Any) -> bytes:
    """Set the status and content type of a response, and return its body.

    Args:
        request: The request.
        status: The status code.
        content: An object that ``msgspec`` can encode; a :class:`~gymtwist.protocol.http_head.Problem` for an error.
    """
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())  # Twisted does not know all phrases
    request.setHeader(b"Content-Type", b"application/json")
    return msgspec.json.encode(content)


class JsonResource(Resource):
    """A base class for resources whose missing children are JSON errors."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource for a child that does not exist; called by Twisted."""
        return NotFound()


class NotFound(JsonResource):
    """Answers for a path that does not exist."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        problem = Problem(
            "there is nothing at this path",
            code="not-found",
            field="path",
            value=shown(request.path.decode("latin-1")),
            remedy="see the reference for the paths of this server",
        )
        return json_body(request, 404, problem)


class UpgradeNeeded(JsonResource):
    """Answers at the WebSocket path: only the first request of a connection can be an upgrade."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        for name, value in UPGRADE_HEADERS.items():
            request.setHeader(name.encode(), value.encode())
        problem = Problem(
            "this path is for WebSocket",
            code="upgrade-required",
            field="Upgrade",
            value=shown(request.getHeader("upgrade") or ""),
            remedy="make it the first request of a connection, and a WebSocket upgrade",
        )
        return json_body(request, 426, problem)


class Content(JsonResource):
    """Answers ``GET`` with constant JSON.

    Args:
        content: An object that ``msgspec`` can encode.
    """

    isLeaf = True

    def __init__(self, content: Any) -> None:
        super().__init__()
        self._content = content

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        return json_body(request, 200, self._content)
