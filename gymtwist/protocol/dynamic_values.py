"""Dynamic values, which no space describes: infos, keyword arguments, options, metadata.

In JSON, arrays are nested lists, and numbers that are not finite are "NaN", "Infinity" and "-Infinity", as in the JSON
mapping of proto3; in a request, text that equals one of these names, possibly after backslashes, gets another backslash
in front. In the classic protocol, NaN is ``null``, and an infinity is the largest float64 of its sign, because decoders
such as Go's reject the tokens that Python's encoder writes. MessagePack supports all numbers; an array is a map of
``dtype`` (the name), ``shape`` and ``data`` (a ``bin``: little-endian, C order). Keys are always strings, and so are
integers beyond 64 bits in an info, because most decoders do not support them, or convert them to floats.

Most values are encoded as they are. A :class:`Sanitizer` copies those that an encoding cannot represent. For the
receiving side, see :mod:`~gymtwist.protocol.received_values`.
"""

from __future__ import annotations

import contextlib
import enum
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NoReturn

import msgspec
import numpy as np

from gymtwist.protocol.framing import MAX_FRAME
from gymtwist.spaces.array_likes import array_of, is_array_like, standard
from gymtwist.spaces.layout import DTYPE_NAMES, DTYPES, array_map
from gymtwist.spaces.numbers import NOT_FINITE, number_text

#: The maximum nesting depth of a value; deeper parts are omitted. It is far below Python's recursion limit.
MAX_DEPTH = 64
#: Whether msgspec encodes nesting up to the stack's limit, rather than at most 1,000 levels.
_HAS_NO_LIMIT = sys.version_info >= (3, 14)
#: The maximum number of reported places of omitted parts, and the maximum characters of each.
MAX_OMITTED, MAX_PLACE = 16, 200
#: The maximum number of items in a value that is encoded separately, such as an attribute: values at any depth.
MAX_VALUE_ITEMS = 500_000
_LARGEST = sys.float_info.max


class Omitted(Exception):
    """A part of a value that the encoding cannot represent."""


def plain_numbers(value: np.ndarray[Any, Any] | np.generic) -> Any:
    """Convert a NumPy scalar to a Python number, a time to text (NaT to None), and an array to lists of these.

    Raises:
        TypeError: The numbers are complex.
    """
    kind = value.dtype.kind
    if kind == "c":
        raise TypeError(f"no message can carry numbers of {value.dtype.name}")
    if kind == "M":  # Python has no type for nanoseconds
        texts = np.asarray(value.astype(str), object)
        texts[np.isnat(value)] = None
        return texts.tolist()
    plain = standard(np.asarray(value)).tolist() if value.dtype.isbuiltin == 2 else value.tolist()
    # Python has no type for longdouble.
    return float(plain) if isinstance(plain, np.longdouble) else plain


