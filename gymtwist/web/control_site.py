"""The site at the control socket: what other clients may ask as well, and what only the operator may do."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gymtwist.protocol.http_head import Problem
from gymtwist.server.client_address import peer_of, process_of
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.operations import CannotReload, Operations
from gymtwist.server.process_memory import is_below
from gymtwist.server.server_log import log
from gymtwist.server.upgrade import CannotUpgrade, Upgrade
from gymtwist.web.api_resources import OneSession, no_session
from gymtwist.web.http_channel import HttpChannel
from gymtwist.web.http_request import HttpRequest
from gymtwist.web.json_resource import JsonResource, json_body

#: The maximum size of a request body in bytes, and the maximum length of a reason for the log in characters.
_MOST_BYTES, _MOST_REASON = 10_000, 200


class ControlRequest(HttpRequest):
    """A request at the control socket: whoever can open it may ask anything, except the server's own sessions."""

    def process(self) -> None:
        """Let the resource answer; no origin check is needed, as web pages cannot reach a UNIX socket.

        Called by Twisted.
        """
        channel: Any = self.channel
        if channel.site.is_below_server(process_of(channel.transport)):
            log.error("A process of a session tried to use the control socket, and was refused")
            problem = Problem("processes of sessions may not control the server", code="refused")
            self.write(json_body(self, 403, problem))
            self.finish()
        else:
            server.Request.process(self)


class ControlSite(server.Site):
    """Builds the channel of each connection to the control socket."""

    noisy = False
    is_retired = False
    protocol: Any = HttpChannel
    #: Whether a process serves sessions, or is below one that does; set by :func:`build_control_site`.
    is_below_server: Callable[[int | None], bool]

    def buildProtocol(self, addr: Any) -> Any:
        """Return the channel of a new connection; called by Twisted."""
        channel: Any = super().buildProtocol(addr)

        def dismiss(reply: bytes) -> None:
            channel.transport.write(reply)
            channel.transport.loseConnection()

        channel.bodies, channel.dismiss, channel.count = {}, dismiss, bool
        return channel

    def log(self, request: Any) -> None:
        """Do nothing: operations log what they do."""


class Action(JsonResource):
    """Answers ``POST`` with what a function returns.

    Args:
        act: Performs the action: takes the request and the name of its sender, and returns the body of the response, or
            :data:`~twisted.web.server.NOT_DONE_YET`.
    """

    isLeaf = True

    def __init__(self, act: Callable[[Any, str], bytes | int]) -> None:
        super().__init__()
        self._act = act

    def render_POST(self, request: Any) -> bytes | int:
        """Answer; called by Twisted."""
        return self._act(request, _user_of(request))


class ControlledSessions(JsonResource):
    """The running sessions, which can be ended.

    Args:
        sessions: The resource that lists them.
        operations: What the operator may do.
    """

    def __init__(self, sessions: Resource, operations: Operations) -> None:
        super().__init__()
        self._sessions = sessions
        self._operations = operations

    def render(self, request: Any) -> Any:
        """Answer; called by Twisted."""
        return self._sessions.render(request)

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource of one session; called by Twisted."""
        child: Resource = self._sessions.getChildWithDefault(path, request)
        if isinstance(child, OneSession):
            end: Any = Action(lambda request, who: self._end(request, who, path))
            child.putChild(b"end", end)
        return child

    def _end(self, request: Any, who: str, name: bytes) -> bytes:
        reason = _read_reason(request)
        if reason is None:
            problem = Problem(
                'expected a JSON object such as {"reason": "maintenance"}, or nothing',
                code="invalid-field",
                field="reason",
                remedy=f"send a text of at most {_MOST_REASON} characters",
            )
            return json_body(request, 400, problem)
        number = int(name) if name.isdigit() and len(name) < 16 else 0
        if not self._operations.end(number, who, reason):
            return no_session(request, name)
        return json_body(request, 202, {"ending": number})


def _read_reason(request: Any) -> str | None:
    """Return the reason in the body of a request; empty for an empty body, None for an invalid one."""
    body = request.content.read(_MOST_BYTES)
    if not body:
        return ""
    try:
        reason = msgspec.json.decode(body, type=dict[str, str]).get("reason", "")
    except msgspec.MsgspecError:
        return None
    return reason if len(reason) <= _MOST_REASON else None


def _user_of(request: Any) -> str:
    """Return the name of the user who sent a request."""
    user = peer_of(request.transport).user
    assert user is not None, "this site listens at a UNIX socket alone"
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def build_control_site(factory: GymFactory, operations: Operations, upgrade: Upgrade) -> ControlSite:
    """Build the site at the control socket.

    Args:
        factory: What connections share; its site must be built already.
        operations: What the operator may do.
        upgrade: Replaces the process.
    """

    def drain(request: Any, who: str) -> bytes:
        return json_body(request, 202, {"sessions": operations.drain(who)})

    def reload(request: Any, who: str) -> bytes:
        try:
            return json_body(request, 200, operations.reload(who))
        except CannotReload as error:
            return json_body(request, 409, Problem(str(error), code="cannot-reload"))

    def begin_upgrade(request: Any, who: str) -> int:
        left = request.notifyFinish()
        left.addErrback(lambda failure: None)

        def answer(status: int, content: Any) -> None:
            if not left.called:
                request.write(json_body(request, status, content))
                request.finish()

        def refuse(failure: Failure) -> None:
            failure.trap(CannotUpgrade)
            answer(409, Problem(failure.getErrorMessage(), code="cannot-upgrade"))

        upgrade.begin(who).addCallbacks(lambda upgraded: answer(200, upgraded), refuse)
        return NOT_DONE_YET

    root: Any = JsonResource()
    api: Any = JsonResource()
    for name, child in factory.site.resource.children[b"api"].children.items():
        api.putChild(name, child)
    api.putChild(b"sessions", ControlledSessions(api.children[b"sessions"], operations))
    api.putChild(b"drain", Action(drain))
    api.putChild(b"reload", Action(reload))
    api.putChild(b"upgrade", Action(begin_upgrade))
    root.putChild(b"api", api)
    site = ControlSite(root, ControlRequest, reactor=factory.reactor, timeout=factory.options.opening_timeout)
    site.is_below_server = lambda process: process is None or is_below(process, factory.worker_processes())
    return site
