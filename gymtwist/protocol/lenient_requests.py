"""Requests that differ from the specification but have only one possible meaning, and errors for the rest.

Libraries of many languages cannot write what the specification requires: one writes 1 as 1.0, another an empty object
as ``[]``. The codec uses this module only after its typed decoder has refused a request, so ordinary requests take no
longer. The types in :mod:`~gymtwist.protocol.messages` define what each field may mean.
"""

from __future__ import annotations

import difflib
import re
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import inspect

from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import GymtwistError, InvalidField, MalformedMessage, UnknownOperation
from gymtwist.protocol.all_messages import Request
from gymtwist.spaces.equivalent_forms import listed, named, text, whole
from gymtwist.spaces.value_mismatch import shown

#: The maximum number of unknown fields reported to the sender of a request, because searching for similar names takes
#: time.
MOST_NOTES = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: A zero with a minus sign that is not an exponent and does not begin another number.
_SIGNED_ZERO = rb"(?<![\w.+])-0(?![\d.eE])"
has_signed_zero = re.compile(_SIGNED_ZERO).search
# The patterns to search for in JSON, together with the boundaries of strings.
_SIGNED_ZERO_OR_QUOTE = re.compile(rb'\\.|"|' + _SIGNED_ZERO, re.DOTALL)
_NOT_FINITE_OR_QUOTE = re.compile(rb'\\.|"|[-+]?\b(?:nan|inf(?:inity)?)\b', re.DOTALL | re.IGNORECASE)
# The prefix by which msgspec gives the place at the end of an error.
_AT = " - at `$"
_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")

_KINDS: dict[str, type[msgspec.Struct]] = {str(each.__struct_config__.tag): each for each in get_args(Request)}
_OPERATIONS = ", ".join(_KINDS)


class Extension(NamedTuple):
    """A value of one of MessagePack's extension types."""

    code: int
    data: bytes


#: The first byte of a one-byte extension; its code follows.
_EXTENSION_OF_ONE = b"\xd4"
#: What JavaScript libraries write for a field without a value.
_UNDEFINED = Extension(0, b"\0")


def read_request(payload: bytes, *, is_json: bool) -> tuple[Request, list[str]]:
    """Decode a request whose fields may have any form.

    Args:
        payload: The payload of a frame.
        is_json: Whether it is JSON; otherwise it is MessagePack.

    Returns:
        The request, and what its sender should know about it: a text for each of the first :data:`MOST_NOTES` unknown
        fields.

    Raises:
        MalformedMessage: The bytes are not a message.
        UnknownOperation: The message has an unknown operation.
        InvalidField: A field is missing, has the wrong type or is out of range.
    """
    tree = _json_tree(payload) if is_json else _messagepack_tree(payload)
    tree = named(tree) if isinstance(tree, dict) else tree
    if isinstance(tree, Extension):
        raise MalformedMessage(f"the message is of the extension type {tree.code}; the protocol has none: send a map")
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise MalformedMessage(f"the message is not an object with string keys: {_given(tree)}")
    op = _operation(tree)
    fields = _fields(op)
    unknown = (name for name in tree if name not in fields and name != "op")
    notes = [_unknown(op, name, fields) for name in islice(unknown, MOST_NOTES)]
    given: dict[str, Any] = {}
    for name, field in fields.items():
        value = _settled(tree[name], field.type) if name in tree else None
        # An optional field may also be null.
        if name in tree and (field.required or not (value is None or value == _UNDEFINED)):
            _check_extensions(op, name, value)
            given[name] = value
    try:
        return msgspec.convert({"op": op, **given}, _KINDS[op]), notes  # type: ignore[return-value]  # one of Request
    except msgspec.ValidationError as error:
        raise _refusal(op, str(error), given, notes) from None


@cache
def _fields(op: str) -> dict[str, inspect.Field]:
    """Return the fields of an operation by name; finding those of all operations takes 40 ms."""
    return {each.name: each for each in inspect.type_info(_KINDS[op]).fields}  # type: ignore[attr-defined]  # a Struct


# The payload


def signed_zeros(payload: bytes) -> bytes:
    """Write each ``-0`` in JSON as ``-0.0``: as an integer, it would lose its sign."""
    ends = [found.end() for found in _outside_strings(_SIGNED_ZERO_OR_QUOTE, payload)]
    return b".0".join(payload[start:end] for start, end in zip([0, *ends], [*ends, len(payload)], strict=True))


def _outside_strings(pattern: re.Pattern[bytes], payload: bytes) -> Iterator[re.Match[bytes]]:
    # A pattern for whole strings would take unbounded time or memory for some of them.
    is_inside = False
    for found in pattern.finditer(payload):
        if found[0] == b'"':
            is_inside = not is_inside
        elif not is_inside and found[0][:1] != b"\\":
            yield found


