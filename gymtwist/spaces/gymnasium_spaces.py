"""Gymnasium's spaces: describes them for messages, builds them again, and compiles codecs of their elements.

This is the only module here that imports Gymnasium; the server never imports it.
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
        space: A space of one of Gymnasium's kinds, from Gymnasium or Gym, or of a class registered as one of them.
        name: The space's name in errors, such as ``action_space``.

    Raises:
        EnvironmentFault: It is of another kind, or exceeds the limits of descriptions.
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
    """A space inside another cannot be described; the message contains its place."""


def _describe(space: Any, place: str, depth: int) -> Description:
    try:
        if depth == 0:  # a space may contain itself
            raise ValueError(f"a space nested more than {MAX_DEPTH} deep")
        return kind_of(space).describe(space, lambda each, key: _describe(each, f"{place}{key}", depth - 1))
    except _Indescribable:
        raise
    except Exception as error:  # a class derived from one of Gymnasium's may lack anything
        raise _Indescribable(f"{place:.200}: {error}") from error


class _Until:
    """The module ``gymnasium.spaces`` until a deadline, after which accessing its classes fails."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        check_deadline(self._deadline)
        return getattr(spaces, name)


def build(description: Description, *, deadline: float = math.inf) -> Space:
    """Build the space that a description describes.

    Args:
        description: The description.
        deadline: The time at which to give up, by ``time.monotonic``.

    Raises:
        ValueError: The description is not valid, or not within the limits.
        TimeoutError: The deadline has passed.
    """
    check(description)
    try:
        built: Space = description.build(_Until(deadline))
    except (AssertionError, AttributeError, TypeError, OverflowError) as error:  # an older Gymnasium lacks some kinds
        raise ValueError(f"not the description of a space: {error}") from error
    return built


def convert(space: Any, name: str = "space") -> Any:
    """Convert a Gym space to the Gymnasium space of the same kind; one that contains a registered class stays.

    Args:
        space: The space.
        name: The space's name in errors.

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
    """Return whether two spaces are the same to clients."""
    try:
        return bool(one == other) or describe(one) == describe(other)
    except Exception:  # they cannot be described, or the environment's own comparison failed
        return type(one) is type(other)


#: The attributes of an environment that hold its spaces.
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

    Incoming functions raise :class:`~gymtwist.errors.InvalidAction` if the codec is ``checked``. This and all other
    errors are :class:`ValueError`, and name the path, the value and what was expected.

    Attributes:
        layout: The layout of the elements; None if the space does not fix one.
        pack: Converts an element for a MessagePack message: with a layout, to bytes, which may be the element's own
            memory (so send them before it changes); otherwise to a tree.
        unpack: The inverse of ``pack``.
        to_json: Converts an element for a JSON message.
        from_json: The inverse of ``to_json``.
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
        name: The name of an element in errors, such as ``action``.
        checked: Whether an incoming value must be in the space, as for the actions that a server reads. Otherwise, it
            must only have the form of its elements, as for the observations that a client reads, because environments
            do not always keep these within their space.
        owned: Whether the arrays of an incoming value are the caller's own, rather than views of the message; None for
            the value of ``checked``.
        base64: Whether JSON carries arrays as base64 instead of lists; with a layout, the whole value.
        description: The description of the space, if available.
        options: Fields of :class:`~gymtwist.spaces.space_codecs.CodecContext`: ``exact``, ``plain``, ``on_cut``,
            ``deadline``.

    Raises:
        EnvironmentFault: As for :func:`describe`.
        ValueError: The elements exceed the limits.
        TimeoutError: The deadline has passed.
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

    # A single array or number consists of its own bytes.
    return codec.pack or pack, codec.unpack or unpack


def info_restorer(space: Space) -> Callable[[Any], Any]:
    """Compile the function that restores an element from an info, in which it has lost its dtypes.

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
        The environment's index, and the place in its element; None if the place is not in a single element.
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
    """Return whether all elements of Discrete spaces in a value are Python integers, and there are any."""
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
    """Create the random generators of a space and of its parts.

    Gymnasium creates them at their first use, with new random seeds, so two copies of a space without generators would
    draw differently.

    Args:
        space: An environment's space; one that is not Gymnasium's may have no generators.
    """
    getattr(space, "np_random", None)
    parts = getattr(space, "spaces", ())
    named = (getattr(space, name, None) for name in ("feature_space", "node_space", "edge_space"))
    for part in (*(parts.values() if isinstance(parts, Mapping) else parts), *named):
        if part is not None:
            make_generators(part)
