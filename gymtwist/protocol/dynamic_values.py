"""Dynamic values, which no space describes: infos, keyword arguments, options, metadata.

In JSON, arrays are nested lists, and numbers that are not finite are "NaN", "Infinity" and "-Infinity", as in the JSON
mapping of proto3; in a request, text that is one of these, perhaps behind backslashes, has a backslash more in front.
In the classic protocol, NaN is ``null`` and an infinity the largest float64 of its sign, since decoders such as Go's
refuse the tokens that Python's encoder writes. MessagePack has all numbers, and there an array is a map of ``dtype``
(the name), ``shape`` and ``data`` (a ``bin``: little-endian, C order). Keys are strings everywhere, and so are the
integers of an info beyond 64 bits: most decoders have none, or make floats of them.

Most values are encoded as they are. A :class:`Sanitizer` copies those that an encoding cannot represent. What they are
at the other side is in :mod:`~gymtwist.protocol.received_values`.
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

#: The deepest nesting of a value; deeper parts are left out. It is far below Python's recursion limit.
MAX_DEPTH = 64
#: Whether msgspec writes what is nested as deeply as the stack allows, and not 1,000 levels at most.
_HAS_NO_LIMIT = sys.version_info >= (3, 14)
#: The most places of omitted parts that are reported, and the most characters of each.
MAX_OMITTED, MAX_PLACE = 16, 200
#: The most items of a value that is encoded by itself, such as that of an attribute: values at any depth.
MAX_VALUE_ITEMS = 500_000
_LARGEST = sys.float_info.max


class Omitted(Exception):
    """A part of a value that the encoding cannot represent."""


def plain_numbers(value: np.ndarray[Any, Any] | np.generic) -> Any:
    """Convert a NumPy scalar to a Python number, or a time to text (None if it is not one); an array to lists of them.

    Raises:
        TypeError: They are complex numbers.
    """
    kind = value.dtype.kind
    if kind == "c":
        raise TypeError(f"no message can carry numbers of {value.dtype.name}")
    if kind == "M":  # Python has no type for nanoseconds
        texts = np.asarray(value.astype(str), object)
        texts[np.isnat(value)] = None
        return texts.tolist()
    plain = standard(np.asarray(value)).tolist() if value.dtype.isbuiltin == 2 else value.tolist()
    # Python has no type for a longdouble.
    return float(plain) if isinstance(plain, np.longdouble) else plain


class Sanitizer:
    """Copies values, and replaces or leaves out the parts that an encoding cannot represent.

    Args:
        number: Converts a number that is not finite.
        array: Converts a NumPy array or scalar.
        strict: Whether to raise an error for other such parts, instead of leaving them out.
        kept: Types that the encoding has in addition to those of JSON.
        escape: Marks text that would be read as a number.
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
            omitted: Where to note the places of parts that are left out, such as ``.stats.model`` or ``.moves[2]``.
            place: The place of the value.
            path: The ids of the containers around the value, to detect cycles.

        Raises:
            Omitted: The encoding cannot represent the value, and the sanitizer is not strict.
            TypeError: Likewise, and the sanitizer is strict.
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
        """Write an integer that MessagePack does not have, nor most decoders of JSON."""
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
                # Those behind it keep their index.
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
    """A strict sanitizer for one value, which stops before the copy is larger than a message may be.

    Args:
        number: Converts a number that is not finite.
        array: Converts a NumPy array or scalar.
        flat: Whether arrays have the bytes of their numbers; otherwise each number is an item.
        kept: Types that the encoding has in addition to those of JSON.
        escape: Marks text that would be read as a number.
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
        #: The same for arrays alone, before they are converted: what they become is counted as the rest of the value.
        self._array_bytes, self._array_items = MAX_FRAME, MAX_VALUE_ITEMS

    def _copy(self, value: Any, omitted: list[str], place: str, path: tuple[int, ...]) -> Any:
        self._items -= 1
        if isinstance(value, (str, bytes, bytearray, memoryview)):
            self._bytes -= value.nbytes if isinstance(value, memoryview) else len(value)
        self._check(self._bytes, self._items)
        return super()._copy(value, omitted, place, path)

    def _convert(self, array: Any) -> Any:
        """Convert an array or a scalar, wherever it is: in a dataclass, or in an array-like, too."""
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
    """Convert any subclass to a plain string, and replace lone surrogates, which UTF-8 does not have."""
    return str.encode(value, "utf-8", "replace").decode()


# JSON text

_OBJECT = ord("{")
# An integer with fewer digits has at most 64 bits, and one that is not negative even with so many.
_MANY = 19
_DIGITS = b"0" * _MANY
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
# The digits of a fraction may be more.
_long_integer = re.compile(rb"(?<![.\d])(?:-|\d)\d{%d}" % _MANY).search


def to_builtins(value: object) -> object:
    """Convert NumPy values and array-likes for JSON; an ``enc_hook`` of msgspec."""
    return plain_numbers(value if isinstance(value, (np.ndarray, np.generic)) else array_of(value))


def has_only_usual_numbers(text: bytes) -> bool:
    """Return False if encoded numbers are missing in the text, or are integers that may have more than 64 bits.

    msgspec writes null for numbers that are not finite. None and such texts in a string lead to False as well.
    """
    return b"null" not in text and (
        len(text) < _MANY or _DIGITS not in text.translate(_ZEROS) or _long_integer(text) is None
    )


def array_values(value: Any) -> Any:
    """Convert the arrays of a rendered frame, or of a list of frames; leave text as it is."""
    if isinstance(value, (list, tuple)):
        return [array_values(each) for each in value]
    if is_array_like(value) and not isinstance(value, np.ndarray):
        value = array_of(value)
    return array_map(value) if isinstance(value, np.ndarray) and value.dtype.name in DTYPES else value


def _binary(value: Any) -> Any:
    """Convert an array to its map, a NumPy scalar to a Python number."""
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
    """Return whether text would be read as a number, or as other text than it is."""
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
        strict: Whether it is a user's: then an entry that cannot be encoded is an error, and text is told from numbers.
            Otherwise such an entry is left out, and this never fails.
        omitted: Where to note the places of what is left out, the first :data:`MAX_OMITTED`: ``.stats.model``,
            ``.moves[2]``; an empty string for a value that is not a mapping. An item of a list becomes None.

    Raises:
        Exception: The entry raised it; only if ``strict`` is true.
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
    """Encode any value as JSON, as it is in a request.

    Raises:
        Exception: It cannot be encoded, or would be too long.
    """
    return _encode_json(_BoundedSanitizer(number_text, escape=_escaped).copy(value, []))


def value_to_messagepack(value: Any) -> bytes:
    """Encode any value as MessagePack; see :func:`value_to_json`."""
    return _encode_binary(_BoundedSanitizer(_same, _binary, flat=True, kept=(bytes,)).copy(value, []))


def _copied(value: Any, sanitizer: Sanitizer, strict: bool, omitted: list[str] | None) -> dict[str, Any]:
    omitted = [] if omitted is None else omitted
    try:
        # Not a dictionary alone: the sanitizer would make one of an array.
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
    """Copy a dictionary, and those inside it, if all their keys are strings; return None where that would be costly.

    MessagePack would encode keys of any type. It writes the number of entries first, and other threads may run when it
    comes to an array: a dictionary that they write to meanwhile would be malformed.

    Args:
        value: Anything.
        depth: The levels that are left; the map of an array at the deepest level adds two.
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
    """Return True if keys are strings and values Python's own scalars, as in most infos."""
    return _SCALARS.issuperset(map(type, value.values())) and _STRINGS.issuperset(map(type, value))