class Sanitizer:
    """Copies values, replacing or omitting the parts that an encoding cannot represent.

    Args:
        number: Converts a number that is not finite.
        array: Converts a NumPy array or scalar.
        strict: Whether to raise an error for other such parts, instead of omitting them.
        kept: Types that the encoding supports in addition to JSON's.
        escape: Escapes text that would be read as a number.
    """

    def __init__(
        self,
        number: Callable[[float], Any],
        array: Callable[[Any], Any] = plain_numbers,
        *,
        strict: bool,
        kept: tuple[type, ...] = (),
        escape: Callable[[str], str] = str,
    ) -> None:
        self._number = number
        self._array = array
        self._strict = strict
        self._kept = kept
        self._escape = escape

    def copy(self, value: Any, omitted: list[str], place: str = "", path: tuple[int, ...] = ()) -> Any:
        """Copy a value.

        Args:
            value: Anything.
            omitted: A list for the places of omitted parts, such as ``.stats.model`` or ``.moves[2]``.
            place: The place of the value.
            path: The ids of the containers around the value, to detect cycles.

        Raises:
            Omitted: The encoding cannot represent the value, and the sanitizer is not strict.
            TypeError: The encoding cannot represent the value, and the sanitizer is strict.
        """
        try:
            return self._copy(value, omitted, place, path)
        except Omitted:
            raise
        except Exception as error:
            self._leave_out(error, omitted, place)

    def _leave_out(self, error: Exception, omitted: list[str], place: str) -> NoReturn:
        if self._strict:
            raise error
        if len(omitted) < MAX_OMITTED:
            omitted.append(place if len(place) <= MAX_PLACE else f"{place[:MAX_PLACE]}...")
        raise Omitted from error

    def _copy(self, value: Any, omitted: list[str], place: str, path: tuple[int, ...]) -> Any:
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, (np.ndarray, np.generic)):
            value = self._array(value)
        if isinstance(value, (bytearray, memoryview)):
            value = bytes(value)
        if value is None or isinstance(value, (bool, *self._kept)):
            return value
        if isinstance(value, str):
            return self._escape(_text(value))
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else self._digits(value)
        if isinstance(value, float):
            number = float(value)
            return number if math.isfinite(number) else self._number(number)
        if len(path) >= MAX_DEPTH or id(value) in path:
            raise TypeError("no message can carry a value that contains itself or is nested too deep")
        path = (*path, id(value))
        if isinstance(value, Mapping):
            return self._copy_mapping(value, omitted, place, path)
        if isinstance(value, (Sequence, Set)) and not isinstance(value, bytes):
            return self._copy_list(value, omitted, place, path)
        # msgspec converts some other types (dates, dataclasses, ...).
        plain = msgspec.to_builtins(value, str_keys=True, builtin_types=self._kept, enc_hook=self._unknown)
        return self._copy(plain, omitted, place, path)

    def _digits(self, value: int) -> str:
        """Write an integer that MessagePack, and most JSON decoders, do not support."""
        if self._strict:
            raise TypeError(f"no message can carry an integer of {value.bit_length()} bits; send it as text")
        return str(int(value))

    def _unknown(self, value: Any) -> Any:
        return self._array(value if isinstance(value, (np.ndarray, np.generic)) else array_of(value))

    def _copy_list(self, value: Iterable[Any], omitted: list[str], place: str, path: tuple[int, ...]) -> list[Any]:
        copied: list[Any] = []
        for index, item in enumerate(value):
            try:
                copied.append(self.copy(item, omitted, f"{place}[{index}]", path))
            except Omitted:
                # Later items keep their index.
                copied.append(None)
        return copied

    def _copy_mapping(
        self, value: Mapping[Any, Any], omitted: list[str], place: str, path: tuple[int, ...]
    ) -> dict[str, Any]:
        copied = {}
        for key, item in value.items():
            with contextlib.suppress(Omitted):
                name = self._key(key, omitted, place)
                copied[name] = self.copy(item, omitted, f"{place}.{name}", path)
        return copied

    def _key(self, key: Any, omitted: list[str], place: str) -> str:
        try:
            if isinstance(key, enum.Enum):
                key = key.value
            return _text(key if isinstance(key, str) else str(key))
        except Exception as error:
            self._leave_out(error, omitted, f"{place}.?")


class _BoundedSanitizer(Sanitizer):
    """A strict sanitizer for one value, which stops before the copy exceeds the size of a message.

    Args:
        number: Converts a number that is not finite.
        array: Converts a NumPy array or scalar.
        flat: Whether arrays are encoded as bytes; otherwise, each number is an item.
        kept: Types that the encoding supports in addition to JSON's.
        escape: Escapes text that would be read as a number.
    """

    def __init__(
        self,
        number: Callable[[float], Any],
        array: Callable[[Any], Any] = plain_numbers,
        *,
        flat: bool = False,
        kept: tuple[type, ...] = (),
        escape: Callable[[str], str] = str,
    ) -> None:
        super().__init__(number, self._convert, strict=True, kept=kept, escape=escape)
        self._convert_counted, self._flat = array, flat
        self._bytes, self._items = MAX_FRAME, MAX_VALUE_ITEMS
        #: The same limits for arrays alone, before conversion; their converted form also counts as part of the value.
        self._array_bytes, self._array_items = MAX_FRAME, MAX_VALUE_ITEMS

    def _copy(self, value: Any, omitted: list[str], place: str, path: tuple[int, ...]) -> Any:
        self._items -= 1
        if isinstance(value, (str, bytes, bytearray, memoryview)):
            self._bytes -= value.nbytes if isinstance(value, memoryview) else len(value)
        self._check(self._bytes, self._items)
        return super()._copy(value, omitted, place, path)

    def _convert(self, array: Any) -> Any:
        """Convert an array or a scalar, even inside a dataclass or an array-like."""
        self._array_bytes -= array.nbytes
        self._array_items -= 0 if self._flat else int(np.prod(array.shape, dtype=np.float64))
        self._check(self._array_bytes, self._array_items)
        return self._convert_counted(array)

    @staticmethod
    def _check(bytes_left: int, items_left: int) -> None:
        if bytes_left < 0:
            raise ValueError(f"it has more than {MAX_FRAME} bytes, the most of a message")
        if items_left < 0:
            raise ValueError(f"it has more than {MAX_VALUE_ITEMS} items; in MessagePack an array is one of them")


def _text(value: str) -> str:
    """Convert any subclass to a plain string, replacing lone surrogates, which UTF-8 cannot encode."""
    return str.encode(value, "utf-8", "replace").decode()


# JSON text

