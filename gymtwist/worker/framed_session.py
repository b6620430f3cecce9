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
from gymtwist.protocol.framing import FrameReader, Parts
from gymtwist.protocol.handshake import MAX_MAKE, error_message
from gymtwist.protocol.names import ProtocolName
from gymtwist.worker.guarded_call import fault_of_value
from gymtwist.worker.recovery_state import Remains
from gymtwist.worker.reply_writer import StepReplies
from gymtwist.worker.request_handler import Player
from gymtwist.worker.session_status import ANSWERED, Operation, Vitals
from gymtwist.worker.session_summary import CLIENT_LEFT, reason_of
from gymtwist.worker.shared_memory_transport import Offer, SharedChannel
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.transports import SocketChannel
from gymtwist.worker.worker_settings import ChildSettings

_OWN_FAULT = "an error in gymtwist itself, of which the server's log has more; the connection is closed"


class FramedSession:
    """One connection of the framed protocol.

    Args:
        protocol: In which framing.
        connection: The client's socket, in blocking mode.
        opening: The bytes of the opening: a frame with a make message.
        surplus: What came behind it.
        settings: The operator's options.
        vitals: Where to show how the session is doing.
    """

    def __init__(
        self,
        protocol: ProtocolName,
        connection: socket.socket,
        opening: bytes,
        surplus: bytes,
        settings: ChildSettings,
        vitals: Vitals,
    ) -> None:
        self._connection = connection
        self._channel: SocketChannel
        self._offer: Offer | None = None
        self._settings = settings
        self._codec = MessageCodec(protocol)
        self._opening = opening
        self._surplus = surplus
        self._vitals = vitals
        self._remains = Remains(vitals)
        self._player = Player(self._codec.framing, settings, vitals)
        self._step_replies = StepReplies()

    def run(self) -> str:
        """Serve the connection to its end.

        Returns:
            Why it ended.
        """
        # From here on it is this child that the server watches.
        self._vitals.begin(Operation.MAKE)
        return self._serve(self._surplus, self._open)

    def take_over(self, greeting: bytes) -> str:
        """Go on with a session whose process has died, and serve it to its end.

        Args:
            greeting: The reply to the request that the client waits for: an error, in a frame.

        Returns:
            Why it ended.
        """
        # Before it is sent: the client must not get it twice.
        self._vitals.words[ANSWERED] = 1.0
        self._vitals.end()
        return self._serve(self._surplus + self._remains.pending(), lambda: self._greet(greeting))

    def _serve(self, received: bytes, begin: Callable[[], None]) -> str:
        reader = FrameReader(self._codec.framing, received, lent=self._remains.buffer)
        receive = receiver(self._connection, self._settings.poll, self._vitals)
        self._go_by(SocketChannel(self._connection, reader, self._remains, receive))
        try:
            begin()
            return self._loop()
        except OSError as error:
            return reason_of(error)
        except Exception as error:
            # Whatever it was, the client waits for a reply: none is half sent, as sending raises OSError alone.
            with contextlib.suppress(OSError):
                self._answer(error if isinstance(error, GymtwistError) else GymtwistError(_OWN_FAULT))
                self._vitals.words[ANSWERED] = 1.0  # the server has nothing to add
            return reason_of(error)
        finally:
            self._remains.end()
            if self._offer is not None:
                self._offer.close()
            self._player.close()

    def _go_by(self, channel: SocketChannel) -> None:
        self._channel, self._send_frame = channel, channel.sender()

    def _open(self) -> None:
        """Make the environment and answer the opening."""
        payload = FrameReader(self._codec.framing, self._opening).next_frame()
        if payload is None:
            raise ProtocolError("the opening is incomplete")
        try:
            reply = self._make(self._codec.decode_request(payload), payload)
        except (RequestError, EnvironmentFault) as error:
            reply = self._codec.encode_reply(error_message(error))
        self._vitals.end()
        with self._vitals.answering():
            self._channel.send_parts(reply)

    def _greet(self, greeting: bytes) -> None:
        """Take up what the process before this one has left."""
        make = self._remains.make()
        # Bells that rang for a process before this one may be among what comes.
        self._channel.reader.least = 0
        request = None if make is None else self._codec.decode_request(make)
        if isinstance(request, messages.Make):
            self._player.take_over(request)
        self._send_frame(greeting)

    def _loop(self) -> str:
        player, channel = self._player, self._channel
        receive, decode, step_type = channel.receive, self._codec.decode_request, messages.Step
        while True:
            frame = receive()
            if frame is None:
                return CLIENT_LEFT
            try:
                request = decode(frame)
                if type(request) is step_type:
                    self._send_step(player.step(request))
                elif type(request) is messages.Make:
                    channel.send_parts(self._make(request, frame))
                elif type(request) is messages.Share:
                    self._go_by(self._share(request))
                    channel, receive = self._channel, self._channel.receive
                elif type(request) is messages.Close:
                    self._remains.end()
                    player.close()
                    self._send(messages.Closed())
                    return CLIENT_LEFT
                else:
                    self._send(_HANDLERS[type(request)](player, request))
            except EnvironmentFault as error:
                self._answer(error, reset_needed=player.failed(error))
            except RequestError as error:
                self._answer(error, reset_needed=isinstance(error, ResetNeeded))

    def _share(self, request: messages.Share) -> SocketChannel:
        """Share memory with the client: offer to take it, or take it.

        Returns:
            Through what to go on.

        Raises:
            SharingRefused: There is none to be shared.
            NoEnvironment: There is nothing to share it for.
        """
        self._player.check_made("you share memory")
        offer, self._offer = self._offer, None
        if offer is not None and request.request_room is None:
            offer.close()
        if not self._settings.shared_memory:
            raise SharingRefused("the operator of this server does not allow shared memory; go on without")
        channel = self._channel
        if request.request_room is None or request.reply_room is None:
            self._offer = Offer()
            self._send(self._offer.told())
        else:
            if offer is None:
                raise SharingRefused("no memory was offered to be taken; ask without rooms first")
            memory = offer.accept(request.request_room, request.reply_room)
            self._send(messages.Shared())
            channel = SharedChannel(self._channel, memory, self._codec.framing, self._settings.poll)
        # Whoever asks is not silent.
        self._vitals.end()
        return channel

    def _make(self, request: messages.Request, payload: bytes | memoryview) -> Parts:
        """Make the environment, and keep the message for another process that may have to make it again.

        Returns:
            The reply.
        """
        if not isinstance(request, messages.Make):
            raise ProtocolError("the opening is no make message")
        if len(payload) > MAX_MAKE:
            raise InvalidField(f"a make message of {len(payload)} bytes; it may have {MAX_MAKE}")
        made = self._player.make(request)
        try:
            reply = self._encode(made)
        except EnvironmentFault:
            self._player.unmake()
            raise
        self._remains.keep_make(payload)
        return reply

    def _send_step(self, reply: messages.Stepped) -> None:
        """Send the reply to a step: the hot path, if it is as most are."""
        frame = parts = None
        if self._player.is_binary and type(reply.info) is dict:
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
            self._channel.send_parts(parts)
        else:
            self._send(reply)

    def _send(self, reply: messages.Reply) -> None:
        """Send a reply, as soon as it is made: replies come in the order of their requests."""
        self._channel.send_parts(self._encode(reply))

    def _encode(self, reply: messages.Reply) -> Parts:
        try:
            return self._codec.encode_reply(reply)
        except Exception as error:
            # What an environment returned where no space says what it must be: its objects raise anything.
            raise fault_of_value(tag_of(reply), error) from error

    def _answer(self, error: GymtwistError, *, reset_needed: bool = False) -> None:
        # Whoever sends what cannot be done is not silent.
        self._vitals.end()
        self._channel.send_parts(self._codec.encode_reply(error_message(error, reset_needed=reset_needed)))


def _with_arrays(reply: messages.Stepped) -> messages.Stepped | None:
    """Copy the info of a reply, as threads of an environment may go on writing to it; None if it needs care."""
    info = dict(reply.info)
    if not is_shallow(info):
        return None
    return messages.Stepped(reply.observation, reply.reward, reply.terminated, reply.truncated, info)


_HANDLERS: dict[type[messages.Request], Callable[[Player, Any], messages.Reply]] = {
    messages.StepMany: Player.step_many,
    messages.Reset: Player.reset,
    messages.Sample: Player.sample,
    messages.Render: Player.render,
}