def shallow_copy(value: dict[Any, Any]) -> dict[str, Any] | None:
    """Copy a dictionary whose keys are strings and whose values are scalars or arrays of numbers, as in most infos.

    Args:
        value: Any dictionary. An environment's threads may go on writing to it.

    Returns:
        The copy, with NumPy's numbers as Python's; None if there is anything else in the dictionary.
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
    """Encode a value as JSON of the classic protocol.

    Args:
        value: Built-in or NumPy scalars, arrays, sequences and string-keyed mappings, nested at will.

    Returns:
        JSON as UTF-8, without spaces.

    Raises:
        TypeError: JSON cannot represent a part of the value.
        ValueError: UTF-8 cannot represent a string of it.
    """
    text = _encode_json(value)
    # msgspec writes null for numbers that are not finite, so usually nothing has to be replaced.
    return text if b"null" not in text else _encode_json(_classic_strict.copy(value, []))


def _may_be_deep(text: bytes) -> bool:
    """Return whether JSON has so many lists and objects that they may be deeper than earlier Pythons let them be."""
    return len(text) > 1000 and text.count(b"[") + text.count(b"{") > 1000


def encode_info(info: Mapping[Any, Any], tell: Callable[[list[str]], None] = lambda omitted: None) -> bytes:
    """Encode an info as JSON of the classic protocol; entries that cannot be encoded are left out, and it never fails.

    Args:
        info: The environment's info. Keys are converted to strings. Anything but a mapping is encoded like an empty
            mapping.
        tell: Called with the places of what is left out, if anything is; see :func:`to_json`.

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
