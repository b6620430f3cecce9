"""Elements of spaces in messages, decoded and encoded from the description of the space alone.

A description is used as the message carries it. Values are NumPy arrays and numbers, strings, tuples,
dictionaries, and :class:`GraphValue`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from gymtwist_conformance.reference_client.byte_stream import Violation, require

Array: TypeAlias = "np.ndarray[Any, Any]"
Path: TypeAlias = "tuple[str | int, ...]"
Space: TypeAlias = "dict[str, Any]"

#: The dtypes of the protocol, little-endian as they are in a message.
DTYPES = {
    np.dtype(code).name: np.dtype(f"<{code}")
    for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}
#: The fields of each kind of space and their types; a question mark marks those that have a default.
_KINDS: dict[str, dict[str, Any]] = {
    "Box": {"shape": list[int], "dtype": str, "low": Any, "high": Any},
    "Discrete": {"n": int, "start?": int, "dtype?": str},
    "MultiBinary": {"n": int | list[int]},
    "MultiDiscrete": {"nvec": Any, "start": Any, "dtype": str, "shape?": list[int]},
    "Text": {"min_length": int, "max_length": int, "characters": str},
    "Tuple": {"spaces": list[dict[str, Any]]},
    "Dict": {"spaces": list[tuple[Any, dict[str, Any]]]},
    "Sequence": {"space": dict[str, Any], "stack?": bool},
    "Graph": {"node_space": dict[str, Any], "edge_space?": dict[str, Any] | None},
    "OneOf": {"spaces": list[dict[str, Any]]},
}
_ARRAYS = ("Box", "Discrete", "MultiBinary", "MultiDiscrete")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: The types of the numbers in nested lists, by the kind of the dtype.
_NUMBERS: dict[str, Any] = {
    "f": float | Literal["NaN", "Infinity", "-Infinity"],
    "b": bool | Annotated[int, msgspec.Meta(ge=0, le=1)],
    "i": int,
    "u": Annotated[int, msgspec.Meta(ge=0)],
}


class GraphValue(NamedTuple):
    """An element of a Graph; ``edges`` and ``edge_links`` are both None if it has no edges."""

    nodes: Any
    edges: Any
    edge_links: Any


def check_fields(told: Any, fields: dict[str, Any], what: str) -> dict[str, Any]:
    """Check the fields of an object against their types.

    Args:
        told: The object.
        fields: The types; a question mark follows the name of a field that has a default.
        what: What an error calls the object.

    Returns:
        The fields named in ``fields``, without any others.

    Raises:
        Violation: It is not an object, or a field is missing or of another type.
    """
    require(isinstance(told, dict), lambda: f"{what} is {told!r:.200}; expected an object")
    found = {}
    for field, kind in fields.items():
        name = field.rstrip("?")
        if name in told:
            try:
                found[name] = msgspec.convert(told[name], kind)
            except msgspec.ValidationError as error:
                raise Violation(f"{what}: field `{name}` is not as specified: {error}: {told[name]!r:.200}") from None
        elif field == name:
            raise Violation(f"{what} has no field `{name}`: {told!r:.200}")
    return found


# Spaces


def check_space(space: Any) -> None:
    """Check the description of a space and of the spaces in it.

    Raises:
        Violation: It does not describe a space.
    """
    kind = space.get("kind") if isinstance(space, dict) else None
    require(kind in _KINDS, f"{space!r:.200} does not describe a space")
    check_fields(space, _KINDS[str(kind)], f"the {kind} {space!r:.200}")
    wrong = f"no space is {space!r:.200}"
    if kind in _ARRAYS:
        dtype, shape = array_type(space)
        require(dtype.kind in "biuf" and (kind == "Box" or dtype.kind in "iu"), wrong)
        require(all(size >= 0 for size in shape), wrong)
        low, high = bounds_of(space)
        require(kind == "Box" or (low <= high).all(), wrong)
    elif kind == "Text":
        require(0 <= space["min_length"] <= space["max_length"], wrong)
    names = [name for name, _ in inner(space)]
    require(len(set(names)) == len(names) and (names or kind != "OneOf"), wrong)
    for _, each in inner(space):
        check_space(each)


def inner(space: Space) -> list[tuple[str | int, Space]]:
    """Return the spaces in a space, with the name or the index of each."""
    kind = space["kind"]
    if kind == "Dict":
        return [(str(_key(key)), each) for key, each in space["spaces"]]
    if kind in ("Tuple", "OneOf"):
        return list(enumerate(space["spaces"]))
    names = ("space", "node_space", "edge_space")
    return [(name, space[name]) for name in names if space.get(name) is not None]


def _key(key: Any) -> Any:
    return tuple(map(_key, key)) if isinstance(key, (list, tuple)) else key


def array_type(space: Space) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype and the shape of the arrays of a space."""
    kind = space["kind"]
    name = "int8" if kind == "MultiBinary" else space.get("dtype", "int64")
    require(name in DTYPES, f"the protocol has no dtype {name!r}")
    if kind == "MultiBinary":
        shape = np.atleast_1d(space["n"]).tolist()
    elif kind == "MultiDiscrete" and space.get("shape") is None:
        shape = np.shape(space["nvec"])
    else:
        shape = space.get("shape", ())
    return DTYPES[name], tuple(shape)


