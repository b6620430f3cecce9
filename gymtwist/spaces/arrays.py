"""The codec of arrays of one dtype and shape, which are the elements of several kinds of spaces."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.equivalent_forms import listed, named, raw, text, whole
from gymtwist.spaces.layout import ARRAY_FIELDS, SMALL, Array, array_at, array_map
from gymtwist.spaces.nested_lists import ListReader, fits
from gymtwist.spaces.numbers import jsonable
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.value_mismatch import ValueMismatch, shape_text, shown
from gymtwist.spaces.value_plan import array_plan

#: The maximum number of elements without any bytes; otherwise, the length of the message limits the number.
MAX_EMPTY = 10_000
#: What errors call NumPy's text dtypes, whose own names contain the number of bits: str128.
_NO_NUMBERS = {"U": "text", "S": "bytes"}


def array_codec(
    dtype: Any,
    shape: tuple[int, ...],
    context: CodecContext,
    bounds: Bounds | None = None,
    *,
    classic_box: bool = False,
) -> SpaceCodec:
    """Compile the codec of arrays.

    Args:
        dtype: The arrays' dtype.
        shape: The shape of each array; a batch has one more dimension.
        context: The context of the arrays.
        bounds: The bounds of incoming elements; None if only the dtype limits them.
        classic_box: See :class:`~gymtwist.spaces.nested_lists.ListReader`.
    """
    # The dtype object that arrays actually have, because it is compared in each step.
    dtype = np.dtype(np.dtype(dtype).newbyteorder("<").str)
    check = bounds.check if bounds is not None and context.checked else None
    offset, mismatch, owned = context.offset, context.mismatch, context.owned
    cast = _caster(dtype, shape, context)
    read = _reader(
        dtype, shape, context, ListReader(dtype, _batched(shape, context), context, bounds, classic_box=classic_box)
    )
    is_new = context.form in (Form.LISTS, Form.CLASSIC)

    def from_tree(tree: Any) -> Array:
        array = read(tree)
        if check is not None:
            check(array, mismatch)
        return array.copy() if owned and not is_new else array

    def pack_small(value: Any) -> Any:
        if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
            value = cast(value)
        return value.tobytes()

    def pack_large(value: Any) -> bytes | memoryview:
        if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
            value = cast(value)
        try:
            return memoryview(value).cast("B")
        except TypeError:  # it is not contiguous, or is empty
            copied: bytes = value.tobytes()
            return copied

    def unpack_from(buffer: Any) -> Array:
        return finish(array_at(buffer, dtype, shape, offset))

    def finish(array: Array) -> Array:
        if check is not None:
            check(array, mismatch)
        return array.copy() if owned else array

    # Without a check, a single call suffices.
    finish_plan = finish if check is not None else np.ndarray.copy if owned else None
    return SpaceCodec(
        _writer(dtype, shape, context, cast),
        from_tree,
        pack_small if math.prod(shape) * dtype.itemsize <= SMALL else pack_large,
        unpack_from=unpack_from,
        is_array=True,
        plan=array_plan(dtype, shape, offset, finish_plan),
    )


def _batched(shape: tuple[int, ...], context: CodecContext) -> tuple[int | None, ...]:
    return (None, *shape) if context.batch else shape


def as_array(value: Any, dtype: np.dtype[Any], context: CodecContext) -> Array:
    """Convert an environment's or a user's value to an array of a dtype, as Gymnasium's shared memory does.

    Raises:
        ValueMismatch: The value cannot be converted, or not exactly if that is required.
    """
    try:
        if dtype.kind != "f" and (context.exact or context.on_cut is not None):
            given = np.asarray(value)
            if context.exact:
                _check_exact(value, given, dtype, context)
            elif given.dtype.kind in "biuf":
                return cast_integers(given, dtype, context)[0]
        array: Array = np.asarray(value, dtype)
    except ValueMismatch:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise context.mismatch(
            f"is a {type(value).__name__} that does not fit an array of {dtype.name}: {error}"
        ) from error
    return array


def cast_integers(given: Array, dtype: np.dtype[Any], context: CodecContext) -> tuple[Array, bool]:
    """Cast numbers to an integer dtype, as NumPy does, and report the first number that changes.

    Returns:
        The array, and whether a number was changed. Once a change was reported, this is checked only for the classic
        protocol, which sends values that fit unchanged.
    """
    if given.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            array = given.astype(dtype)
    else:
        array = given.astype(dtype, copy=False)
    report = context.on_cut
    if report is None or (report.is_done and context.form is not Form.CLASSIC):
        return array, False
    if np.can_cast(given.dtype, dtype) or (array == given).all():
        return array, False
    first = np.unravel_index(int(np.argmax(array != given)), given.shape)
    text = f"is {given[first]}, which does not fit {dtype.name}, the dtype of its space, and is sent as {array[first]}"
    report(context.mismatch(text, *map(int, first)))
    return array, True


def _check_exact(value: Any, given: Array, dtype: np.dtype[Any], context: CodecContext) -> None:
    if not given.size or given.dtype.kind == "O":
        return
    if given.dtype.kind not in "biu":
        kind = _NO_NUMBERS.get(given.dtype.kind, given.dtype.name)
        raise context.mismatch(f"is {shown(value)}: send integers ({dtype.name}), not {kind}")
    with np.errstate(over="ignore"):
        if not (given.astype(dtype) == given).all():
            raise context.mismatch(f"is {shown(value)}: send integers that fit {dtype.name}")


def _caster(dtype: np.dtype[Any], shape: tuple[int, ...], context: CodecContext) -> Callable[[Any], Array]:
    wanted = _batched(shape, context)

    def cast(value: Any) -> Array:
        array = as_array(value, dtype, context)
        if not fits(array.shape, wanted):
            text = f"is an array of shape {shape_text(array.shape)} where its space has {shape_text(wanted)}"
            raise context.mismatch(text)
        return array

    return cast


def _writer(
    dtype: np.dtype[Any], shape: tuple[int, ...], context: CodecContext, cast: Callable[[Any], Array]
) -> Callable[[Any], Any]:
    """Make the function that converts an array to a tree."""

    def write_as_it_is(value: Any) -> Any:
        array = value if type(value) is np.ndarray else np.asarray(value)
        if array.shape != shape:
            raise context.mismatch(
                f"is an array of shape {shape_text(array.shape)} where its space has {shape_text(shape)}"
            )
        return array.tolist()

    def write_integers(value: Any) -> Any:
        array = value if type(value) is np.ndarray else np.asarray(value)
        if array.dtype != dtype and array.dtype.kind in "biuf":
            cast_array, is_cut = cast_integers(array, dtype, context)
            array = cast_array if is_cut else array
        return write_as_it_is(array)

    def write_lists(value: Any) -> Any:
        if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
            value = cast(value)
        return jsonable(value)

    def write_data(value: Any) -> Any:
        written = array_map(cast(value))
        if context.form is Form.BASE64:
            written["data"] = base64.b64encode(written["data"]).decode()
        return written

    write_classic = write_as_it_is if context.on_cut is None or dtype.kind == "f" else write_integers
    return {Form.CLASSIC: write_classic, Form.LISTS: write_lists}.get(context.form, write_data)


def _reader(
    dtype: np.dtype[Any], shape: tuple[int, ...], context: CodecContext, lists: ListReader
) -> Callable[[Any], Array]:
    """Make the function that reads an array from a tree: a new one from lists, otherwise a view of the bytes."""
    wanted, mismatch = _batched(shape, context), context.mismatch
    if context.form in (Form.LISTS, Form.CLASSIC):
        return lists.read

    if context.form is Form.INFO:
        native = dtype.newbyteorder("=")
        if context.batch:
            return lambda tree: np.asarray(tree, native).reshape(len(tree), *shape)
        return lambda tree: np.asarray(tree, native)

    def read_data(tree: Any) -> Array:
        tree = named(tree) if isinstance(tree, dict) else tree
        if not isinstance(tree, dict) or not tree.keys() >= ARRAY_FIELDS:
            if context.checked and isinstance(listed(tree), (list, int, float)):
                return lists.read(tree)
            raise mismatch(f'is {shown(tree)}: send an array as {{"dtype", "shape", "data"}}, or as lists of numbers')
        if text(tree["dtype"]) != dtype.name:
            raise mismatch(f"has dtype {shown(tree['dtype'])}: send {dtype.name}")
        sizes = tree["shape"]
        if not isinstance(sizes, (list, tuple)) or not all(type(whole(each)) is int and each >= 0 for each in sizes):
            raise mismatch(f"has shape {shown(sizes)}: send a list of sizes")
        sizes = tuple(map(int, sizes))
        if not fits(sizes, wanted):
            raise mismatch(f"has shape {shown(sizes)}: send one of shape {shape_text(wanted)}")
        data = from_base64(tree["data"], context) if context.form is Form.BASE64 else raw(tree["data"])
        length = math.prod(sizes) * dtype.itemsize
        if not isinstance(data, (bytes, bytearray, memoryview)) or memoryview(data).nbytes != length:
            raise mismatch(f"has {shown(data)} as its data: send {length} bytes")
        if not length and sizes and sizes[0] > MAX_EMPTY:
            raise mismatch(f"has {sizes[0]} elements with nothing in them: send {MAX_EMPTY} at most")
        return array_at(data, dtype, sizes)

    return read_data


def from_base64(text: Any, context: CodecContext) -> bytes:
    """Read bytes written as base64, with the alphabet and the padding of RFC 4648.

    Raises:
        ValueMismatch: The value is not base64.
    """
    if not isinstance(text, str):
        raise context.mismatch(f"is {shown(text)}: send a string of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise context.mismatch(f"is {shown(text)}: send base64 ({error})") from error
