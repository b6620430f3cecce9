"""The node's side: connections that present tickets, and the link to the front."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from twisted.internet import task
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

import gymtwist
from gymtwist.placement import node_commands
from gymtwist.placement.node_commands import FRONT_TIMEOUT, TICKET_BYTES, TICKET_TIMEOUT
from gymtwist.protocol import websocket
from gymtwist.protocol.framing import ProtocolName
from gymtwist.protocol.handshake import Handshake, read_handshake, read_message
from gymtwist.server.connection_states import Event, State
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.gym_protocol import GymProtocol
from gymtwist.server.server_log import log
from gymtwist.server.server_session import Session, Terms
from gymtwist.server.session_events import Ended, SessionEvent
from gymtwist.server.unserved_connection import Transitions
from gymtwist.worker.amp_commands import Link

#: Bytes of a ticket and its line end.
_TICKET_LINE = 2 * TICKET_BYTES + 1
_KILLED = "the front has killed it"
#: Limits before a control connection has presented the secret: bytes that it may send, and seconds that it may take.
_MOST_TO_ENTER, _TIME_TO_ENTER = 4096, 10.0
#: The maximum number of such connections; beyond it, the oldest is closed.
_MOST_ENTERING = 16


class Expected(msgspec.Struct, frozen=True):
    """What the front has announced about a connection; see :class:`~.node_commands.Expect`."""

    session: int
    handshake: Handshake
    recovery_reply: bytes
    make: bytes
    overrides: dict[str, Any]


class Tickets:
    """The connections that are expected or being served, by ticket; a ticket can be used once.

    Args:
        reactor: Provides the time.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._expected: dict[bytes, Expected] = {}
        self.served: dict[bytes, NodeConnection] = {}
        self._numbers: dict[int, bytes] = {}
        self.tell: Callable[..., None] = _ignore

    def expect(self, ticket: bytes, expected: Expected) -> None:
        """Allow a connection to use a ticket, for a limited time."""
        self._expected[ticket] = expected
        self._reactor.callLater(TICKET_TIMEOUT, self._expire, ticket)

    def _expire(self, ticket: bytes) -> None:
        if self._expected.pop(ticket, None) is not None:
            self.tell(node_commands.Expired, ticket=ticket)

    def redeem(self, ticket: bytes) -> Expected | None:
        """Take what was announced for a ticket; None if there is no such ticket, or it was used or has expired."""
        return self._expected.pop(ticket, None)

    def serves(self, ticket: bytes, connection: NodeConnection, number: int) -> None:
        """Note which connection and session a ticket was used for."""
        self.served[ticket] = connection
        self._numbers[number] = ticket

    def __call__(self, event: SessionEvent) -> None:
        """Tell the front when a session ends; subscribed to the session events."""
        if isinstance(event, Ended):
            ticket = self._numbers.pop(event.session.number, None)
            if ticket is not None:
                connection = self.served.pop(ticket)
                self.tell(
                    node_commands.Ended,
                    ticket=ticket,
                    reason=event.reason,
                    processor_time=event.processor_time,
                    now=time.monotonic(),
                    words=connection.told(),
                )

    def report(self) -> None:
        """Tell the front what the sessions have done since the last report."""
        for ticket, connection in self.served.items():
            told = connection.told()
            if told and told != connection.last_told:
                connection.last_told = told
                memory, processor_time = connection.used()
                self.tell(
                    node_commands.Report,
                    ticket=ticket,
                    now=time.monotonic(),
                    words=told,
                    memory=memory,
                    processor_time=processor_time,
                )


def _ignore(*_: object, **__: object) -> None:
    """Do nothing: no front has entered yet."""


class NodeConnection(GymProtocol):
    """A connection that presents a ticket instead of a handshake, made by the front or by a redirected client."""

    factory: NodeFactory
    _ticket = b""
    _expected: Expected | None = None
    #: What the front was last told.
    last_told = b""

    def read(self, data: bytes) -> None:
        """Read the ticket, and begin its session."""
        received = self.reader.received
        received += data
        if len(received) < _TICKET_LINE:
            return
        self._ticket = bytes(received[: _TICKET_LINE - 1])
        self._expected = self.factory.tickets.redeem(self._ticket)
        if self._expected is None or received[_TICKET_LINE - 1 : _TICKET_LINE] != b"\n":
            log.error("A connection of {client} has no valid ticket", client=self.client)
            self.handle(Event.DISMISS, b"")
            return
        del received[:_TICKET_LINE]
        self.handshake = self._expected.handshake
        self.reader.speaks(self.handshake.protocol)
        self.setTimeout(None)
        self.factory.admission.enter(self)

    def new_session(self, handshake: Handshake) -> Session:
        """Return a new session for the ticket."""
        assert self._expected is not None
        expected = self._expected
        session = self.factory.new_session(
            handshake, self.client, self.identity, self.interface, Terms(settings=expected.overrides)
        )
        if expected.recovery_reply:
            session.continue_from(expected.recovery_reply, expected.make)
        self.factory.tickets.serves(self._ticket, self, session.info.number)
        return session

    TRANSITIONS: ClassVar[Transitions] = {
        **GymProtocol.TRANSITIONS,
        State.HANDSHAKE: {**GymProtocol.TRANSITIONS[State.HANDSHAKE], Event.DATA: (State.HANDSHAKE, read)},
    }

    def told(self) -> bytes:
        """Return the session's progress as words of its status; empty before it has begun."""
        return b"" if self._session is None else self._session.status.told()

    def used(self) -> tuple[int, float]:
        """Return the bytes held by the session's process, and its processor time in seconds."""
        return (0, 0.0) if self._session is None else self._session.used()

    def end_session(self, *, kill: bool) -> None:
        """End the session, as the front has asked."""
        if self.state in (State.SERVING, State.ABANDONED):
            self.handle(*((Event.KILL, _KILLED) if kill else (Event.HANG_UP, "the client left")))
        elif kill and self._session is not None:
            self._session.kill()