def bounds_of(space: Space) -> tuple[Array, Array]:
    """Return the smallest and the largest element of a space; their shape is that of its arrays, or ``()``."""
    dtype, shape = array_type(space)
    if space["kind"] == "Box":
        return _bound(space["low"], dtype, shape), _bound(space["high"], dtype, shape)
    if space["kind"] == "MultiBinary":
        return np.array(0, dtype), np.array(1, dtype)
    count, start = (np.array(space.get(name, 0), object) for name in (("n", "nvec")["nvec" in space], "start"))
    try:
        # The sum may exceed the dtype; no message holds such a value then.
        last = np.minimum(start + count - 1, int(np.iinfo(dtype).max))
        return start.astype(dtype).reshape(shape), np.asarray(last, object).astype(dtype).reshape(shape)
    except (OverflowError, ValueError, TypeError) as error:
        raise Violation(f"no space is {space!r:.200}: {error}") from None


def _bound(bound: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if isinstance(bound, bytes):
        return decode_array({"dtype": dtype.name, "shape": list(shape), "data": bound})
    if isinstance(bound, list):
        require(len(bound) == math.prod(shape), f"a bound of {len(bound)} numbers for an array of shape {shape}")
        return np.array([_bound(each, dtype, ()) for each in bound], dtype).reshape(shape)
    number: Any = _NOT_FINITE.get(bound, bound) if isinstance(bound, str) else bound
    require(isinstance(number, (int, float)), f"the bound {bound!r:.80} is not a number")
    if dtype.kind != "f":
        least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        number = {-math.inf: least, math.inf: most}.get(number, number)
        require(least <= number <= most and number == int(number), f"the bound {bound!r:.80} is not a {dtype.name}")
    return np.array(number, dtype)


def layout_of(space: Space) -> dict[str, Any] | None:
    """Compute the layout of a space, as in the reply to ``make``; None if the space has no fixed layout."""
    leaves: list[dict[str, Any]] = []

    def add(space: Space, path: Path, offset: int) -> int:
        if space["kind"] in _ARRAYS:
            dtype, shape = array_type(space)
            leaves.append({"path": list(path), "dtype": dtype.name, "shape": list(shape), "offset": offset})
            offset += math.prod(shape) * dtype.itemsize
        for key, each in inner(space):
            offset = add(each, (*path, key), offset)
        return offset

    return {"leaves": leaves, "size": add(space, (), 0)} if _is_fixed(space) else None


def _is_fixed(space: Space) -> bool:
    return space["kind"] in (*_ARRAYS, "Tuple", "Dict") and all(_is_fixed(each) for _, each in inner(space))


# Elements


class ElementCodec:
    """Reads and writes the elements of one space.

    Args:
        space: The description of the space, as a message carries it.
        text: Whether the elements are in JSON.
        base64: Whether arrays in JSON are base64.
        checked: Whether decoded elements must be within the bounds of the space, as actions must.
        name: What an error message calls an element.

    Attributes:
        layout: The layout of the elements; None if the space has no fixed layout.
    """

    def __init__(
        self, space: Space, *, text: bool, base64: bool = False, checked: bool = False, name: str = "value"
    ) -> None:
        check_space(space)
        self.space, self.layout = space, layout_of(space)
        self._text, self._nested, self._checked, self._name = text, text and not base64, checked, name

    def load(self, carried: Any) -> Any:
        """Read an element.

        Raises:
            Violation: The message contains something else.
        """
        if self._nested or self.layout is None:
            return self._load(self.space, carried, self._name)
        data, size = _from_base64(carried, self._name) if self._text else carried, self.layout["size"]
        require(isinstance(data, bytes) and len(data) == size, lambda: _expected(self._name, data, f"{size} bytes"))
        return self._unpack(self.space, data, 0, self._name)[0]

    def dump(self, value: Any) -> Any:
        """Encode an element; bounds are not checked, so that a test can send any number."""
        if self._nested or self.layout is None:
            return self._dump(self.space, value)
        data = b"".join(self._pack(self.space, value))
        return base64.b64encode(data).decode() if self._text else data

    def _unpack(self, space: Space, data: bytes, offset: int, where: str) -> tuple[Any, int]:
        """Decode an element from its place in the bytes of a layout; return it and the offset of what follows."""
        if space["kind"] in _ARRAYS:
            dtype, shape = array_type(space)
            end = offset + math.prod(shape) * dtype.itemsize
            return self._finish(space, np.frombuffer(data[offset:end], dtype).reshape(shape), where), end
        parts: dict[str | int, Any] = {}
        for key, each in inner(space):
            parts[key], offset = self._unpack(each, data, offset, f"{where}[{key!r}]")
        return (parts if space["kind"] == "Dict" else tuple(parts.values())), offset

    def _pack(self, space: Space, value: Any) -> Iterator[bytes]:
        if space["kind"] in _ARRAYS:
            yield np.asarray(value).astype(array_type(space)[0]).tobytes()
        for key, each in inner(space):
            yield from self._pack(each, value[key])

    def _finish(self, space: Space, array: Array, where: str) -> Any:
        if array.dtype.kind == "b":
            require((array.view(np.uint8) <= 1).all(), f"{where} has a bool that is neither 0 nor 1")
        if self._checked:
            low, high = (np.broadcast_to(bound, array.shape) for bound in bounds_of(space))
            wrong = ~((low <= array) & (array <= high))
            if wrong.any():
                number, least, most = (each[wrong][0] for each in (array, low, high))
                raise Violation(f"{where} has {number}; expected a number from {least} to {most}")
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return native if native.ndim else native[()]

    def _load(self, space: Space, tree: Any, where: str, *, batch: bool = False) -> Any:
        """Decode an element from a tree, or with ``batch``, any number of elements stacked as Gymnasium stacks them."""
        kind, parts = space["kind"], inner(space)
        if kind in _ARRAYS:
            return self._finish(space, self._load_array(tree, *array_type(space), where, batch, kind), where)
        if kind == "Dict":
            names = {str(key): each for key, each in parts}
            require(
                isinstance(tree, dict) and tree.keys() == names.keys(), lambda: _expected(where, tree, f"{[*names]}")
            )
            return {key: self._load(each, tree[key], f"{where}[{key!r}]", batch=batch) for key, each in names.items()}
        if kind == "Tuple":
            _require_list(tree, where, len(parts))
            return tuple(self._load(each, tree[key], f"{where}[{key}]", batch=batch) for key, each in parts)
        if batch or (kind == "Sequence" and not space.get("stack")):
            # Elements without a fixed layout are listed, not stacked.
            _require_list(tree, where)
            element = space if batch else space["space"]
            return tuple(self._load(element, each, f"{where}[{index}]") for index, each in enumerate(tree))
        if kind == "Sequence":
            return self._load(space["space"], tree, where, batch=True)
        if kind == "Text":
            require(isinstance(tree, str), lambda: _expected(where, tree, "a string"))
            right = space["min_length"] <= len(tree) <= space["max_length"] and set(tree) <= set(space["characters"])
            require(right or not self._checked, lambda: _expected(where, tree, f"an element of {space!r:.200}"))
            return tree
        if kind == "OneOf":
            _require_list(tree, where, 2)
            right = type(tree[0]) is int and 0 <= tree[0] < len(parts)
            require(right, lambda: _expected(where, tree, "the index of a space"))
            return tree[0], self._load(parts[tree[0]][1], tree[1], f"{where}[1]")
        return self._load_graph(space, tree, where)

    def _load_graph(self, space: Space, tree: Any, where: str) -> GraphValue:
        check_fields(tree, {"nodes": Any, "edges?": Any, "edge_links?": Any}, where)
        nodes = self._load(space["node_space"], tree["nodes"], f"{where}.nodes", batch=True)
        edges, links = tree.get("edges"), tree.get("edge_links")
        require((edges is None) == (links is None), f"{where} has only one of `edges` and `edge_links`")
        if edges is None:
            return GraphValue(nodes, None, None)
        require(space.get("edge_space") is not None, f"{where} has edges; its space has none")
        edges = self._load(space["edge_space"], edges, f"{where}.edges", batch=True)
        links = self._load_array(links, DTYPES["int32"], (2,), f"{where}.edge_links", True)
        last = max((len(each) for each in flatten(nodes).values()), default=0) - 1
        right = (
            all(len(each) == len(links) for each in flatten(edges).values()) and ((links >= 0) & (links <= last)).all()
        )
        require(right or not self._checked, f"{where} has edge links that do not fit its nodes and edges: {links}")
        return GraphValue(nodes, edges, links)

    def _load_array(
        self, tree: Any, dtype: np.dtype[Any], shape: tuple[int, ...], where: str, batch: bool, kind: str = ""
    ) -> Array:
        wanted = (None, *shape) if batch else shape
        if self._nested or (kind == "Discrete" and not batch):
            return _from_lists(tree, dtype, wanted, where)
        check_fields(tree, {"dtype": str, "shape": list[int], "data": Any}, where)
        array = decode_array(tree)
        require(array.dtype == dtype, f"{where} has the dtype {array.dtype}; expected {dtype}")
        require(_fits(array.shape, wanted), f"{where} has the shape {array.shape}; expected {wanted}")
        return array

    def _dump(self, space: Space, value: Any) -> Any:
        kind, parts = space["kind"], inner(space)
        if kind == "Discrete" and np.ndim(value) == 0:
            return int(value)
        if kind in _ARRAYS:
            return self._dump_array(value, array_type(space)[0])
        if kind == "Dict":
            return {key: self._dump(each, value[key]) for key, each in parts}
        if kind == "Tuple":
            return [self._dump(each, value[key]) for key, each in parts]
        if kind == "Text":
            return value
        if kind == "Sequence":
            stacked = space.get("stack") and _is_fixed(space["space"])
            return (
                self._dump(space["space"], value) if stacked else [self._dump(space["space"], each) for each in value]
            )
        if kind == "OneOf":
            return [int(value[0]), self._dump(parts[value[0]][1], value[1])]
        nodes = self._dump(space["node_space"], value[0])
        if value[1] is None:
            return {"nodes": nodes, "edges": None, "edge_links": None}
        links = self._dump_array(value[2], DTYPES["int32"])
        return {"nodes": nodes, "edges": self._dump(space["edge_space"], value[1]), "edge_links": links}

    def _dump_array(self, value: Any, dtype: np.dtype[Any]) -> Any:
        array = np.asarray(value).astype(dtype)
        if self._nested:
            return to_lists(array)
        data: Any = base64.b64encode(array.tobytes()).decode() if self._text else array.tobytes()
        return {"dtype": dtype.name, "shape": list(array.shape), "data": data}


def flatten(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return the arrays and numbers of a value by their path."""
    if not isinstance(value, (dict, tuple)):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {within: leaf for key, each in items for within, leaf in flatten(each, (*path, key)).items()}


def decode_array(carried: dict[str, Any]) -> Array:
    """Decode an array that comes with its dtype and shape.

    Raises:
        Violation: The fields do not describe an array.
    """
    dtype, shape, data = carried["dtype"], carried["shape"], carried["data"]
    require(dtype in DTYPES, f"the protocol has no dtype {dtype!r}")
    require(
        isinstance(shape, list) and all(type(each) is int and each >= 0 for each in shape), f"no shape is {shape!r}"
    )
    data = data if isinstance(data, bytes) else _from_base64(data, "the data of an array")
    size = math.prod(shape) * DTYPES[dtype].itemsize
    require(len(data) == size, f"an array of {dtype} and shape {shape} has {len(data)} bytes; expected {size}")
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


def to_lists(array: Any) -> Any:
    """Convert an array to nested lists, with names for the numbers that JSON has no token for."""
    if isinstance(array, list):
        return [to_lists(each) for each in array]
    if isinstance(array, (np.ndarray, np.generic)):
        plain = array.tolist()
        return to_lists(plain) if array.dtype.kind == "f" and not np.isfinite(array).all() else plain
    return array if math.isfinite(array) else "NaN" if math.isnan(array) else "Infinity" if array > 0 else "-Infinity"


def _from_lists(tree: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...], where: str) -> Array:
    kind: Any = _NUMBERS[dtype.kind]
    for _ in shape:
        kind = list.__class_getitem__(kind)
    wide: Any = {"f": np.float64, "b": np.uint8}.get(dtype.kind, object)
    try:
        array: Array = np.array(msgspec.convert(tree, kind), wide)
        if not array.size:  # the lists end with the first empty dimension
            array = array.reshape([0 if size is None else size for size in shape])
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise Violation(_expected(where, tree, f"{dtype.name} in lists of shape {shape}: {error}")) from None
    require(_fits(array.shape, shape), f"{where} has the shape {array.shape}; expected {shape}")
    overflows = f"{where} has a number that overflows {dtype.name}"
    if dtype.kind in "iu":  # not by NumPy, which accepts any integer before version 2
        limits = np.iinfo(dtype)
        require(not array.size or (limits.min <= array.min() and array.max() <= limits.max), overflows)
    with np.errstate(over="ignore"):
        narrow: Array = array.astype(dtype)
    require(dtype.kind != "f" or (np.isinf(narrow) == np.isinf(array)).all(), overflows)
    return narrow


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(size in (None, each) for size, each in zip(wanted, found, strict=True))


def _from_base64(carried: Any, where: str) -> bytes:
    try:
        return base64.b64decode(carried, validate=True)
    except (ValueError, TypeError):
        raise Violation(_expected(where, carried, "base64")) from None


def _require_list(tree: Any, where: str, count: int | None = None) -> None:
    right = isinstance(tree, list) and count in (None, len(tree))
    require(right, lambda: _expected(where, tree, "a list" if count is None else f"a list of {count}"))


def _expected(where: str, found: Any, expected: str) -> str:
    return f"{where} is {f'{len(found)} bytes' if isinstance(found, bytes) else repr(found)[:100]}; expected {expected}"
