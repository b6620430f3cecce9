"""Gymnasium's spaces: described for messages and built again, and the codecs of their elements.

This is the only module of the room that imports Gymnasium; the server never imports it.
"""

from __future__ import annotations

import base64 as base64_
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

from gymnasium import spaces

from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.arrays import from_base64
from gymtwist.spaces.descriptions import MAX_DEPTH, Description, check, kind_of, layout_of
from gymtwist.spaces.layout import Layout
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec, check_deadline, other_reader
from gymtwist.spaces.space_kind import codec_of, is_registered
from gymtwist.spaces.value_mismatch import ActionMismatch, Path, ValueMismatch
from gymtwist.spaces.value_plan import NestPlan, compile_plan

#: A space of any kind.
Space: TypeAlias = spaces.Space[Any]


# Descriptions


def describe(space: Any, name: str = "space") -> Description:
    """Describe a space, so that :func:`build` makes an equal one.

    Args:
        space: Of one of the kinds of Gymnasium, of Gymnasium or Gym; or of a class that is served as one of them.
        name: What errors call the space: ``action_space``, ``observation_space``.

    Raises:
        EnvironmentFault: It is of another kind, or beyond the limits of a description.
    """
    try:
        description = _describe(space, name, MAX_DEPTH)
        try:
            check(description)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    except ValueError as error:
        raise EnvironmentFault("make", f"the environment has a space that cannot be described: {error}") from error
    return description


class _Indescribable(ValueError):
    """A space in another cannot be described; the message has its place."""


def _describe(space: Any, place: str, depth: int) -> Description:
    try:
        if depth == 0:  # a space may be in itself
            raise ValueError(f"a space nested more than {MAX_DEPTH} deep")
        return kind_of(space).describe(space, lambda each, key: _describe(each, f"{place}{key}", depth - 1))
    except _Indescribable:
        raise
    except Exception as error:  # a class derived from one of Gymnasium's may lack anything
        raise _Indescribable(f"{place:.200}: {error}") from error


