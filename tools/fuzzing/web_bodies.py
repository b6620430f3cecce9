"""Bodies of requests to the web interfaces, and OpenEnv's messages, as the server reads them.

There are no workers: what would be sent to one is decoded as a worker does, and not answered.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from twisted.internet import defer
from twisted.internet.address import UNIXAddress
from twisted.internet.testing import StringTransport

from gymtwist.errors import GymtwistError
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist.protocol.handshake import ProtocolName
from gymtwist.server.identities import EVERYBODY
from gymtwist.server.operations import Operations, Reloaded
from gymtwist.server.upgrade import Upgrade
from gymtwist.web.control_site import build_control_site
from gymtwist.web.gym_http_api import Instance
from gymtwist.web.openenv_session import OpenEnvSession
from gymtwist.web.openenv_values import Observations
from gymtwist.web.played_session import RequestFailed
from tests.support.harness import Harness

_INSTANCE = "/v1/envs/00000000"
#: What is sent to the port, and to the control socket; `GET` as well, since a client may send a body with it.
_REQUESTS = (
    *("POST /v1/envs/", "POST /v1/upload/", "POST /v1/shutdown/", "GET /api/sessions", "GET /api/environments"),
    *(f"POST {_INSTANCE}/{each}/" for each in ("step", "reset", "monitor/start", "monitor/close", "close")),
    *(f"POST {_INSTANCE}/observation_space/contains", "POST /openenv/CartPole-v1/mcp"),
)
_CONTROL = ("POST /api/sessions/1/end", "POST /api/drain", "POST /api/reload")
_ERROR = "an error in gymtwist itself"


class Unanswered(Exception):
    """A body was not answered as it should be."""


class _UnplayedSession:
    """A session that decodes each request as its worker does, and does not answer it."""

    def __init__(self, protocol: ProtocolName, made: make_messages.Made) -> None:
        self.codec, self.made = MessageCodec(protocol), made

    def send(self, frame: bytes, decode: Any) -> defer.Deferred[Any]:
        """Check that a frame is one; it may have a request that is refused."""
        frames = FrameReader(Framing(self.codec.framing), frame)
        payload = frames.next_frame()
        if payload is None or frames.next_frame() is not None:
            raise Unanswered(f"not one frame: {frame!r:.500}")
        with contextlib.suppress(GymtwistError):
            self.codec.decode_request(payload)
        return defer.fail(RequestFailed(messages.Error("nobody-plays", "nobody plays", "request")))

    def ask(self, request: Any, kind: Any) -> defer.Deferred[Any]:
        """Encode and check a request."""
        return self.send(b"".join(self.codec.encode_request(request)), None)

    def close(self) -> defer.Deferred[None]:
        """End nothing."""
        return defer.succeed(None)

    def abort(self) -> None:
        """End nothing."""


class WebBodies:
    """A server's sites, to which bodies can be sent.

    Args:
        made: What an environment is, by the protocol of its session.
    """

    def __init__(self, made: dict[ProtocolName, make_messages.Made]) -> None:
        self._ends = socket.socketpair()
        self._harness = Harness("--warm", "0", pool=False)
        self._made = made
        self._factory = self._harness.factory
        self._factory.admission.stop()  # a session is refused
        upgrade = Upgrade(self._factory.reactor, self._factory, tuple, self._factory.predecessors)  # refused, too
        self._control = build_control_site(self._factory, _Unharmed(self._factory), upgrade)
        rest = self._factory.site.resource.children[b"v1"]
        played: Any = _UnplayedSession(ProtocolName.NETSTRING, made[ProtocolName.NETSTRING])
        rest._instances["00000000"] = Instance(played, None, EVERYBODY.name)

    def read(self, body: bytes) -> None:
        """Send a body everywhere.

        Raises:
            Unanswered: A response is missing, or says that the server itself is wrong.
        """
        for request in _REQUESTS:
            self._request(self._factory.site, StringTransport(), request, body)
        for request in _CONTROL:
            transport: Any = StringTransport(peerAddress=UNIXAddress(None))
            transport.socket = self._ends[0]  # whose peer the kernel names
            self._request(self._control, transport, request, body)
        self._say(body)
        log = self._harness.log
        wrong = log.having("Traceback") + log.having(_ERROR)
        log.lines.clear()
        log.others.clear()
        if wrong:
            raise Unanswered(wrong[0])

    def _request(self, site: Any, transport: Any, request: str, body: bytes) -> None:
        channel = site.buildProtocol(transport.getPeer())
        channel.bodies, channel.count, channel.dismiss = {}, bool, transport.write
        head = f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        channel.makeConnection(transport)
        channel.dataReceived(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        for _ in range(20):
            if transport.value():
                break
            self._harness.turn(1)
        status = transport.value()[9:12]
        channel.connectionLost()
        if not status or status == b"500":
            raise Unanswered(f"{request} was answered with {transport.value()!r:.500}")

    def _say(self, message: bytes) -> None:
        """Send it as a message of OpenEnv, in a session."""
        session = OpenEnvSession(self._factory, "127.0.0.1:1", EVERYBODY, "CartPole-v1", lambda holds: None)
        session.closed = lambda reason: None
        made = self._made[ProtocolName.INT32]
        played: Any = _UnplayedSession(ProtocolName.INT32, made)
        session._session, session._observations = played, Observations(made, None)
        answers: list[Any] = []
        session.answer(message).addBoth(answers.append)
        if not answers or not isinstance(answers[0], tuple):
            raise Unanswered(f"OpenEnv: {answers!r:.500}")
        if answers[0][0]:
            json.loads(answers[0][0])

    def close(self) -> None:
        """Close the sites."""
        self._harness.close()
        for end in self._ends:
            end.close()


class _Unharmed(Operations):
    """Operations that change nothing."""

    def drain(self, who: str) -> int:
        """Go on."""
        return 0

    def reload(self, who: str) -> Reloaded:
        """Read nothing."""
        return Reloaded(changed=[], ignored=[])