def malformed(error: Exception, *, is_json: bool) -> MalformedMessage:
    """Return the error for bytes that are not a message."""
    language = "JSON" if is_json else "MessagePack"
    reason = str(error).replace("'", '"')
    if isinstance(error, UnicodeDecodeError):
        reason = f"a string has the byte 0x{error.object[error.start]:02x}, which is not UTF-8"
    elif isinstance(error, RecursionError):
        reason = "it is nested too deep"
    return MalformedMessage(f"the message is not valid {language}: {reason:.{MOST_SHOWN}}")


def _is_no_text(error: Exception) -> bool:
    """Return whether an error is about a string that is not UTF-8, for which msgspec has its own error since 0.23."""
    return isinstance(error, UnicodeDecodeError) or (
        isinstance(error, msgspec.DecodeError) and str(error).startswith("Invalid UTF-8")
    )


def _wrong_byte(payload: bytes, error: Exception) -> Exception:
    """Return the error that names the invalid byte of a text; return an error about anything else unchanged."""
    if _is_no_text(error):
        try:
            payload.decode()
        except UnicodeDecodeError as found:
            return found
    return error


def _json_tree(payload: bytes) -> Any:
    # Windows tools write the first before a text, and C programs the second after it.
    payload = payload.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\0")
    try:
        return msgspec.json.decode(payload)
    except msgspec.ValidationError as error:
        if str(error).startswith("Integer"):  # more digits than Python reads
            raise MalformedMessage(
                "the message has an integer of thousands of digits: send it as a string or as a float"
            ) from None
        raise InvalidField(f"the message has a number that does not fit float64: {error!s:.{MOST_SHOWN}}") from None
    except (ValueError, RecursionError) as error:
        bare = next((found[0].decode() for found in _outside_strings(_NOT_FINITE_OR_QUOTE, payload)), None)
        if bare is None:
            raise malformed(_wrong_byte(payload, error), is_json=True) from None
        raise MalformedMessage(
            f'the message is not valid JSON: there is no {bare} in it; send the string "NaN", "Infinity" or "-Infinity"'
        ) from None


def _messagepack_tree(payload: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(payload, ext_hook=_extension)
    except (ValueError, RecursionError, OverflowError) as error:
        if _is_no_text(error):
            payload = b"".join(_without_raw_strings(payload))
        elif payload[:1] == _EXTENSION_OF_ONE:
            # An extension that continues beyond its end, as in msgpackr's records.
            return Extension(payload[1] if len(payload) > 1 else 0, b"")
        else:
            raise malformed(error, is_json=False) from None
    try:
        return msgspec.msgpack.decode(payload, ext_hook=_extension)
    except (ValueError, RecursionError, OverflowError) as error:
        raise malformed(error, is_json=False) from None


def _extension(code: int, data: memoryview) -> Extension:
    return Extension(code, bytes(data))


# For each first byte of MessagePack: the bytes of the item without its content, and how many of them give the length of
# the content. See https://github.com/msgpack/msgpack/blob/master/spec.md
HEADS = [(1, 0)] * 256
for _count in range(32):
    HEADS[0xA0 + _count] = (1 + _count, 0)
for _first, _sizes in {
    0xCA: (5, 9),
    0xCC: (2, 3, 5, 9, 2, 3, 5, 9),
    0xD4: (3, 4, 6, 10, 18),
    0xDC: (3, 5, 3, 5),
}.items():
    for _code, _size in enumerate(_sizes, _first):
        HEADS[_code] = (_size, 0)
for _first, _type in {0xC4: 0, 0xC7: 1, 0xD9: 0}.items():
    for _code, _width in enumerate((1, 2, 4), _first):
        HEADS[_code] = (1 + _width + _type, _width)
_BIN32 = struct.Struct(">BI")


def _without_raw_strings(payload: bytes) -> Iterator[bytes]:
    """Yield MessagePack with a ``bin`` in place of each string that is not UTF-8."""
    position = 0
    while position < len(payload):
        first = payload[position]
        size, width = HEADS[first]
        start = position + 1 + width
        if width:
            size += int.from_bytes(payload[position + 1 : start], "big")
        item = payload[position : position + size]
        position += size
        is_string = 0xA0 <= first <= 0xBF or 0xD9 <= first <= 0xDB
        content = item[1 + width :]
        yield _BIN32.pack(0xC6, len(content)) + content if is_string and text(content) is content else item


# Fields


def _operation(tree: dict[str, Any]) -> str:
    if "op" not in tree:
        raise InvalidField("the message has no field `op`: it says which operation is asked for")
    op = text(tree["op"])
    if not isinstance(op, str):
        raise InvalidField(f'field `op` is {_given(op)}: send a string, such as "reset"')
    if op not in _KINDS:
        raise UnknownOperation(f'unknown operation "{op[:80]}"; the operations are {_OPERATIONS}')
    return op


def _unknown(op: str, name: str, fields: Iterable[str]) -> str:
    """Return what to tell the sender about a field that the request does not have."""
    close = difflib.get_close_matches(name[:80], fields, 1)
    known = ", ".join(f"`{each}`" for each in fields)
    remedy = f"did you mean `{close[0]}`?" if close else f"there is {known}" if known else "there is none"
    return f"{op}: unknown field `{name[:80]}` is ignored; {remedy}"


def _settled(value: Any, kind: inspect.Type) -> Any:
    """Return a value in the form required by its field, or unchanged if it cannot be meant as one."""
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            value = _settled(value, each)
        return value
    if isinstance(kind, inspect.NoneType):
        return None if value == _UNDEFINED else value
    if isinstance(kind, inspect.IntType):
        return whole(value)
    if isinstance(kind, inspect.BoolType):
        return bool(value) if type(value) in (int, float) and value in (0, 1) else value
    if isinstance(kind, (inspect.StrType, inspect.LiteralType)):
        return text(value)
    if isinstance(kind, inspect.DictType):
        return named(value)
    if isinstance(kind, inspect.StructType):
        return _settled_fields(named(value), {each.encode_name: each.type for each in kind.fields})
    return _settled_list(value, kind.item_type) if isinstance(kind, inspect.ListType) else value


def _settled_fields(value: Any, kinds: dict[str, inspect.Type]) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _settled(each, kinds[name]) if name in kinds else each for name, each in value.items()}


