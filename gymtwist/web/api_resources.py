"""``/api/``: what there is to know about the server, as JSON; :mod:`~gymtwist.web.openapi` describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

from gymtwist.protocol.http_head import Problem, shown
from gymtwist.web.json_resource import JsonResource, json_body
from gymtwist.web.openapi import describe
from gymtwist.web.server_overview import overview, state_of


class Answer(JsonResource):
    """Answers ``GET`` with what a function returns.

    Args:
        content: Returns what ``msgspec`` can encode.
    """

    isLeaf = True

    def __init__(self, content: Callable[[], Any]) -> None:
        super().__init__()
        self._content = content

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        return json_body(request, 200, self._content())


class Readiness(JsonResource):
    """Answers whether new sessions can begin: 200 or 503.

    Args:
        factory: What the connections of the server share.
    """

    isLeaf = True

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._factory = factory

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        state = state_of(self._factory)
        return json_body(request, 200 if state == "ready" else 503, {"status": state})


class Sessions(JsonResource):
    """Answers with the sessions that run; its children are the sessions.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._factory = factory

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return what answers for one session; called by Twisted."""
        if not path:
            return self
        return OneSession(self._factory, path)

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        return json_body(request, 200, {"sessions": self._factory.state.rows()})


class OneSession(JsonResource):
    """Answers with one session.

    Args:
        factory: What the connections of the server share.
        name: The number of the session, as the path has it.
    """

    def __init__(self, factory: Any, name: bytes) -> None:
        super().__init__()
        self._factory = factory
        self._name = name

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        page = self._factory.state.page(int(self._name)) if self._name.isdigit() and len(self._name) < 16 else None
        return no_session(request, self._name) if page is None else json_body(request, 200, page)


def no_session(request: Any, name: bytes) -> bytes:
    """Answer that no such session runs."""
    problem = Problem(
        "no session with this number runs",
        code="no-session",
        field="session",
        value=shown(name.decode("latin-1")),
        remedy="see /api/sessions for those that run",
    )
    return json_body(request, 404, problem)


def build_api(factory: Any) -> JsonResource:
    """Build the resource at ``/api``.

    Args:
        factory: What the connections of the server share.
    """
    api: Any = JsonResource()
    api.putChild(b"status", Answer(lambda: overview(factory)))
    api.putChild(b"sessions", Sessions(factory))
    api.putChild(b"errors", Answer(lambda: {"errors": list(factory.state.errors)}))
    api.putChild(b"openapi.json", Answer(describe))
    found: JsonResource = api
    return found
