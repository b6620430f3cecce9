"""The site: it answers the HTTP requests to a server.

Each part adds a child to the root, named after the first part of its paths.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.web import server
from twisted.web.resource import Resource

from gymtwist.errors import TokenRefused
from gymtwist.protocol.http_head import Head
from gymtwist.protocol.websocket import upgrade_problem
from gymtwist.server.client_address import peer_of
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.identities import Identity
from gymtwist.web.api_resources import Readiness, build_api
from gymtwist.web.authentication import token_of
from gymtwist.web.control_site import ControlSite
from gymtwist.web.dataset_resources import Datasets
from gymtwist.web.forwarding import ForwardedRequest
from gymtwist.web.gym_http_api import GymHttpApi
from gymtwist.web.http_channel import HttpChannel
from gymtwist.web.http_request import HttpRequest
from gymtwist.web.json_resource import Content, JsonResource, UpgradeNeeded
from gymtwist.web.metrics import Metrics
from gymtwist.web.openenv_api import PREFIX, OpenEnvApi, socket_environment
from gymtwist.web.openenv_channel import OpenEnvChannel
from gymtwist.web.openenv_session import OpenEnvSession
from gymtwist.web.site_policy import SitePolicy
from gymtwist.web.static_files import StaticFile, static_files


class Root(JsonResource):
    """The root of the site; it accepts a doubled slash, since some clients join address and path with one too many."""

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        """Return the resource of a child; called by Twisted."""
        return self if not path and request.postpath else super().getChildWithDefault(path, request)


class GymSite(server.Site):
    """Builds the channel of each HTTP connection.

    Args:
        root: The root resource.
        factory: What connections share.
        api: The resource for gym-http-api.

    Attributes:
        factory: What connections share.
        is_retired: Whether another process has the ports, so that each connection ends after its next response.
        policy: The names of the server, and the pages that may use it.
        api: The resource for gym-http-api.
    """

    protocol: Any = HttpChannel
    is_retired = False

    def __init__(self, root: Any, factory: GymFactory, api: GymHttpApi) -> None:
        super().__init__(root, HttpRequest, reactor=factory.reactor)
        self.factory = factory
        self.api = api
        self._forwarded = ControlSite(root, ForwardedRequest, reactor=factory.reactor)
        self._bodies: dict[Any, int] = {}
        self._apply()
        factory.when_applied.append(self._apply)
        self.policy = SitePolicy(factory.options.allow_host, factory.options.allow_origin)

    def _apply(self) -> None:
        """Apply the current options to new connections."""
        self.timeOut = self.factory.options.opening_timeout

    def serve_forwarded(self, descriptor: int) -> None:
        """Answer a request that another server process has accepted, at this socket; close the descriptor."""
        os.set_blocking(descriptor, False)
        self.factory.reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, self._forwarded)
        os.close(descriptor)

    def channel(self, head: Head, connection: Any) -> Any:
        """Return the channel of a connection: for HTTP requests, or for the messages of an OpenEnv client.

        Args:
            head: The head of the first request.
            connection: The connection, an :class:`~gymtwist.server.unserved_connection.UnservedConnection`.
        """
        environment = socket_environment(head.path) if head.asks_for_websocket else None
        identity = None if environment is None else self._accepted(head, connection.transport)
        if environment is None or identity is None:  # the HTTP channel answers refusals with a reason
            channel: Any = self.buildProtocol(connection.transport.getPeer())
            channel.bodies = self._bodies
            return channel
        session = OpenEnvSession(self.factory, connection.client, identity, environment, connection.hold_session)
        return OpenEnvChannel(self.factory.reactor, head, session)

    def _accepted(self, head: Head, transport: Any) -> Identity | None:
        """Return the identity that asks for a WebSocket; None if the request must be refused."""
        refused = self.policy.refusal(head.headers.get("host"), head.headers.get("origin"))
        if refused is not None or upgrade_problem(head) is not None:
            return None
        try:
            return self.identity_of(head.headers.get("authorization"), transport)
        except TokenRefused:
            return None

    def identity_of(self, authorization: str | None, transport: Any) -> Identity:
        """Return the identity of the sender of a request.

        Args:
            authorization: The value of ``Authorization``; None if it was not sent.
            transport: The connection.

        Raises:
            TokenRefused: The client has no identity here.
        """
        return self.factory.identities.find(token_of(authorization), peer_of(transport))


def build_site(factory: GymFactory) -> GymSite:
    """Build the site of a server.

    Args:
        factory: What connections share: options, sessions, workers and events.
    """
    root: Any = Root()
    root.putChild(b"", StaticFile("index.html"))
    root.putChild(b"static", static_files())
    gym_http_api: Any = GymHttpApi(factory)
    root.putChild(b"v1", gym_http_api)
    root.putChild(PREFIX.encode(), OpenEnvApi(factory))
    root.putChild(b"healthz", Content({"status": "ok"}))
    root.putChild(b"ws", UpgradeNeeded())
    root.putChild(b"readyz", Readiness(factory))
    root.putChild(b"metrics", Metrics(factory))
    api: Any = build_api(factory)
    api.putChild(b"datasets", Datasets(factory))
    root.putChild(b"api", api)
    return GymSite(root, factory, gym_http_api)
