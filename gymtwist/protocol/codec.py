"""Encodes and decodes messages: JSON in netstrings, MessagePack in Int32 frames.

Decoded messages are validated against the types of :mod:`~gymtwist.protocol.messages`; any bytes result in a message or
in one of gymtwist's own errors. Observations and actions have the form of :mod:`~gymtwist.spaces.layout`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import InvalidField, MalformedMessage
from gymtwist.protocol import agent_messages, dynamic_values, make_messages, messages, received_values
from gymtwist.protocol.all_messages import Reply, Request
from gymtwist.protocol.dynamic_values import MAX_DEPTH
from gymtwist.protocol.framing import MAX_FRAME, Framing, Parts, ProtocolName, frame, header
from gymtwist.protocol.lenient_requests import HEADS, has_signed_zero, read_request, signed_zeros
from gymtwist.protocol.messages import Message
from gymtwist.spaces.large_lists import MANY_NUMBERS, without_collection
from gymtwist.spaces.numbers import EXPECTED_NUMBER, NOT_FINITE, named_numbers

#: The maximum number of items in a request: values at any depth, and map keys. Bytes and strings are one item, however
#: long. An empty map takes one byte in MessagePack and 64 in Python, so the frame limit alone would allow a gigabyte.
MAX_PARTS = 500_000
#: The number of bytes from which a part of a message is sent from its own memory. Copying fewer costs less.
GATHERED = 32 * 1024

#: The fields with dynamic values, which no space describes.
_DYNAMIC: dict[type[Message], str] = {
    make_messages.Make: "kwargs",
    messages.Reset: "options",
    make_messages.Made: "metadata",
    messages.ResetDone: "info",
    messages.Stepped: "info",
    messages.SteppedMany: "info",
    messages.SteppedReady: "info",
    agent_messages.MakeAgents: "kwargs",
    agent_messages.ResetAgents: "options",
    agent_messages.AgentsMade: "metadata",
    agent_messages.AgentsReset: "infos",
    agent_messages.AgentsStepped: "infos",
}
#: The fields with a value that means the same in requests and replies; no space describes these, either.
_VALUES: dict[type[Message], tuple[str, ...]] = {
    messages.Set: ("value",),
    messages.Call: ("args", "kwargs"),
    messages.Got: ("value",),
    messages.Called: ("value",),
}
#: The fields with an array whose form is the same in both encodings, except for its bytes.
_ARRAYS: dict[type[Message], str] = {messages.Rendered: "frame", agent_messages.GotState: "state"}
#: The messages whose fields are converted before encoding, besides those with dynamic fields.
_CONVERTED = frozenset(_VALUES) | frozenset(_ARRAYS)
#: The requests with fields of either kind.
_READ = frozenset(_DYNAMIC) | frozenset(_VALUES)
#: The messages with further dynamic values, inside fields.
_WITH_OTHER_DATA = frozenset({make_messages.Made, make_messages.Make})
#: The fields of make that are lists, and the data fields of their items.
_OF_LISTS = {"wrappers": ("kwargs",), "each": ("kwargs", "options"), "vector_wrappers": ("kwargs",)}
#: The fields with rewards.
_REWARDS: dict[type[Message], str] = {
    messages.Stepped: "reward",
    messages.SteppedMany: "rewards",
    messages.SteppedReady: "rewards",
}
#: The fields that may be so large that they are not copied. Each is the first field of its message.
_LARGE: dict[type[Message], str] = {
    messages.ResetDone: "observation",
    messages.Stepped: "observation",
    messages.SteppedMany: "observations",
    messages.SteppedReady: "observations",
}
#: The fields whose nesting is unlimited. Values of spaces are limited by the depth of their space.
_NESTED: dict[type[Message], tuple[str, ...]] = {
    make_messages.Make: ("kwargs",),
    messages.Reset: ("options",),
    messages.Step: ("action",),
    messages.StepMany: ("action", "actions"),
    messages.StepReady: ("actions",),
    make_messages.Made: ("metadata",),
    messages.ResetDone: ("info",),
    messages.Stepped: ("reward", "info"),
    messages.SteppedMany: ("rewards", "info"),
    messages.SteppedReady: ("rewards", "info"),
    messages.Rendered: ("frame",),
    agent_messages.MakeAgents: ("kwargs",),
    agent_messages.ResetAgents: ("options",),
    agent_messages.StepAgents: ("actions",),
    agent_messages.AgentsMade: ("metadata",),
    agent_messages.AgentsReset: ("rewards", "cumulative_rewards", "infos"),
    agent_messages.AgentsStepped: ("rewards", "cumulative_rewards", "infos"),
    agent_messages.GotState: ("state",),
    **_VALUES,
}
#: The requests with actions, in which JSON's ``-0`` may be a float; in data, it is an integer.
_STEPS = (messages.Step, messages.StepMany, messages.StepReady, agent_messages.StepAgents)
#: An empty MessagePack ``bin``, and the header of a long one (``bin 32``): the code and the length.
EMPTY_BIN = msgspec.msgpack.encode(b"")
BIN32, BIN32_CODE = struct.Struct(">BI"), 0xC6

#: MessagePack's headers of short and long maps. If a message has this many fields, msgspec writes the long one (which
#: begins with these bytes), even if most fields have their default and are omitted.
_FIXMAP, _MAP16, _LONG_HEAD = 0x80, 16, b"\xde\0"

_Message = TypeVar("_Message", bound=Message)
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class MessageCodec:
    """Encodes and decodes the messages of one framing, for clients and servers.

    Args:
        protocol: A framed protocol.
        tell_omitted: Called with the places of values omitted from a reply, if there are any.
        note: Called with what the sender of a request should know about it, if there is anything.
    """

    def __init__(
        self,
        protocol: ProtocolName,
        tell_omitted: Callable[[messages.Omitted], None] = lambda places: None,
        note: Callable[[list[str]], None] = lambda notes: None,
    ) -> None:
        self._tell_omitted = tell_omitted
        self._note = note
        self.framing = Framing(protocol.value)
        self._json = self.framing.is_json
        self._is_netstring = self.framing is Framing.NETSTRING
        self._encode: Callable[[Any], bytes]
        if self._json:
            self._encode = msgspec.json.Encoder(enc_hook=dynamic_values.to_builtins).encode
            self._encode_dynamic, self.has_more = dynamic_values.to_json, json_has_more
            self._encode_value = dynamic_values.value_to_json
        else:
            self._encode = msgspec.msgpack.Encoder(enc_hook=dynamic_values.to_bytes).encode
            self._encode_dynamic, self.has_more = dynamic_values.to_messagepack, messagepack_has_more
            self._encode_value = dynamic_values.value_to_messagepack
        self._request: Callable[[bytes | memoryview], Request] = self._decoder(Request)
        self._reply: Callable[[bytes | memoryview], Reply] = self._decoder(Reply)

    def _decoder(self, kind: Any) -> Callable[[bytes | memoryview], Any]:
        if self._json:
            return msgspec.json.Decoder(kind).decode
        return msgspec.msgpack.Decoder(kind, ext_hook=refuse_extension).decode

    def decode_request(self, payload: bytes | memoryview) -> Request:
        """Decode a request.

        Args:
            payload: The payload of a frame; the message does not reference its memory.

        Raises:
            MalformedMessage: The bytes are not a message, or have more than :data:`MAX_PARTS` items.
            UnknownOperation: The message has an unknown operation.
            InvalidField: A field is missing, has the wrong type or is out of range.
        """
        if len(payload) > MAX_PARTS or (self._json and b"-0" in bytes(payload) and has_signed_zero(payload)):
            payload = self._prepared(payload)
        try:
            request = self._request(payload)
        except (ValueError, RecursionError, OverflowError):
            request = self._read_request(payload)
        # Each level takes at least one byte.
        if len(payload) > MAX_DEPTH:
            for name in _NESTED.get(type(request), ()):
                _check_depth(request, name)
        return self._received(request) if type(request) in _READ else request

    def _prepared(self, payload: bytes | memoryview) -> bytes | memoryview:
        """Check the number of items, and keep the sign of each ``-0`` in JSON actions."""
        if len(payload) > MAX_PARTS and self.has_more(payload, MAX_PARTS):
            raise MalformedMessage(f"the message has more than {MAX_PARTS} parts; send arrays as bytes")
        if not (self._json and has_signed_zero(payload)):
            return payload
        try:
            request = self._request(payload)
        except (ValueError, RecursionError, OverflowError):
            request, _ = read_request(bytes(payload), is_json=True)
        return signed_zeros(bytes(payload)) if isinstance(request, _STEPS) else payload

    def _received(self, request: Request) -> Request:
        """Read the data of a request, which means the same in both encodings."""
        if type(request) in _VALUES:
            return self._with_values(request)
        name = _DYNAMIC[type(request)]
        if isinstance(request, make_messages.Make) and (request.wrappers or request.each or request.vector_wrappers):
            lists = {field: self._read_list(field, getattr(request, field)) for field in _OF_LISTS}
            request = msgspec.structs.replace(request, **lists)
        return self._read_data(request, name, f"{tag_of(request)}: field `{name}`")

    def _read_list(self, field: str, items: list[_Struct]) -> list[_Struct]:
        """Read the data in the items of a list."""
        read = []
        for index, each in enumerate(items):
            for name in _OF_LISTS[field]:
                place = f"make: field `{field}[{index}].{name}`"
                if received_values.too_deep(getattr(each, name)):
                    raise MalformedMessage(f"{place} is nested deeper than {MAX_DEPTH}")
                each = self._read_data(each, name, place)
            read.append(each)
        return read

    def _read_data(self, message: _Struct, name: str, place: str) -> _Struct:
        fields = getattr(message, name)
        if not fields:
            return message
        read = received_values.from_json if self._json else received_values.from_messagepack
        try:
            # The field itself is never an array, whatever keys it has.
            fields = {key: read(each) for key, each in fields.items()}
        except ValueError as error:
            raise MalformedMessage(f"{place} {error}") from None
        return msgspec.structs.replace(message, **{name: fields})

    def _with_values(self, message: _Message) -> _Message:
        """Read the values of a message, which mean the same in both encodings and in both directions."""
        read = received_values.from_json if self._json else received_values.from_messagepack
        changes: dict[str, Any] = {}
        for name in _VALUES[type(message)]:
            value = getattr(message, name)
            try:
                # Keyword arguments are never an array, whatever names they have.
                changes[name] = {key: read(value[key]) for key in value} if name == "kwargs" else read(value)
            except ValueError as error:
                raise MalformedMessage(f"{tag_of(message)}: field `{name}` {error}") from None
        return msgspec.structs.replace(message, **changes)

    def _read_request(self, payload: bytes | memoryview) -> Request:
        """Decode a request that is not written as specified, or has unknown fields."""
        request, notes = read_request(bytes(payload), is_json=self._json)
        if notes:
            self._note(notes)
        return request

    def encode_request(self, request: Request) -> Parts:
        """Encode a request as a frame.

        Raises:
            InvalidField: A keyword argument or an option cannot be encoded.
        """
        payload = self._payload(request, strict=True)
        if payload[:2] == _LONG_HEAD and payload[2] < _MAP16:
            payload = bytes([_FIXMAP | payload[2]]) + payload[3:]
        return self._frame(payload)

    def decode_reply(self, payload: bytes | memoryview) -> Reply:
        """Decode a reply.

        Args:
            payload: The payload of a frame; the message does not reference its memory.

        Returns:
            The reply, with Python numbers and NumPy arrays.

        Raises:
            MalformedMessage: The bytes are not a reply.
        """
        is_large = self._json and len(payload) >= 2 * MANY_NUMBERS  # a number has two or more characters
        try:
            reply = without_collection(self._reply, payload) if is_large else self._reply(payload)
            return self._finish(reply)
        except (ValueError, RecursionError, OverflowError) as error:
            raise MalformedMessage(f"the reply is not as the protocol says: {error!s:.{MOST_SHOWN}}") from None

    def _finish(self, reply: Reply) -> Reply:
        kind = type(reply)
        for name in _NESTED.get(kind, ()):
            if not self._json or name != _DYNAMIC.get(kind):  # JSON is not searched for arrays
                _check_depth(reply, name)
        if kind in _ARRAYS:
            name = _ARRAYS[kind]
            return msgspec.structs.replace(reply, **{name: received_values.restored(getattr(reply, name))})
        if self._json and kind in _REWARDS:
            name = _REWARDS[kind]
            if type(getattr(reply, name)) is not float:
                reply = msgspec.structs.replace(reply, **{name: _numbers(getattr(reply, name))})
        return self._with_values(reply) if kind in _VALUES else self._restore(reply)

    def encode_value(self, value: Any) -> msgspec.Raw:
        """Encode a value separately, as the ``value`` of a reply.

        Raises:
            Exception: The value cannot be sent in a message, or is too large for one.
        """
        return _bounded(self._encode_value(value))

    def encode_list(self, values: list[msgspec.Raw]) -> msgspec.Raw:
        """Encode a list of encoded values.

        Raises:
            ValueError: They are too large for a message.
        """
        return _bounded(self._encode(values))

    def encode_reply(self, reply: Reply) -> Parts:
        """Encode a reply as a frame.

        Args:
            reply: The reply, with observations and actions in the form of their layout. Info entries that cannot be
                encoded are omitted.

        Returns:
            The parts to send in order; large observations are not copied.

        Raises:
            TypeError: A structured value cannot be encoded.
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
        return [before + payload + b","] if self._is_netstring else [before + payload]

    def _gather(self, reply: Reply, name: str, value: memoryview) -> Parts:
        """Encode a reply around a large value, without copying the value."""
        rest = self._payload(msgspec.structs.replace(reply, **{name: b""}), strict=False)
        # The map header has one byte, and the operation and the value are its first two entries.
        start = 1 + sum(len(self._encode(text)) for text in ("op", tag_of(reply), name))
        head = rest[:start] + BIN32.pack(BIN32_CODE, value.nbytes)
        tail = rest[start + len(EMPTY_BIN) :]
        frame_header = header(self.framing, len(head) + value.nbytes + len(tail))
        return [frame_header + head, value.cast("B"), *([tail] if tail else [])]

    def _payload(self, message: Request | Reply, *, strict: bool) -> bytes:
        """Encode a message, after replacing the fields that msgspec alone would encode wrongly."""
        changes: dict[str, Any] = {}
        kind = type(message)
        name = _DYNAMIC.get(kind)
        if name is not None:
            value = getattr(message, name)
            # Fields with their default are omitted, which is the usual case.
            if not (type(value) is dict and not value) and not (value is None and strict):
                changes[name] = self._encoded_dynamic(message, name, value, changes, strict=strict)
        if self._json and kind in _REWARDS:
            name = _REWARDS[kind]
            reward = getattr(message, name)
            if type(reward) is not float or not math.isfinite(reward):
                changes[name] = named_numbers(reward)
        if kind in _CONVERTED:
            changes = self._converted(message)
        if kind in _WITH_OTHER_DATA:
            self._encode_other_data(message, changes)
        return self._encode(msgspec.structs.replace(message, **changes) if changes else message)

    def _encode_other_data(self, message: Request | Reply, changes: dict[str, Any]) -> None:
        """Encode dynamic values that are not in a field of their own."""
        if isinstance(message, make_messages.Made) and message.spec is not None and message.spec.kwargs:
            kwargs = self._encoded_dynamic(message, "spec.kwargs", message.spec.kwargs, changes, strict=False)
            changes["spec"] = msgspec.structs.replace(message.spec, kwargs=kwargs)
        elif isinstance(message, make_messages.Make):
            for field, names in _OF_LISTS.items():
                if getattr(message, field):
                    changes[field] = [
                        self._encoded_item(message, f"{field}[{index}]", each, names, changes)
                        for index, each in enumerate(getattr(message, field))
                    ]

    def _encoded_item(
        self, message: Message, place: str, item: _Struct, names: Sequence[str], changes: dict[str, Any]
    ) -> _Struct:
        """Encode the data in an item of a list."""
        encoded = {
            name: self._encoded_dynamic(message, f"{place}.{name}", getattr(item, name), changes, strict=True)
            for name in names
            if getattr(item, name)
        }
        return msgspec.structs.replace(item, **encoded)

    def _converted(self, message: Message) -> dict[str, Any]:
        """Encode the values of a message, or convert the frame of a ``render`` reply or a state."""
        if type(message) in _ARRAYS:
            name = _ARRAYS[type(message)]
            return {name: dynamic_values.array_values(getattr(message, name))}
        return {name: self._field_value(message, name) for name in _VALUES[type(message)]}

    def _field_value(self, message: Message, name: str) -> Any:
        value = getattr(message, name)
        # Fields with their default are omitted.
        if value is None or isinstance(value, msgspec.Raw) or (isinstance(value, (list, dict)) and not value):
            return value
        try:
            return self.encode_value(value)
        except Exception as error:
            raise InvalidField(f"the {name} of {tag_of(message)} cannot be sent: {error}") from error

    def _encoded_dynamic(
        self, message: Message, name: str, value: Any, changes: dict[str, Any], *, strict: bool
    ) -> msgspec.Raw:
        """Encode a field with dynamic values, and record in the message's changes which values were omitted."""
        omitted: list[str] = []
        try:
            encoded = msgspec.Raw(self._encode_dynamic(value, strict=strict, omitted=omitted))
        except Exception as error:
            raise InvalidField(f"the {name} of {tag_of(message)} cannot be sent: {error}") from error
        if omitted:
            places = tuple(name + place for place in omitted)
            changes["omitted"] = changes.get("omitted", ()) + places
            self._tell_omitted(places)
        return encoded

    def _restore(self, message: _Message) -> _Message:
        """Restore arrays from their maps in MessagePack; in JSON, they are lists and stay lists."""
        if self._json:
            return message
        name = _DYNAMIC.get(type(message))
        if name is None or not getattr(message, name):
            return message
        # The field itself is never an array, whatever keys it has.
        fields = {key: received_values.restored(each) for key, each in getattr(message, name).items()}
        return msgspec.structs.replace(message, **{name: fields})