def _settled_list(value: Any, kind: inspect.Type) -> Any:
    is_flags = isinstance(kind, inspect.BoolType)
    if is_flags and isinstance(value, bool):
        return [value]
    items = list(value) if is_flags and isinstance(value, bytes) else listed(value)
    return [_settled(each, kind) for each in items] if isinstance(items, list) else items


def _check_extensions(op: str, name: str, value: Any) -> None:
    ahead = [value]
    while ahead:
        each = ahead.pop()
        if isinstance(each, Extension):
            raise MalformedMessage(
                f"{op}: field `{name}` has a value of the extension type {each.code}; the protocol has none: send "
                "bytes as a bin, numbers as integers or floats, and null for no value"
            )
        if isinstance(each, dict):
            ahead += each.values()
        elif isinstance(each, list):
            ahead += each


# Errors


def _refusal(op: str, problem: str, given: dict[str, Any], notes: list[str]) -> GymtwistError:
    """Convert a msgspec error to one that names the field, the value and what to send."""
    # From the right, because the sender's text may look like a place, or be long.
    what, place = problem, ""
    if _AT in problem:
        what, _, place = problem.rpartition(_AT)
        place = place.removesuffix("`")
    also = "".join(f"; {each}" for each in notes[:1])
    if not place:
        return InvalidField(f"{op}: {what.removeprefix('Object '):.{MOST_SHOWN}}{also}")
    value: Any = given
    path = [int(index) if index else name for index, name in _STEP.findall(place)]
    kind: Any = _fields(op)[str(path[0])].type
    for key in path:
        value = value[key]
        if isinstance(key, int):
            kind = next((each.item_type for each in _alternatives(kind) if isinstance(each, inspect.ListType)), kind)
        elif isinstance(kind, inspect.StructType):
            kind = next((each.type for each in kind.fields if each.name == key), kind)
    return InvalidField(f"{op}: field `{place.lstrip('.')}` is {_given(value)}: send {_expected(kind)}{also}")


def _given(value: Any) -> str:
    """Write a value; say of a list or an object that it is one."""
    sort = "a list, " if isinstance(value, list) else "an object, " if isinstance(value, dict) else ""
    return sort + shown(value)


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def _expected(kind: inspect.Type) -> str:
    """Write what a field may contain, in words that belong to no programming language."""
    alternatives = sorted(_alternatives(kind), key=lambda each: isinstance(each, inspect.ListType))
    words = [word for each in alternatives for word in _words(each)]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _words(kind: inspect.Type) -> list[str]:
    if isinstance(kind, inspect.LiteralType):
        return [f'"{each}"' for each in kind.values]
    if isinstance(kind, inspect.IntType):
        return [f"an integer{_span(kind.ge, kind.le, 'from', 'to', 'up to')}"]
    if isinstance(kind, inspect.StrType):
        return [f"a string{_span(kind.min_length, kind.max_length, 'of', 'to', 'of at most', ' characters')}"]
    if isinstance(kind, inspect.ListType):
        most = _span(None, kind.max_length, "", "", "of at most", " elements")
        items = "" if isinstance(kind.item_type, inspect.AnyType) else f", each of them {_expected(kind.item_type)}"
        return [f"a list{most}{items}"]
    if isinstance(kind, inspect.StructType):
        return ["an object of " + " and ".join(f'"{each.name}"' for each in kind.fields)]
    names = {inspect.BoolType: "true or false", inspect.DictType: "an object", inspect.NoneType: "null"}
    return [names.get(type(kind), "a value")]


def _span(least: int | None, most: int | None, *words: str) -> str:
    """Write limits: ``from 1 to 5``, ``from 1`` or ``up to 5``."""
    begin, between, alone, unit = (*words, "")[:4]
    if most is None:
        return "" if least is None else f" {begin} {least}{unit}"
    return f" {alone} {most}{unit}" if least is None else f" {begin} {least} {between} {most}{unit}"