_OBJECT = ord("{")
# An integer with fewer digits has at most 64 bits; a nonnegative one with this many does, too.
_MANY = 19
_DIGITS = b"0" * _MANY
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
# A fraction may have more digits.
_long_integer = re.compile(rb"(?<![.\d])(?:-|\d)\d{%d}" % _MANY).search


def to_builtins(value: object) -> object:
    """Convert NumPy values and array-likes for JSON; an ``enc_hook`` of msgspec."""
    return plain_numbers(value if isinstance(value, (np.ndarray, np.generic)) else array_of(value))


def has_only_usual_numbers(text: bytes) -> bool:
    """Return False if encoded numbers may be missing in the text, or may be integers of more than 64 bits.

    msgspec writes null for numbers that are not finite. None, and such texts in a string, also lead to False.
    """
    return b"null" not in text and (
        len(text) < _MANY or _DIGITS not in text.translate(_ZEROS) or _long_integer(text) is None
    )


def array_values(value: Any) -> Any:
    """Convert the arrays in a rendered frame or a list of frames; leave text unchanged."""
    if isinstance(value, (list, tuple)):
        return [array_values(each) for each in value]
    if is_array_like(value) and not isinstance(value, np.ndarray):
        value = array_of(value)
    return array_map(value) if isinstance(value, np.ndarray) and value.dtype.name in DTYPES else value


def _binary(value: Any) -> Any:
    """Convert an array to its map, and a NumPy scalar to a Python number."""
    if type(value) is np.ndarray and value.ndim and value.dtype in DTYPE_NAMES:  # the usual case
        return array_map(value)
    if not isinstance(value, np.ndarray) or not value.ndim or isinstance(value, np.ma.MaskedArray):
        return plain_numbers(value)
    return array_map(value) if value.dtype.name in DTYPES else plain_numbers(value)


def to_bytes(value: object) -> object:
    """Convert NumPy values and array-likes for MessagePack; an ``enc_hook`` of msgspec."""
    return _binary(value if isinstance(value, (np.ndarray, np.generic)) else array_of(value))


def _same(number: float) -> float:
    return number


def is_number_name(text: str) -> bool:
    """Return whether text would be read as a number, or as a different text."""
    return text.lstrip("\\") in NOT_FINITE


def _escaped(text: str) -> str:
    return f"\\{text}" if is_number_name(text) else text


def _may_have_names(text: bytes) -> bool:
    return b'NaN"' in text or b'Infinity"' in text


_encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=to_builtins).encode
_encode_binary: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=to_bytes).encode
_json = {False: Sanitizer(number_text, strict=False), True: Sanitizer(number_text, strict=True, escape=_escaped)}
_messagepack = {strict: Sanitizer(_same, _binary, strict=strict, kept=(bytes,)) for strict in (False, True)}


def to_json(value: Any, *, strict: bool = False, omitted: list[str] | None = None) -> bytes:
    """Encode a mapping as JSON.

    Args:
        value: The mapping of an environment or a user. Anything else is encoded like an empty mapping.
        strict: True for a user's mapping: an entry that cannot be encoded is an error, and text that looks like a
            number is escaped. Otherwise, such an entry is omitted, and this never fails.
        omitted: A list for the first :data:`MAX_OMITTED` places of omitted values: ``.stats.model``, ``.moves[2]``, or
            an empty string for a value that is not a mapping. An omitted item of a list becomes None.

    Raises:
        Exception: An entry cannot be encoded; only if ``strict`` is true.
    """
    # An environment may return any object, which may raise anything.
    try:
        text = _encode_json(value)
    except Exception:
        pass
    else:
        if text[:1] == b"{" and has_only_usual_numbers(text) and not (strict and _may_have_names(text)):
            return text
    return _encode_json(_copied(value, _json[strict], strict, omitted))


def to_messagepack(value: Any, *, strict: bool = False, omitted: list[str] | None = None) -> bytes:
    """Encode a mapping as MessagePack; see :func:`to_json`."""
    try:
        copied = _plain_copy(value)
        if copied is not None:
            return _encode_binary(copied)
    except Exception:
        pass
    return _encode_binary(_copied(value, _messagepack[strict], strict, omitted))


def value_to_json(value: Any) -> bytes:
    """Encode any value as JSON, in the form used in requests.

    Raises:
        Exception: The value cannot be encoded, or would be too long.
    """
    return _encode_json(_BoundedSanitizer(number_text, escape=_escaped).copy(value, []))


def value_to_messagepack(value: Any) -> bytes:
    """Encode any value as MessagePack; see :func:`value_to_json`."""
    return _encode_binary(_BoundedSanitizer(_same, _binary, flat=True, kept=(bytes,)).copy(value, []))