class _Until:
    """The module ``gymnasium.spaces`` until a deadline, after which none of its classes can be had."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        check_deadline(self._deadline)
        return getattr(spaces, name)


def build(description: Description, *, deadline: float = math.inf) -> Space:
    """Build the space that a description is of.

    Args:
        description: The description.
        deadline: The time by ``time.monotonic`` at which to give up.

    Raises:
        ValueError: The description is beyond the limits, or of no space.
        TimeoutError: It is later than the deadline.
    """
    check(description)
    try:
        built: Space = description.build(_Until(deadline))
    except (AssertionError, AttributeError, TypeError, OverflowError) as error:  # an older Gymnasium lacks some kinds
        raise ValueError(f"not the description of a space: {error}") from error
    return built


def convert(space: Any, name: str = "space") -> Any:
    """Convert one of Gym's spaces to Gymnasium's of the same kind; one with a registered class in it stays as it is.

    Args:
        space: The space.
        name: What errors call it.

    Raises:
        EnvironmentFault: Gymnasium has no such kind.
    """
    if isinstance(space, spaces.Space):
        return space
    description = describe(space, name)
    if _holds_registered(space):
        return space
    try:
        return build(description)
    except ValueError as error:
        raise EnvironmentFault("make", f"Gym's {name} has no counterpart in Gymnasium: {error}") from error


def _holds_registered(space: Any) -> bool:
    inner = getattr(space, "spaces", ())
    return is_registered(space) or any(
        _holds_registered(each) for each in (inner.values() if isinstance(inner, Mapping) else inner)
    )


def are_alike(one: Any, other: Any) -> bool:
    """Return whether two spaces are the same for clients."""
    try:
        return bool(one == other) or describe(one) == describe(other)
    except Exception:  # they cannot be described, or code of the environment compared them
        return type(one) is type(other)


#: The attributes of an environment that are its spaces.
SPACE_NAMES = ("action_space", "observation_space")


def space_of(environment: Any, name: str) -> Any:
    """Return a space of an environment.

    Args:
        environment: The environment.
        name: ``action_space`` or ``observation_space``, or one of a vector environment's.

    Raises:
        EnvironmentFault: The environment has no such space.
    """
    missing = EnvironmentFault(
        "make", f"the environment has no {name}; set it before the first reset, in the constructor or by a wrapper"
    )
    try:
        space = getattr(environment, name)
    except AttributeError as error:
        raise missing from error
    if space is None:
        raise missing
    return space


# Codecs of values


@dataclass(frozen=True)
class Codec:
    """How the elements of one space travel.

    Incoming functions raise :class:`~gymtwist.errors.InvalidAction` if the codec is ``checked``. That error, and all
    others, is a :class:`ValueError` that names the path, what is there and what should be.

    Attributes:
        layout: Of the elements; None if the space fixes none.
        pack: An element to what a MessagePack message carries: with a layout bytes, which may be the memory of the
            element itself (so send them before that changes); else a tree.
        unpack: The way back.
        to_json: An element to what a JSON message carries.
        from_json: The way back.
        is_array: Whether an element is a single array.
    """

    layout: Layout | None
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    is_array: bool


def value_codec(
    space: Space,
    *,
    name: str,
    checked: bool = True,
    owned: bool | None = None,
    base64: bool = False,
    description: Description | None = None,
    **options: Any,
) -> Codec:
    """Compile the codec of a space.

    Args:
        space: The space.
        name: What errors call its elements: ``action``, ``observation``.
        checked: Whether an incoming value must be in the space: so it is for the actions that a server reads. Else it
            must only have the form of such elements: so it is for the observations that a client reads, which
            environments do not always keep within their space.
        owned: Whether the arrays of an incoming value are the caller's own, and not views of the message; None for
            those of values that are checked.
        base64: Whether JSON carries arrays (with a layout: the whole) as base64 instead of lists.
        description: Of the space, if it is at hand.
        options: Fields of :class:`~gymtwist.spaces.space_codecs.CodecContext`: ``exact``, ``plain``, ``on_cut``,
            ``deadline``.

    Raises:
        EnvironmentFault: As :func:`describe` does.
        ValueError: The elements are beyond the limits.
        TimeoutError: It is later than the deadline.
    """
    layout = layout_of(describe(space) if description is None else description)
    context = codec_context(
        Form.BINARY,
        name,
        checked=checked,
        owned=checked if owned is None else owned,
        error=ActionMismatch if checked else ValueMismatch,
        offsets={} if layout is None else {leaf.path: leaf.offset for leaf in layout.leaves},
        **options,
    )
    binary = codec_of(space, context)
    pack, unpack = (binary.to_tree, binary.from_tree) if layout is None else _laid_out(space, binary, layout, context)
    if base64 and layout is not None:
        return Codec(
            layout,
            pack,
            unpack,
            lambda value: base64_.b64encode(pack(value)).decode(),
            lambda text: unpack(from_base64(text, context)),
            binary.is_array,
        )
    trees = codec_of(space, replace(context, form=Form.BASE64 if base64 else Form.LISTS))
    return Codec(layout, pack, unpack, trees.to_tree, trees.from_tree, binary.is_array)


def _laid_out(
    space: Space, codec: SpaceCodec, layout: Layout, context: CodecContext
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    size, append, unpack_from = layout.size, codec.append, codec.unpack_from

    def pack(value: Any) -> bytes:
        parts: list[bytes | memoryview] = []
        append(parts, value)  # type: ignore[misc]  # see SpaceCodec
        return b"".join(parts)

    def unpack(buffer: Any) -> Any:
        if type(buffer) is not bytes or len(buffer) != size:
            return read_other(buffer)
        return unpack_from(buffer)  # type: ignore[misc]  # see SpaceCodec

    lists = cache(lambda: codec_of(space, replace(context, form=Form.LISTS)).from_tree)
    read_other = other_reader(size, unpack_from, lists, context)  # type: ignore[arg-type]  # see SpaceCodec

    if isinstance(codec.plan, NestPlan):
        compiled = compile_plan(codec.plan, size, pack, read_other)
        if compiled is not None:
            return compiled

    # A single array or number is its own bytes.
    return codec.pack or pack, codec.unpack or unpack


def info_restorer(space: Space) -> Callable[[Any], Any]:
    """Compile the function that restores an element from an info, where it has lost its dtypes.

    Returns:
        A function that returns a value unchanged if it cannot be an element.
    """
    read = codec_of(space, codec_context(Form.INFO, "info")).from_tree

    def restore(value: Any) -> Any:
        try:
            return read(value)
        except (ValueError, TypeError, LookupError, OverflowError):
            return value

    return restore


def codec_context(form: Form, name: str, **options: Any) -> CodecContext:
    """Return the context of a whole value; the options are fields of the context."""
    return CodecContext(path=(name,), form=form, spaces=spaces, **options)


def environment_of(path: Path, single: Space) -> tuple[int, Path] | None:
    """Find the environment that a place in a batch belongs to.

    Args:
        path: The name of the batch, then the place in it.
        single: The space of one environment's element.

    Returns:
        The environment's index, and the place in its element; None for a place in no single element.
    """
    depth, space = 1, single
    while depth < len(path) and isinstance(space, (spaces.Dict, spaces.Tuple)):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        found = [each for key, each in inner if key == path[depth] or str(key) == path[depth]]
        if not found:
            return None
        depth, space = depth + 1, found[0]
    index = path[depth] if depth < len(path) else None
    return (index, (*path[:depth], *path[depth + 1 :])) if isinstance(index, int) else None


def has_plain_numbers(space: Space, value: Any) -> bool:
    """Return whether the elements of Discrete spaces in a value are Python's integers, all of them."""
    numbers = list(_numbers(space, value))
    return bool(numbers) and all(type(number) is int for number in numbers)


def _numbers(space: Space, value: Any) -> Iterator[Any]:
    if isinstance(space, spaces.Discrete):
        yield value
    elif isinstance(space, spaces.Tuple):
        for inner, each in zip(space.spaces, value, strict=False):
            yield from _numbers(inner, each)
    elif isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _numbers(inner, value[key])


def make_generators(space: Any) -> None:
    """Make the random generators of a space and of its parts.

    Gymnasium makes them when they are first used, from fresh random numbers. Two copies of a space without them would
    draw differently.

    Args:
        space: A space of an environment; one that is not Gymnasium's may have none.
    """
    getattr(space, "np_random", None)
    parts = getattr(space, "spaces", ())
    named = (getattr(space, name, None) for name in ("feature_space", "node_space", "edge_space"))
    for part in (*(parts.values() if isinstance(parts, Mapping) else parts), *named):
        if part is not None:
            make_generators(part)
