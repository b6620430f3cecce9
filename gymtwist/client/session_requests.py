"""The requests of a client session and their replies, one after another."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import msgspec
from gymnasium import logger

from gymtwist.client.client_errors import ProtocolBroken, RemoteError, RequestRefused, of_reply
from gymtwist.client.frame_connection import FrameConnection, unasked_reply
from gymtwist.client.message_values import MessageValues, Steps
from gymtwist.error_texts import printable
from gymtwist.errors import GymtwistError
from gymtwist.protocol import all_messages, dynamic_values, messages, received_values
from gymtwist.protocol.codec import MessageCodec, refuse_extension, tag_of
from gymtwist.protocol.dynamic_values import MAX_DEPTH, MAX_OMITTED, MAX_PLACE
from gymtwist.protocol.framing import MAX_FRAME, MAX_OVERHEAD, ProtocolName

_Reply = TypeVar("_Reply", bound=messages.Message)
T = TypeVar("T")
#: The result of a step: observation, reward, terminated, truncated, info; batched for vector environments.
Stepped: TypeAlias = "tuple[Any, Any, Any, Any, dict[str, Any]]"


class _PackedStep(messages.Stepped, frozen=True, tag="step", kw_only=True):
    """The reply to a step whose observation has a layout; the observation is a view of the received bytes."""

    observation: memoryview


class SessionRequests:
    """Sends requests over a connection, and receives their replies in order.

    Args:
        connection: The connection.
        protocol: The framed protocol to speak.

    Attributes:
        connection: The connection.
        values: Converts the environment's values; available after :meth:`_use`.
        outstanding: How many replies the user has yet to receive after calls of ``send``.
        failure: What ended the episode since the last reset, until it is taken; otherwise None.
        stepping: The environments that are in a step, if environments are stepped separately.
    """

    values: MessageValues
    _stepped: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any, Any, Any]]

    def __init__(self, connection: FrameConnection, protocol: ProtocolName) -> None:
        self.connection = connection
        self._codec = MessageCodec(protocol)
        connection.explain_unasked = partial(_unasked_error, self._codec)
        self.outstanding = 0
        self.stepping: set[int] = set()
        self.failure: RemoteError | None = None
        #: The maximum bytes of a request.
        self._most = MAX_FRAME + MAX_OVERHEAD
        self._has_warned = False
        self._decode: Callable[[bytes | memoryview], Any] | None = None

    def _use(self, values: MessageValues) -> None:
        """Use this converter for the environment's values from now on."""
        self.values = values
        # Bound methods save time in each step.
        self._written, self._stepped = values.written, values.stepped
        if values.layout is not None:
            self._decode_step = msgspec.msgpack.Decoder(_PackedStep | messages.Error, ext_hook=refuse_extension).decode
            self._decode = self._decode_first

    # One request, one reply

    def ask(self, request: all_messages.Request, kind: type[_Reply]) -> _Reply:
        """Send a request and wait for its reply.

        Raises:
            RemoteError: The server replied with an error, or did not reply.
        """
        self.send(request)
        return self.receive(kind)

    def send(self, request: all_messages.Request) -> None:
        """Send a request, whose reply must be received before the next request.

        Raises:
            RemoteError: The request cannot be sent.
        """
        self.check_idle()
        self.send_step(self.encoded(request))

    def encoded(self, request: all_messages.Request) -> bytes:
        """Encode a request as a frame.

        Raises:
            RequestRefused: The request cannot be sent in a message.
        """
        try:
            return b"".join(self._codec.encode_request(request))
        except GymtwistError as error:
            raise RequestRefused(str(error), code=error.code) from error
        except (TypeError, ValueError, OverflowError) as error:
            name = tag_of(request)
            raise RequestRefused(
                f"no message can carry what {name} was given: {error}", code="invalid-field"
            ) from error

    def receive(self, kind: type[_Reply]) -> _Reply:
        """Wait for the reply to a request.

        Raises:
            RemoteError: The server replied with an error, or did not reply.
        """
        return self._expected(self._decoded(self._payload()), kind)

    def _expected(self, reply: messages.Message, kind: type[_Reply]) -> _Reply:
        if not isinstance(reply, kind):
            raise self._unexpected(reply, kind)
        if omitted := getattr(reply, "omitted", ()):
            self._warn_of(omitted)
        return reply

    def _warn_of(self, omitted: messages.Omitted) -> None:
        """Warn once about what the server omits from its replies."""
        if not self._has_warned:
            self._has_warned = True
            logger.warn(
                "the server leaves out %s, which no message can carry; let the environment convert it to numbers, "
                "text, arrays, lists or dictionaries",
                ", ".join(repr(place[:MAX_PLACE]) for place in omitted[:MAX_OMITTED]),
            )

    def check_idle(self) -> None:
        """Check that no reply is outstanding.

        Raises:
            RemoteError: A reply is outstanding, or the connection is closed.
        """
        self.connection.check_open()
        if self.outstanding:
            raise RequestRefused(
                f"{self.outstanding} replies to send() are outstanding; take them with recv() first",
                code="replies-outstanding",
            )

    def read(self, read: Callable[[], T]) -> T:
        """Read a reply's content; close the connection if it is malformed.

        Raises:
            ProtocolBroken: The content is malformed.
            TimedOut: It contains spaces that take too long to build.
        """
        try:
            return read()
        except (ValueError, TypeError) as error:
            raise self._broken(str(error)) from error
        except TimeoutError as error:
            raise self.connection.timed_out(str(error)) from error

    # Steps

    def step(self, action: Any, read: Callable[[Any], Any]) -> Stepped:
        """Take a step.

        Args:
            action: An action.
            read: Converts an observation from a message.

        Raises:
            RemoteError: The step failed.
        """
        if self.outstanding:
            self.check_idle()
        frame = self._written(action)
        # Like send_step(), without the call.
        if len(frame) > self._most:
            raise self._too_long(frame)
        self.connection.send(frame)
        return self.receive_step(read)

    def send_step(self, frame: bytes) -> None:
        """Send the frame of a request.

        Raises:
            RemoteError: The frame cannot be sent.
        """
        if len(frame) > self._most:
            raise self._too_long(frame)
        self.connection.send(frame)

    def _too_long(self, frame: bytes) -> RequestRefused:
        """Return the error for a request that would make the server close the connection."""
        return RequestRefused(
            f"the request has {len(frame)} bytes; the server takes {self._most - MAX_OVERHEAD} at most",
            code="limit-exceeded",
        )

    def take(self) -> None:
        """Begin to receive the first outstanding reply; the caller must receive it next.

        Raises:
            RemoteError: No reply is outstanding, or the connection is closed.
        """
        if not self.outstanding:
            self.connection.check_open()
            raise RequestRefused("nothing was sent that could be received", code="nothing-sent")
        self.outstanding -= 1

    def _decode_first(self, payload: bytes | memoryview) -> Any:
        """Decode the reply to the first step, which may name the type of rewards; later replies do not."""
        reply = self._decode_step(payload)
        if type(reply) is _PackedStep:
            self._decode = self._decode_step
            self._stepped = self.values.stepped_with(reply.reward_type)
        return reply

    def receive_step(self, read: Callable[[Any], Any]) -> Stepped:
        """Wait for the reply to a step; see :meth:`step`."""
        connection = self.connection
        payload = connection.receive() if connection.due <= self.outstanding + 1 else self._payload()
        if self._decode is None:
            reply: Any = self._decoded(payload)
            if not isinstance(reply, messages.Stepped):
                raise self._unexpected(reply, messages.Stepped)
            if reply.omitted:
                self._warn_of(reply.omitted)
            if reply.reward_type is not None:
                self._stepped = self.values.stepped_with(reply.reward_type)
            info = reply.info
        else:
            try:
                reply = self._decode(payload)
            except (ValueError, RecursionError, OverflowError) as error:
                # It may be another valid message.
                raise self._unexpected(self._decoded(payload), messages.Stepped) from error
            if type(reply) is not _PackedStep:
                raise self._unexpected(reply, messages.Stepped)
            info = reply.info
            if (info and not dynamic_values.is_flat(info)) or reply.omitted:
                if reply.omitted:
                    self._warn_of(reply.omitted)
                shallow = received_values.restored_shallow(info)
                if shallow is None and received_values.too_deep(info):
                    raise self._broken(f"an info is nested deeper than {MAX_DEPTH}")
                # The field itself is never an array, whatever keys it has.
                info = shallow or {key: received_values.restored(each) for key, each in info.items()}
        try:
            return (*self._stepped(reply, read), info)
        except (ValueError, TypeError) as error:
            raise self._broken(str(error)) from error

    def receive_many(self, observations: messages.ObservationsWanted) -> Steps:
        """Wait for the reply to several steps.

        Args:
            observations: Which observations were requested.

        Raises:
            RemoteError: The steps failed.
        """
        reply = self.receive(messages.SteppedMany)
        return self.read(lambda: self.values.stepped_many(reply, observations))

    # Replies

    def _payload(self) -> bytes | memoryview:
        connection = self.connection
        while connection.due > self.outstanding + 1:
            self.discard()
        return connection.receive()

    def discard(self) -> None:
        """Receive the unneeded reply to an interrupted request, which may report that the environment has failed.

        Raises:
            RemoteError: The reply does not come.
        """
        self.connection.receive()
        self.connection.invalidate()

    def _decoded(self, payload: bytes | memoryview) -> messages.Message:
        try:
            reply = self._codec.decode_reply(payload)
        except GymtwistError as error:
            raise self._broken(str(error)) from error
        for text in reply.warnings:
            warnings.warn(f"{self.connection.name}: {printable(text)}", stacklevel=2)
        return reply

    def _unexpected(self, reply: messages.Message, kind: type[messages.Message]) -> RemoteError:
        """Convert an unexpected message to an error."""
        if not isinstance(reply, messages.Error):
            return self._broken(f"there is a reply to {tag_of(reply)} where one to {tag_of(kind)} is due")
        error = of_reply(reply)
        if reply.fault in ("protocol", "server"):
            self.connection.close(error)
        elif reply.fault == "environment":
            self.connection.invalidate()
            if error.reset_needed and kind is not messages.ResetDone:
                self.failure = error
                self.stepping.clear()
        return error

    def _broken(self, message: str) -> ProtocolBroken:
        text = f"the server violates the protocol: {printable(message)}"
        error = ProtocolBroken(text, code="malformed-message")
        self.connection.close(error)
        return error


def _unasked_error(codec: MessageCodec, frame: memoryview | None) -> RemoteError:
    """Return the error for an unrequested frame, which may say why the server closes the connection."""
    with contextlib.suppress(GymtwistError):
        reply = None if frame is None else codec.decode_reply(frame)
        if isinstance(reply, messages.Error):
            return of_reply(reply)
    return unasked_reply(frame)
