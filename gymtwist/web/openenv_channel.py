"""The WebSocket of an OpenEnv client, at ``/openenv/ENV_ID/ws``."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.protocol.framing import MAX_FRAME
from gymtwist.protocol.handshake import MAX_MAKE
from gymtwist.protocol.http_head import Head
from gymtwist.protocol.websocket import (
    CloseCode,
    Opcode,
    WebSocketError,
    WebSocketReader,
    close_frame,
    frame_header,
    pong,
    upgrade_response,
)
from gymtwist.web.openenv_session import OpenEnvSession

#: The maximum number of messages waiting for earlier ones, and their maximum total size in bytes. Beyond that, and
#: while the client does not read, receiving is paused.
_MOST_WAITING, _MOST_BYTES = 16, 1024 * 1024


@implementer(IPushProducer)
class OpenEnvChannel:
    """Reads the messages of one connection, and answers them in order; pings are answered at once.

    It has the methods of an HTTP channel that :class:`~.unserved_connection.UnservedConnection` uses.

    Args:
        reactor: The reactor.
        head: The request for the upgrade, already checked.
        session: Answers the messages.
    """

    transport: Any
    #: Sends some last bytes and closes the connection; set by the connection.
    dismiss: Callable[[bytes], None]

    def __init__(self, reactor: Any, head: Head, session: OpenEnvSession) -> None:
        self._reactor = reactor
        self._head = head
        self._skipped = head.size
        self._session = session
        session.closed = self._session_ended
        self._reader = WebSocketReader(self._control, opcode=Opcode.TEXT)
        self._waiting: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._is_busy = self._is_blocked = self._is_paused = self._is_closed = False

    def makeConnection(self, transport: Any) -> None:
        """Accept the upgrade; called once."""
        self.transport = transport
        transport.registerProducer(self, True)
        transport.write(upgrade_response(self._head))

    def dataReceived(self, data: bytes) -> None:
        """Read frames."""
        if self._skipped:
            data, self._skipped = data[self._skipped :], 0
        if self._is_closed:
            return
        self._reader.add(data)
        try:
            while not self._is_closed and (message := self._next()) is not None:
                self._waiting.append(message)
                self._size += len(message)
                self._go_on()
        except WebSocketError as error:
            self._close(error.close_code, str(error))
            return
        if self._reader.closed is not None and not self._is_closed:
            code, _ = self._reader.closed
            self._is_closed = True
            self._session.leave()
            self.transport.write(close_frame(code))
            self._disconnect()
        self._flow()

    def _next(self) -> bytes | None:
        """Take the next message.

        Until something is played, the limit on its size is low, since there may be hundreds of such connections.
        """
        self._reader.limit = MAX_FRAME if self._session.is_playing else MAX_MAKE
        message = self._reader.next_frame()
        return None if message is None else bytes(message)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - as Twisted has it
        """End the session."""
        self._is_closed = True
        self._session.leave()

    def finish(self) -> None:
        """Close the connection unless something is played: the server is stopping."""
        if not self._session.is_playing:
            self._close(CloseCode.GOING_AWAY, "the server is shutting down")

    def stop(self, reason: str) -> None:
        """Close the connection even if something is played: the server has waited long enough."""
        self._close(CloseCode.GOING_AWAY, reason)

    # Messages

    def _go_on(self) -> None:
        """Answer the next message, unless another is being answered or the client does not read."""
        while self._waiting and not (self._is_busy or self._is_blocked or self._is_closed):
            self._is_busy = True
            message = self._waiting.popleft()
            self._size -= len(message)
            self._session.answer(message).addCallback(self._answered)

    def _answered(self, answer: tuple[bytes, bool]) -> None:
        self._is_busy = False
        reply, closes = answer
        if self._is_closed:
            return
        if reply:
            self.transport.write(frame_header(Opcode.TEXT, len(reply)) + reply)
        if closes:
            self._close(CloseCode.NORMAL, "the session has failed")
        else:
            self._go_on()
            self._flow()

    def _session_ended(self, reason: str) -> None:
        # If a request failed along with the session, it is answered first.
        self._reactor.callLater(0, self._close, CloseCode.NORMAL, reason)

    # Control frames, and the end

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            self.transport.write(pong(payload))

    def _close(self, code: CloseCode, reason: str) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._session.leave()
        self.transport.unregisterProducer()
        self.dismiss(close_frame(code, reason))

    def _disconnect(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # Back-pressure

    def _flow(self) -> None:
        """Stop receiving while too many messages are queued, or while the client does not read its replies."""
        if self._is_closed:
            return
        pause = self._is_blocked or len(self._waiting) >= _MOST_WAITING or self._size >= _MOST_BYTES
        if pause is not self._is_paused:
            self._is_paused = pause
            (self.transport.pauseProducing if pause else self.transport.resumeProducing)()

    def pauseProducing(self) -> None:
        """Pause: the client does not read; called by Twisted."""
        self._is_blocked = True
        self._flow()

    def resumeProducing(self) -> None:
        """Continue: the client reads again; called by Twisted."""
        self._is_blocked = False
        self._go_on()
        self._flow()

    def stopProducing(self) -> None:
        """Do nothing: the loss of the connection is handled elsewhere; called by Twisted."""