def _bounded(encoded: bytes) -> msgspec.Raw:
    if len(encoded) > MAX_FRAME - GATHERED:  # the rest of the message needs some space, too
        raise ValueError(f"it has {len(encoded)} bytes, and a message at most {MAX_FRAME}")
    return msgspec.Raw(encoded)


def tag_of(message: Message | type[Message]) -> str:
    """Return the name of a message's operation."""
    return str(message.__struct_config__.tag)


def refuse_extension(code: int, data: memoryview) -> Any:
    """Refuse MessagePack's extension types; a decoder's ``ext_hook``.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"extension type {code}; the protocol has none")


def _check_depth(message: Message, name: str) -> None:
    value = getattr(message, name)
    # The cheap checks come first.
    if value and type(value) is not bytes and received_values.too_deep(value):
        raise MalformedMessage(f"{tag_of(message)}: field `{name}` is nested deeper than {MAX_DEPTH}")


def _numbers(value: Any) -> Any:
    """Convert rewards from JSON, in which numbers that are not finite are strings.

    Raises:
        MalformedMessage: A reward is not a number.
    """
    if type(value) is list:
        return [_numbers(each) for each in value]
    if type(value) is int or type(value) is float or (type(value) is str and value in NOT_FINITE):
        return float(value)
    raise MalformedMessage(f"a reward is {str(value)[:80]!r}: expected {EXPECTED_NUMBER}")


# The number of items of a request


def messagepack_has_more(payload: bytes | memoryview, most: int) -> bool:
    """Return True if MessagePack contains more than ``most`` items; if it is malformed, either may be returned."""
    position, end, count = 0, len(payload), 0
    # Every item has at least one byte.
    while end - position > most - count:
        count += 1
        if count > most:
            return True
        size, width = HEADS[payload[position]]
        if width:
            size += int.from_bytes(payload[position + 1 : position + 1 + width], "big")
        position += size
    return False


def json_has_more(payload: bytes | memoryview, most: int) -> bool:
    """Return True if JSON may contain more than ``most`` items, judged by its punctuation, even inside strings."""
    if len(payload) <= most:
        return False
    text = bytes(payload)
    return sum(text.count(each) for each in (b",", b"[", b"{", b":")) >= most
