"""The serving loop of the framed protocol: read a frame, do what it asks, write the reply."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    InvalidField,
    ProtocolError,
    RequestError,
    ResetNeeded,
    SharingRefused,
)
from gymtwist.protocol import messages
from gymtwist.protocol.codec import GATHERED, MessageCodec, tag_of
from gymtwist.protocol.dynamic_values import is_flat, is_shallow
from gymtwist.protocol.framing import FrameReader, Parts, ProtocolName
from gymtwist.protocol.handshake import MAX_MAKE, error_message
from gymtwist.worker.guarded_call import fault_of_value
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.reply_writer import StepReplyWriter
from gymtwist.worker.request_handler import RequestHandler
from gymtwist.worker.session_status import ANSWERED, Operation, SessionStatus
from gymtwist.worker.session_summary import CLIENT_LEFT, reason_of
from gymtwist.worker.shared_memory_transport import Offer, SharedMemoryTransport
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.transports import SocketTransport
from gymtwist.worker.worker_settings import WorkerSettings

_OWN_FAULT = "an error in gymtwist itself, of which the server's log has more; the connection is closed"


class FramedSession:
    """One connection of the framed protocol.

    Args:
        protocol: In which framing.
        connection: The client's socket, in blocking mode.
        handshake: The bytes of the opening: a frame with a make message.
        trailing_data: What came behind it.
        settings: The operator's options.
        status: Where to show how the session is doing.
    """

    def __init__(
        self,
        protocol: ProtocolName,
        connection: socket.socket,
        handshake: bytes,
        trailing_data: bytes,
        settings: WorkerSettings,
        status: SessionStatus,
    ) -> None:
        self._connection = connection
        self._transport: SocketTransport
        self._offer: Offer | None = None
        self._settings = settings
        self._codec = MessageCodec(protocol)
        self._handshake = handshake
        self._trailing_data = trailing_data
        self._status = status
        self._recovery = RecoveryState(status)
        self._handler = RequestHandler(self._codec.framing, settings, status)
        self._step_replies = StepReplyWriter()

    def run(self) -> str:
        """Serve the connection to its end.

        Returns:
            Why it ended.
        """
        # From here on it is this child that the server watches.
        self._status.begin(Operation.MAKE)
        return self._serve(self._trailing_data, self._open)

    def resume(self, recovery_reply: bytes) -> str:
        """Go on with a session whose process has died, and serve it to its end.

        Args:
            recovery_reply: The reply to the request that the client waits for: an error, in a frame.

        Returns:
            Why it ended.
        """
        # Before it is sent: the client must not get it twice.
        self._status.words[ANSWERED] = 1.0
        self._status.end()
        return self._serve(self._trailing_data + self._recovery.pending(), lambda: self._greet(recovery_reply))

    def _serve(self, received: bytes, begin: Callable[[], None]) -> str:
        reader = FrameReader(self._codec.framing, received, borrowed=self._recovery.buffer)
        receive = receiver(self._connection, self._settings.poll, self._status)
        self._go_by(SocketTransport(self._connection, reader, self._recovery, receive))
        try:
            begin()
            return self._loop()
        except OSError as error:
            return reason_of(error)
        except Exception as error:
            # Whatever it was, the client waits for a reply: none is half sent, as sending raises OSError alone.
            with contextlib.suppress(OSError):
                self._answer(error if isinstance(error, GymtwistError) else GymtwistError(_OWN_FAULT))
                self._status.words[ANSWERED] = 1.0  # the server has nothing to add
            return reason_of(error)
        finally:
            self._recovery.end()
            if self._offer is not None:
                self._offer.close()
            self._handler.close()

    def _go_by(self, transport: SocketTransport) -> None:
        self._transport, self._send_frame = transport, transport.sender()

    def _open(self) -> None:
        """Make the environment and answer the opening."""
        payload = FrameReader(self._codec.framing, self._handshake).next_frame()
        if payload is None:
            raise ProtocolError("the opening is incomplete")
        try:
            reply = self._make(self._codec.decode_request(payload), payload)
        except (RequestError, EnvironmentFault) as error:
            reply = self._codec.encode_reply(error_message(error))
        self._status.end()
        with self._status.answering():
            self._transport.send_parts(reply)

    def _greet(self, recovery_reply: bytes) -> None:
        """Take up what the process before this one has left."""
        make = self._recovery.make()
        # Bells that rang for a process before this one may be among what comes.
        self._transport.reader.least = 0
        request = None if make is None else self._codec.decode_request(make)
        if isinstance(request, messages.Make):
            self._handler.resume(request)
        self._send_frame(recovery_reply)

    def _loop(self) -> str:
        handler, transport = self._handler, self._transport
        receive, decode, step_type = transport.receive, self._codec.decode_request, messages.Step
        while True:
            frame = receive()
            if frame is None:
                return CLIENT_LEFT
            try:
                request = decode(frame)
                if type(request) is step_type:
                    self._send_step(handler.step(request))
                elif type(request) is messages.Make:
                    transport.send_parts(self._make(request, frame))
                elif type(request) is messages.Share:
                    self._go_by(self._share(request))
                    transport, receive = self._transport, self._transport.receive
                elif type(request) is messages.Close:
                    self._recovery.end()
                    handler.close()
                    self._send(messages.Closed())
                    return CLIENT_LEFT
                else:
                    self._send(_HANDLERS[type(request)](handler, request))
            except EnvironmentFault as error:
                self._answer(error, reset_needed=handler.failed(error))
            except RequestError as error:
                self._answer(error, reset_needed=isinstance(error, ResetNeeded))

    def _share(self, request: messages.Share) -> SocketTransport:
        """Share memory with the client: offer to take it, or take it.

        Returns:
            Through what to go on.

        Raises:
            SharingRefused: There is none to be shared.
            NoEnvironment: There is nothing to share it for.
        """
        self._handler.check_made("you share memory")
        offer, self._offer = self._offer, None
        if offer is not None and request.request_room is None:
            offer.close()
        if not self._settings.shared_memory:
            raise SharingRefused("the operator of this server does not allow shared memory; go on without")
        transport = self._transport
        if request.request_room is None or request.reply_room is None:
            self._offer = Offer()
            self._send(self._offer.told())
        else:
            if offer is None:
                raise SharingRefused("no memory was offered to be taken; ask without rooms first")
            memory = offer.accept(request.request_room, request.reply_room)
            self._send(messages.Shared())
            transport = SharedMemoryTransport(self._transport, memory, self._codec.framing, self._settings.poll)
        # Whoever asks is not silent.
        self._status.end()
        return transport

    def _make(self, request: messages.Request, payload: bytes | memoryview) -> Parts:
        """Make the environment, and keep the message for another process that may have to make it again.

        Returns:
            The reply.
        """
        if not isinstance(request, messages.Make):
            raise ProtocolError("the opening is no make message")
        if len(payload) > MAX_MAKE:
            raise InvalidField(f"a make message of {len(payload)} bytes; it may have {MAX_MAKE}")
        made = self._handler.make(request)
        try:
            reply = self._encode(made)
        except EnvironmentFault:
            self._handler.unmake()
            raise
        self._recovery.keep_make(payload)
        return reply

    def _send_step(self, reply: messages.Stepped) -> None:
        """Send the reply to a step: the hot path, if it is as most are."""
        frame = parts = None
        if self._handler.is_binary and type(reply.info) is dict:
            try:
                told = reply if not reply.info or is_flat(reply.info) else _with_arrays(reply)
                if told is not None and len(told.observation) < GATHERED:
                    frame = self._step_replies.frame(told)
                elif told is not None:
                    parts = self._step_replies.parts(told)
            except Exception:
                # An info can hold anything, and its objects raise anything: the long way has an answer for each.
                frame = parts = None
        if frame is not None:
            self._send_frame(frame)
        elif parts is not None:
            self._transport.send_parts(parts)
        else:
            self._send(reply)

    def _send(self, reply: messages.Reply) -> None:
        """Send a reply, as soon as it is made: replies come in the order of their requests."""
        self._transport.send_parts(self._encode(reply))

    def _encode(self, reply: messages.Reply) -> Parts:
        try:
            return self._codec.encode_reply(reply)
        except Exception as error:
            # What an environment returned where no space says what it must be: its objects raise anything.
            raise fault_of_value(tag_of(reply), error) from error

    def _answer(self, error: GymtwistError, *, reset_needed: bool = False) -> None:
        # Whoever sends what cannot be done is not silent.
        self._status.end()
        self._transport.send_parts(self._codec.encode_reply(error_message(error, reset_needed=reset_needed)))


def _with_arrays(reply: messages.Stepped) -> messages.Stepped | None:
    """Copy the info of a reply, as threads of an environment may go on writing to it; None if it needs care."""
    info = dict(reply.info)
    if not is_shallow(info):
        return None
    return messages.Stepped(reply.observation, reply.reward, reply.terminated, reply.truncated, info)


_HANDLERS: dict[type[messages.Request], Callable[[RequestHandler, Any], messages.Reply]] = {
    messages.StepMany: RequestHandler.step_many,
    messages.Reset: RequestHandler.reset,
    messages.Sample: RequestHandler.sample,
    messages.Render: RequestHandler.render,
}