def _copied(value: Any, sanitizer: Sanitizer, strict: bool, omitted: list[str] | None) -> dict[str, Any]:
    omitted = [] if omitted is None else omitted
    try:
        # Only mappings: the sanitizer would accept an array.
        if isinstance(value, Mapping):
            copied: dict[str, Any] = sanitizer.copy(value, omitted)
            return copied
    except Omitted:
        return {}
    if strict:
        raise TypeError(f"it is a {type(value).__name__}; expected a dictionary")
    if value is not None:
        omitted.append("")
    return {}


def _plain_copy(value: Any, depth: int = MAX_DEPTH - 2) -> dict[str, Any] | None:
    """Copy a dictionary and nested dictionaries, if all keys are strings; return None if that would be costly.

    msgspec would encode keys of any type. It writes the number of entries first, and other threads may run when it
    reaches an array; if they then changed the dictionary, the result would be malformed.

    Args:
        value: Anything.
        depth: The levels left; the map of an array at the deepest level adds two.
    """
    if not depth or type(value) is not dict:
        return None
    copied = value.copy()
    for key, item in copied.items():
        if type(key) is not str:
            return None
        kind = type(item)
        if kind in _SCALARS or isinstance(item, np.generic):
            continue
        if kind is np.ndarray and item.dtype.kind != "O":
            continue
        if kind in _LISTS or kind is np.ndarray:
            if not all(type(each) in _SCALARS for each in item):
                return None
        else:
            inner = _plain_copy(item, depth - 1)
            if inner is None:
                return None
            copied[key] = inner
    return copied


def is_flat(value: dict[Any, Any]) -> bool:
    """Return True if all keys are strings and all values are Python's own scalars, as in most infos."""
    return _SCALARS.issuperset(map(type, value.values())) and _STRINGS.issuperset(map(type, value))


def shallow_copy(value: dict[Any, Any]) -> dict[str, Any] | None:
    """Copy a dictionary whose keys are strings and whose values are scalars or arrays of numbers, as in most infos.

    Args:
        value: Any dictionary; an environment's threads may keep writing to it.

    Returns:
        The copy, with NumPy numbers as Python numbers; None if the dictionary contains anything else.
    """
    copied = dict(value)
    for key, each in copied.items():
        kind = type(each)
        is_array = kind is np.ndarray and each.ndim and each.dtype in DTYPE_NAMES
        if type(key) is not str or not (is_array or kind in _SCALARS or kind in _NUMBERS):
            return None
        if kind in _NUMBERS:
            copied[key] = each.item()
    return copied


_STRINGS = frozenset({str})
_SCALARS = frozenset({bool, int, float, str, bytes, type(None)})
_LISTS = frozenset({list, tuple})
_NUMBERS = frozenset({dtype.type for dtype in DTYPES.values()})


# JSON of the classic protocol


def _finite_number(number: float) -> float | None:
    return None if math.isnan(number) else math.copysign(_LARGEST, number)


_classic_strict = Sanitizer(_finite_number, strict=True)
_classic_lenient = Sanitizer(_finite_number, strict=False)


def encode_value(value: object) -> bytes:
    """Encode a value as JSON for the classic protocol.

    Args:
        value: Built-in or NumPy scalars, arrays, sequences and string-keyed mappings, nested in any way.

    Returns:
        JSON as UTF-8, without spaces.

    Raises:
        TypeError: JSON cannot represent a part of the value.
        ValueError: UTF-8 cannot represent a string of it.
    """
    text = _encode_json(value)
    # msgspec writes null for numbers that are not finite, so usually nothing needs replacing.
    return text if b"null" not in text else _encode_json(_classic_strict.copy(value, []))


def _may_be_deep(text: bytes) -> bool:
    """Return whether JSON has so many lists and objects that it may be nested deeper than older Pythons allowed."""
    return len(text) > 1000 and text.count(b"[") + text.count(b"{") > 1000


def encode_info(info: Mapping[Any, Any], tell: Callable[[list[str]], None] = lambda omitted: None) -> bytes:
    """Encode an info as JSON for the classic protocol, omitting entries that cannot be encoded; it never fails.

    Args:
        info: The environment's info. Keys are converted to strings. Anything but a mapping is encoded like an empty
            mapping.
        tell: Called with the places of omitted values, if there are any; see :func:`to_json`.

    Returns:
        A JSON object as UTF-8, without spaces.
    """
    # An environment may return any object, which may raise anything.
    try:
        if not info:
            return b"{}"
        text = _encode_json(info)
    except Exception:
        pass
    else:
        if text[0] == _OBJECT and has_only_usual_numbers(text) and not (_HAS_NO_LIMIT and _may_be_deep(text)):
            return text
    omitted: list[str] = []
    kept = _copied(info, _classic_lenient, False, omitted)
    if omitted:
        tell(omitted)
    return _encode_json(kept)
