"""Messages to framed bytes and back: JSON in netstrings, MessagePack in Int32 frames.

What is decoded is checked against the types of :mod:`~gymtwist.protocol.messages`, and nothing but gymtwist's own
errors is raised for whatever bytes come. What a space describes comes and goes as :mod:`~gymtwist.spaces.layout` has
it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gymtwist.errors import InvalidField, MalformedMessage
from gymtwist.protocol import dynamic_values, json_text, messages
from gymtwist.protocol.decode_errors import MOST_SHOWN, Operation, explain
from gymtwist.protocol.framing import Framing, Parts, frame, header
from gymtwist.protocol.item_limits import MAX_PARTS, json_has_more, messagepack_has_more
from gymtwist.protocol.messages import Message, Reply, Request
from gymtwist.protocol.names import ProtocolName
from gymtwist.protocol.sanitizer import MAX_DEPTH
from gymtwist.spaces.numbers import EXPECTED_NUMBER, NOT_FINITE, named_numbers

#: From how many bytes on a part of a message is sent from where it lies; below that, copying it costs less.
GATHERED = 32 * 1024

#: Which fields hold what no space describes.
_UNTYPED: dict[type[Message], str] = {
    messages.Make: "kwargs",
    messages.Reset: "options",
    messages.Made: "metadata",
    messages.ResetDone: "info",
    messages.Stepped: "info",
    messages.SteppedMany: "info",
}
#: Which fields hold rewards.
_REWARDS: dict[type[Message], str] = {messages.Stepped: "reward", messages.SteppedMany: "rewards"}
#: Which fields, the first of their message, can hold so much that it is sent from where it lies.
_LARGE: dict[type[Message], str] = {
    messages.ResetDone: "observation",
    messages.Stepped: "observation",
    messages.SteppedMany: "observations",
}
#: Which fields can be nested without end, but for values: what reads those knows how deep they are.
_NESTED: dict[type[Message], tuple[str, ...]] = {
    messages.Make: ("kwargs",),
    messages.Reset: ("options",),
    messages.Step: ("action",),
    messages.StepMany: ("action", "actions"),
    messages.Made: ("metadata",),
    messages.ResetDone: ("info",),
    messages.Stepped: ("reward", "info"),
    messages.SteppedMany: ("rewards", "info"),
    messages.Rendered: ("frame",),
}
#: What MessagePack has for no bytes, and what it puts before many (``bin 32``): the code, and how many there are.
EMPTY_BIN = msgspec.msgpack.encode(b"")
BIN32, BIN32_CODE = struct.Struct(">BI"), 0xC6

_Message = TypeVar("_Message", bound=Message)


class MessageCodec:
    """Encodes and decodes the messages of one framing; for either side.

    Args:
        protocol: The framed protocol that is spoken; not the classic one.
    """

    def __init__(self, protocol: ProtocolName) -> None:
        self.framing = Framing(protocol.value)
        self._json = self.framing is Framing.NETSTRING
        self._encode: Callable[[Any], bytes]
        if self._json:
            self._encode = msgspec.json.Encoder(enc_hook=json_text.numpy_value).encode
            self._encode_untyped, self._has_more = dynamic_values.to_json, json_has_more
        else:
            self._encode = msgspec.msgpack.Encoder(enc_hook=dynamic_values.to_bytes).encode
            self._encode_untyped, self._has_more = dynamic_values.to_messagepack, messagepack_has_more
        self._request: Callable[[bytes | memoryview], Request] = self._decoder(Request)
        self._reply: Callable[[bytes | memoryview], Reply] = self._decoder(Reply)
        self._operation: Callable[[bytes | memoryview], Operation] = self._decoder(Operation)

    def _decoder(self, kind: Any) -> Callable[[bytes | memoryview], Any]:
        if self._json:
            return msgspec.json.Decoder(kind).decode
        return msgspec.msgpack.Decoder(kind, ext_hook=refuse_extension).decode

    def decode_request(self, payload: bytes | memoryview) -> Request:
        """Decode what a client asks.

        Args:
            payload: What was in the frame; it is not needed any more afterwards.

        Raises:
            MalformedMessage: It is no message, or has more than :data:`~gymtwist.protocol.item_limits.MAX_PARTS` parts.
            UnknownOperation: It is a message, of an operation that there is not.
            InvalidField: A field is missing, or is not as it must be.
        """
        if len(payload) > MAX_PARTS and self._has_more(payload, MAX_PARTS):
            raise MalformedMessage(f"the message has more than {MAX_PARTS} parts; send arrays as bytes")
        try:
            request = self._request(payload)
        except msgspec.ValidationError as error:
            raise explain(error, self._operation_of(payload)) from None
        except (ValueError, RecursionError, OverflowError) as error:
            raise self._malformed(error) from None
        # Every level takes a byte at least.
        if len(payload) > MAX_DEPTH:
            for name in _NESTED.get(type(request), ()):
                _check_depth(request, name)
        return self._restore(request)

    def _operation_of(self, payload: bytes | memoryview) -> str | None:
        try:
            return self._operation(payload).op
        except msgspec.ValidationError:
            return None
        except (ValueError, RecursionError, OverflowError) as error:
            # What is wrong with a field was found first, but there is no message.
            raise self._malformed(error) from None

    def _malformed(self, error: Exception) -> MalformedMessage:
        language = "JSON" if self._json else "MessagePack"
        return MalformedMessage(f"the message is not valid {language}: {error!s:.{MOST_SHOWN}}")

    def encode_request(self, request: Request) -> Parts:
        """Encode what to ask, as a frame.

        Raises:
            InvalidField: A keyword argument or an option cannot be carried.
        """
        return self._frame(self._payload(request, strict=True))

    def decode_reply(self, payload: bytes | memoryview) -> Reply:
        """Decode what a server answers.

        Args:
            payload: What was in the frame; it is not needed any more afterwards.

        Returns:
            The reply, with Python's own numbers and NumPy's arrays where they were.

        Raises:
            MalformedMessage: It is no reply.
        """
        try:
            return self._finish(self._reply(payload))
        except (ValueError, RecursionError, OverflowError) as error:
            raise MalformedMessage(f"the reply is not as the protocol says: {error!s:.{MOST_SHOWN}}") from None

    def _finish(self, reply: Reply) -> Reply:
        kind = type(reply)
        for name in _NESTED.get(kind, ()):
            if not self._json or name != _UNTYPED.get(kind):  # nobody goes through those of JSON
                _check_depth(reply, name)
        if isinstance(reply, messages.Rendered):
            return messages.Rendered(dynamic_values.restored(reply.frame))
        if self._json and kind in _REWARDS:
            name = _REWARDS[kind]
            if type(getattr(reply, name)) is not float:
                reply = msgspec.structs.replace(reply, **{name: _numbers(getattr(reply, name))})
        return self._restore(reply)

    def encode_reply(self, reply: Reply) -> Parts:
        """Encode an answer, as a frame.

        Args:
            reply: Observations and actions as the layout made them. Entries of infos that cannot be carried are left
                out.

        Returns:
            The parts to send one after another; large observations are not copied.

        Raises:
            TypeError: A structured value holds what cannot be carried.
            ValueError: Likewise.
        """
        name = None if self._json else _LARGE.get(type(reply))
        if name is not None:
            value = getattr(reply, name)
            if type(value) is memoryview and value.nbytes >= GATHERED:
                return self._gather(reply, name, value)
        return self._frame(self._payload(reply, strict=False))

    def _frame(self, payload: bytes) -> Parts:
        if len(payload) >= GATHERED:
            return frame(self.framing, payload)
        before = header(self.framing, len(payload))
        return [before + payload + b","] if self._json else [before + payload]

    def _gather(self, reply: Reply, name: str, value: memoryview) -> Parts:
        """Encode a reply around a large value, which stays where it is."""
        rest = self._payload(msgspec.structs.replace(reply, **{name: b""}), strict=False)
        # The value is the first field behind the operation, so where it belongs is known.
        words = ("op", tag_of(reply), name)
        place = 1 + sum(len(self._encode(word)) for word in words)
        tail = rest[place + len(EMPTY_BIN) :]
        head = rest[:place] + BIN32.pack(BIN32_CODE, value.nbytes)
        handshake = header(self.framing, len(head) + value.nbytes + len(tail))
        return [handshake + head, value.cast("B"), *([tail] if tail else [])]

    def _payload(self, message: Request | Reply, *, strict: bool) -> bytes:
        changes: dict[str, Any] = {}
        kind = type(message)
        name = _UNTYPED.get(kind)
        if name is not None:
            value = getattr(message, name)
            # The usual case, which costs nothing: what is empty is left out.
            if not (type(value) is dict and not value) and not (value is None and strict):
                changes[name] = self._untyped(message, value, strict=strict)
        if self._json and kind in _REWARDS:
            name = _REWARDS[kind]
            reward = getattr(message, name)
            if type(reward) is not float or not math.isfinite(reward):
                changes[name] = named_numbers(reward)
        if isinstance(message, messages.Rendered):
            changes["frame"] = dynamic_values.array_values(message.frame)
        if isinstance(message, messages.Made) and message.spec is not None and message.spec.kwargs:
            kwargs = self._untyped(message, message.spec.kwargs, strict=False)
            changes["spec"] = msgspec.structs.replace(message.spec, kwargs=kwargs)
        return self._encode(msgspec.structs.replace(message, **changes) if changes else message)

    def _untyped(self, message: Message, value: Any, *, strict: bool) -> msgspec.Raw:
        try:
            return msgspec.Raw(self._encode_untyped(value, strict=strict))
        except Exception as error:
            name = _UNTYPED[type(message)]
            raise InvalidField(f"the {name} of {tag_of(message)} cannot be sent: {error}") from error

    def _restore(self, message: _Message) -> _Message:
        """Make arrays of what arrays travelled as; in JSON those were lists, and are."""
        if self._json:
            return message
        name = _UNTYPED.get(type(message))
        if name is None or not getattr(message, name):
            return message
        # The field itself is an object, whatever keys it has.
        fields = {key: dynamic_values.restored(each) for key, each in getattr(message, name).items()}
        return msgspec.structs.replace(message, **{name: fields})


def tag_of(message: Message | type[Message]) -> str:
    """Name the operation of a message."""
    return str(message.__struct_config__.tag)


def refuse_extension(code: int, data: memoryview) -> Any:
    """Refuse MessagePack's own types of extensions, for a decoder's ``ext_hook``.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"extension type {code}; the protocol has none")


def _check_depth(message: Message, name: str) -> None:
    value = getattr(message, name)
    # The usual cases first: they cost next to nothing.
    if value and type(value) is not bytes and dynamic_values.too_deep(value):
        raise MalformedMessage(f"{tag_of(message)}: field `{name}` is nested deeper than {MAX_DEPTH}")


def _numbers(value: Any) -> Any:
    """Read the rewards that JSON has no number for.

    Raises:
        MalformedMessage: What is there is no number.
    """
    if type(value) is list:
        return [_numbers(each) for each in value]
    if type(value) is int or type(value) is float or (type(value) is str and value in NOT_FINITE):
        return float(value)
    raise MalformedMessage(f"a reward is {str(value)[:80]!r}: expected {EXPECTED_NUMBER}")
