"""``/api/``: what is known about the server, as JSON; described by :mod:`~gymtwist.web.openapi`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet import defer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gymtwist.errors import GymtwistError
from gymtwist.protocol.http_head import Problem, shown
from gymtwist.server.identities import Identity
from gymtwist.server.server_log import log
from gymtwist.web.environment_catalogue import EnvironmentCatalogue
from gymtwist.web.json_resource import JsonResource, json_body
from gymtwist.web.live_view import Frame, LiveViews, Reason
from gymtwist.web.openapi import describe
from gymtwist.web.played_session import RequestFailed
from gymtwist.web.server_overview import overview, state_of

#: No session or frame has a number with more digits.
_MOST_DIGITS = 16


class Answer(JsonResource):
    """Answers ``GET`` with what a function returns.

    Args:
        content: Returns an object that ``msgspec`` can encode, for the client with this identity.
    """

    isLeaf = True

    def __init__(self, content: Callable[[Identity], Any]) -> None:
        super().__init__()
        self._content = content

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        return json_body(request, 200, self._content(request.identity))


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
    """Answers with the running sessions; its children are the individual sessions.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._factory = factory
        self._views = LiveViews(factory.reactor, factory.sessions, factory.in_thread)
        factory.events.subscribe(self._views)

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource of one session; called by Twisted."""
        if not path:
            return self
        return OneSession(self._factory, self._views, path)

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        rows = [each for each in self._factory.state.rows() if request.identity.sees(each.identity)]
        return json_body(request, 200, {"sessions": rows})


class OneSession(JsonResource):
    """Answers with one session; its child is the live view.

    Args:
        factory: What the connections of the server share.
        views: The live views of sessions.
        name: The number of the session, as in the path.
    """

    def __init__(self, factory: Any, views: LiveViews, name: bytes) -> None:
        super().__init__()
        self._factory = factory
        self._views = views
        self._name = name
        #: 0 is never the number of a session.
        self._number = int(name) if name.isdigit() and len(name) < _MOST_DIGITS else 0

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource for frames; called by Twisted."""
        if path != b"frame":
            return super().getChild(path, request)
        session = self._factory.sessions.get(self._number)
        is_seen = session is not None and request.identity.sees(session.info.identity)
        return NextFrame(self._views, self._number if is_seen else 0)

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Cache-Control", b"no-store")
        page = self._factory.state.page(self._number)
        if page is not None and request.identity.sees(page.identity):
            return json_body(request, 200, page)
        return no_session(request, self._name)


def no_session(request: Any, name: bytes) -> bytes:
    """Answer that there is no such session.

    Args:
        request: The request.
        name: The number of the session, as in the path.
    """
    problem = Problem(
        "no session with this number is running or has ended recently",
        code="no-session",
        field="session",
        value=shown(name.decode("latin-1")),
        remedy="see /api/sessions for those that are running",
    )
    return json_body(request, 404, problem)


class NextFrame(JsonResource):
    """Answers with a session's next frame after the one whose number is given in the parameter ``after``.

    Args:
        views: The live views of sessions.
        number: The number of the session; 0 for none.
    """

    isLeaf = True

    def __init__(self, views: LiveViews, number: int) -> None:
        super().__init__()
        self._views = views
        self._number = number

    def render_GET(self, request: Any) -> int:
        """Answer once there is a frame; called by Twisted."""
        (after,) = request.args.get(b"after", [b"0"])[:1]
        last = int(after) if after.isdigit() and len(after) < _MOST_DIGITS else 0
        answer_later(request, defer.maybeDeferred(self._views.next, self._number, last), _frame_body)
        return NOT_DONE_YET


def _frame_body(request: Any, frame: Frame | Reason) -> bytes:
    if isinstance(frame, Reason):
        request.setResponseCode(204)
        request.setHeader(b"No-Frame", frame.value.encode())
        return b""
    request.setHeader(b"Content-Type", b"image/png")
    request.setHeader(b"Frame-Number", b"%d" % frame.number)
    return frame.png


class Environments(JsonResource):
    """Answers with the environments that clients may ask for; each of its children describes one.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._catalogue = EnvironmentCatalogue(factory)

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource that describes an environment; called by Twisted."""
        # An id may contain slashes, which look like path separators unless the client escapes them.
        parts = [path, *request.postpath]
        request.postpath.clear()
        name = b"/".join(parts).decode("utf-8", "replace").strip("/")
        return OneEnvironment(self._catalogue, name) if name else self

    def render_GET(self, request: Any) -> int:
        """Answer; called by Twisted."""
        answer_later(
            request,
            self._catalogue.listed(request.identity),
            lambda request, envs: json_body(request, 200, {"environments": envs}),
        )
        return NOT_DONE_YET


class OneEnvironment(JsonResource):
    """Answers with the reply to ``make`` for an environment, which is made if there is no reply yet.

    Args:
        catalogue: Makes the environment, and keeps the reply.
        name: The id of the environment.
    """

    isLeaf = True

    def __init__(self, catalogue: EnvironmentCatalogue, name: str) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._name = name

    def render_GET(self, request: Any) -> bytes | int:
        """Answer; called by Twisted."""
        # Browsers request images for pages of other sites without an Origin header.
        if request.getHeader("sec-fetch-site") == "cross-site":
            return json_body(request, 403, Problem("other sites may not have environments made", code="wrong-origin"))
        answer_later(request, self._catalogue.described(self._name, request.identity), _made_body)
        return NOT_DONE_YET


def _made_body(request: Any, made: bytes) -> bytes:
    return json_body(request, 200, msgspec.Raw(made))


def answer_later(request: Any, answer: defer.Deferred[Any], body: Callable[[Any, Any], bytes | None]) -> None:
    """Answer a request once there is an answer or an error.

    Args:
        request: The request.
        answer: A Deferred that fires with the answer; it is cancelled if the client leaves.
        body: Sets the headers, and returns the body; None if the body is sent in another way.
    """
    request.setHeader(b"Cache-Control", b"no-store")
    request.notifyFinish().addErrback(lambda _: answer.cancel())

    def failed(failure: Failure) -> bytes | None:
        error: Any = failure.value
        if failure.check(defer.CancelledError):
            return None
        if isinstance(error, RequestFailed):
            return json_body(request, 400, Problem(error.error.message, code=error.error.code))
        if isinstance(error, GymtwistError):
            return json_body(request, 503, Problem(str(error), code=error.code))
        if isinstance(error, OSError):
            return json_body(
                request, 503, Problem(f"the server cannot do that now: {error.strerror}", code="no-process")
            )
        log.failure("an error in gymtwist itself, at {path}", failure, path=request.path)
        return json_body(request, 500, Problem("an error in the server itself; its log has more", code="error"))

    answer.addCallback(lambda value: body(request, value)).addErrback(failed)
    answer.addCallback(lambda encoded: None if encoded is None else request.answer(encoded))


def build_api(factory: Any) -> JsonResource:
    """Build the resource at ``/api``.

    Args:
        factory: What the connections of the server share.
    """

    def errors(identity: Identity) -> Any:
        return {"errors": [each for each in factory.state.errors if identity.sees(each.identity)]}

    api: Any = JsonResource()
    api.putChild(b"status", Answer(lambda identity: overview(factory, identity)))
    api.putChild(b"sessions", Sessions(factory))
    api.putChild(b"environments", Environments(factory))
    api.putChild(b"errors", Answer(errors))
    api.putChild(b"openapi.json", Answer(lambda identity: describe()))
    found: JsonResource = api
    return found
