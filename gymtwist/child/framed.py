"""The serving loop of the framed protocol: read a frame, do what it asks, write the reply."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from gymtwist.child.calling import fault_of_value
from gymtwist.child.playing import Player
from gymtwist.child.sending import StepReplies, send_parts
from gymtwist.child.settings import ChildSettings
from gymtwist.child.summary import CLIENT_LEFT, reason_of
from gymtwist.child.vitals import ANSWERED, Operation, Vitals
from gymtwist.errors import EnvironmentFault, GymtwistError, ProtocolError, RequestError, ResetNeeded
from gymtwist.wire import messages
from gymtwist.wire.codec import GATHERED, MessageCodec
from gymtwist.wire.framing import FrameReader, Framing
from gymtwist.wire.names import ProtocolName
from gymtwist.wire.opening import error_message

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
        self._codec = MessageCodec(protocol)
        self._reader = FrameReader(self._codec.framing, opening + surplus)
        self._settings = settings
        self._vitals = vitals
        self._player: Player | None = None
        self._step_replies = StepReplies()
        #: Whether observations are bytes.
        self._is_binary = False

    def run(self) -> str:
        """Serve the connection to its end.

        Returns:
            Why it ended.
        """
        try:
            return self._loop(self._open())
        except OSError as error:
            return reason_of(error)
        except Exception as error:
            # Whatever it was, the client waits for a reply: none is half sent, as sending raises OSError alone.
            with contextlib.suppress(OSError):
                self._answer(error if isinstance(error, GymtwistError) else GymtwistError(_OWN_FAULT))
            return reason_of(error)
        finally:
            if self._player is not None:
                self._player.close()

    def _open(self) -> Player:
        """Make the environment and answer the opening."""
        # From here on it is this child that the server watches.
        self._vitals.begin(Operation.MAKE)
        try:
            frame = self._reader.next_frame()
            request = None if frame is None else self._codec.decode_request(frame)
            if not isinstance(request, messages.Make):
                raise ProtocolError("the opening is no make message")
            self._player = Player(request, self._codec.framing, self._settings, self._vitals)
            made = self._player.made()
        finally:
            # From here on there is a reply under way, or sent.
            self._vitals.words[ANSWERED] = 1.0
        self._vitals.end()
        self._is_binary = self._codec.framing is Framing.INT32 and made.observation_layout is not None
        self._send(made)
        return self._player

    def _loop(self, player: Player) -> str:
        reader, connection = self._reader, self._connection
        next_frame, received, receive = reader.next_frame, reader.received, connection.recv_into
        decode, step_type = self._codec.decode_request, messages.Step
        while True:
            frame = next_frame()
            if frame is None:
                count = receive(reader.space())
                if not count:
                    return CLIENT_LEFT
                received(count)
                continue
            try:
                request = decode(frame)
                if type(request) is step_type:
                    self._send_step(player.step(request))
                elif type(request) is messages.Close:
                    player.close()
                    self._send(messages.Closed())
                    return CLIENT_LEFT
                else:
                    self._send(_HANDLERS[type(request)](player, request))
            except EnvironmentFault as error:
                self._answer(error, reset_needed=player.failed(error))
            except RequestError as error:
                self._answer(error, reset_needed=isinstance(error, ResetNeeded))

    def _send_step(self, reply: messages.Stepped) -> None:
        """Send the reply to a step: the hot path, if it is as most are."""
        if self._is_binary and not reply.info and len(reply.observation) < GATHERED:
            self._connection.sendall(self._step_replies.frame(reply))
        else:
            self._send(reply)

    def _send(self, reply: messages.Reply) -> None:
        """Send a reply, as soon as it is made: replies come in the order of their requests."""
        try:
            parts = self._codec.encode_reply(reply)
        except (TypeError, ValueError) as error:
            # What an environment returned where no space says what it must be.
            raise fault_of_value(str(reply.__struct_config__.tag), error) from error
        send_parts(self._connection, parts)

    def _answer(self, error: GymtwistError, *, reset_needed: bool = False) -> None:
        send_parts(self._connection, self._codec.encode_reply(error_message(error, reset_needed=reset_needed)))


def _refuse_to_make(player: Player, request: messages.Make) -> messages.Reply:
    raise RequestError("this connection has its environment; open another connection to make another")


_HANDLERS: dict[type[messages.Request], Callable[[Player, Any], messages.Reply]] = {
    messages.StepMany: Player.step_many,
    messages.Reset: Player.reset,
    messages.Sample: Player.sample,
    messages.Render: Player.render,
    messages.Make: _refuse_to_make,
}