class NodeFactory(GymFactory):
    """Builds the protocol of each connection to a node.

    Args:
        tickets: The expected connections.
        shared: The arguments of ``GymFactory``.
    """

    def __init__(self, tickets: Tickets, *shared: Any) -> None:
        super().__init__(*shared)
        self.tickets = tickets


class FrontLink(Link):
    """The node's end of the link to the front; until the secret has been presented, anybody may be at the other end.

    Args:
        control: What the links share.
    """

    transport: Any

    def __init__(self, control: ControlFactory) -> None:
        super().__init__()
        self._control = control
        self._has_entered = False
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        """Parse received bytes, and limit them before the secret is presented: AMP itself has no limit on a box."""
        if not self._has_entered:
            self._received += len(data)
            if self._received > _MOST_TO_ENTER:
                self.transport.abortConnection()
                return
        super().dataReceived(data)

    def ampBoxReceived(self, box: Any) -> None:
        """Handle a box; until the secret has been presented, only ``Enter`` is accepted."""
        if not self._has_entered and box.get(b"_command") != node_commands.Enter.commandName:
            self.transport.abortConnection()
            return
        super().ampBoxReceived(box)

    @node_commands.Enter.responder
    def enter(self, secret: bytes, version: str) -> dict[str, Any]:
        """Let in the front that started this node."""
        if not hmac.compare_digest(secret, self._control.secret):
            raise node_commands.Refused("the secret is wrong")
        if version != gymtwist.__version__:
            raise node_commands.Refused(
                f"the node has gymtwist {gymtwist.__version__} and the front {version}: install the same on both"
            )
        self._has_entered = True
        self._control.entered(self)
        return {}

    @node_commands.Beat.responder
    def beat(self) -> dict[str, Any]:
        """Answer a heartbeat."""
        self._control.beat()
        return {}

    @node_commands.Expect.responder
    def expect(
        self,
        ticket: bytes,
        session: int,
        protocol: bytes,
        handshake: bytes,
        recovery_reply: bytes,
        make: bytes,
        overrides: bytes,
    ) -> dict[str, Any]:
        """Expect a connection."""
        name = ProtocolName(protocol.decode())
        first = read_message(name, handshake, handshake) if name in websocket.OPCODES else read_handshake(handshake)
        assert first is not None  # the front has read it already
        settings = msgspec.json.decode(overrides) if overrides else {}
        self._control.tickets.expect(ticket, Expected(session, first, recovery_reply, make, settings))
        return {}

    @node_commands.End.responder
    def end(self, ticket: bytes, kill: bool) -> dict[str, Any]:
        """End a session."""
        connection = self._control.tickets.served.get(ticket)
        if connection is not None:
            connection.end_session(kill=kill)
        return {}

    def tell(self, command: type[amp.Command], **fields: Any) -> None:
        """Send the front a command about a session."""
        if self.transport is not None:
            self.callRemote(command, **fields)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the link; called by Twisted."""
        super().connectionLost(reason)
        self._control.no_stranger(self)
        self._control.left(self)


class ControlFactory(Factory):
    """Builds the links to the front, one of which is active at a time.

    Args:
        reactor: Provides the time.
        secret: What the front must present.
        tickets: The expected connections.
        abandoned: Called when the front is gone.
    """

    noisy = False

    def __init__(self, reactor: Any, secret: bytes, tickets: Tickets, abandoned: Callable[[], None]) -> None:
        self.secret = secret
        self.tickets = tickets
        self._reactor = reactor
        self._abandoned = abandoned
        self._link: FrontLink | None = None
        self._timer: Any = None
        #: The links that have not presented the secret, each with the timer that closes it.
        self._strangers: dict[FrontLink, Any] = {}
        self._reports = task.LoopingCall(tickets.report)
        self._reports.clock = reactor

    def buildProtocol(self, addr: Any) -> FrontLink:
        """Return the protocol of a new connection; called by Twisted."""
        link = FrontLink(self)
        if len(self._strangers) == _MOST_ENTERING:
            self._close(next(iter(self._strangers)))
        self._strangers[link] = self._reactor.callLater(_TIME_TO_ENTER, self._close, link)
        return link

    def _close(self, link: FrontLink) -> None:
        self.no_stranger(link)
        if link.transport is not None:
            link.transport.abortConnection()

    def no_stranger(self, link: FrontLink) -> None:
        """Note that a link has presented the secret, or has ended."""
        timeout = self._strangers.pop(link, None)
        if timeout is not None and timeout.active():
            timeout.cancel()

    def wait(self, seconds: float) -> None:
        """Wait this many seconds for the front."""
        self._timer = self._reactor.callLater(seconds, self._abandoned)

    def entered(self, link: FrontLink) -> None:
        """Accept commands from a link."""
        self.no_stranger(link)
        self._link = link
        self.tickets.tell = link.tell
        if not self._reports.running:
            self._reports.start(node_commands.REPORT_INTERVAL, now=False)
        self.beat()

    def beat(self) -> None:
        """Note that the front is alive."""
        if self._timer is None:
            self._timer = self._reactor.callLater(FRONT_TIMEOUT, self._abandoned)
        else:
            self._timer.reset(FRONT_TIMEOUT)

    def left(self, link: FrontLink) -> None:
        """Note the end of a link."""
        if link is self._link:
            self._link = None
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._abandoned()
