"""Registration of space classes that are not Gymnasium's own; an operator's ``--setup`` file calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymtwist.spaces.space_codecs import CodecContext, SpaceCodec
from gymtwist.spaces.space_kind import Describe, SpaceKind, codec_of, kind_of, register_class
from gymtwist.spaces.value_mismatch import ValueMismatch


def register_space(
    space_class: type,
    equivalent: Callable[[Any], Any],
    *,
    encode: Callable[[Any, Any], Any] | None = None,
    decode: Callable[[Any, Any], Any] | None = None,
) -> None:
    """Serve the spaces of a class and its subclasses as spaces that every client knows.

    Args:
        space_class: The class, which need not be derived from ``gymnasium.spaces.Space``.
        equivalent: Takes a space of the class; returns the space that clients get in its place, which is of one of
            Gymnasium's kinds. It must return an equal space each time.
        encode: Takes a space of the class and an element of it; returns the element of the equivalent space. None if
            they are the same.
        decode: The inverse of ``encode``, for actions. An action for which it raises an exception is refused with the
            exception's message; an action that the space does not contain is refused, too.
    """

    class Registered(SpaceKind, frozen=True):
        """The kind of the class's spaces."""

        @classmethod
        def describe(cls, space: Any, describe: Describe) -> SpaceKind:
            return describe(equivalent(space), "")

        @staticmethod
        def codec(space: Any, context: CodecContext) -> SpaceCodec:
            codec = codec_of(equivalent(space), context)
            return _converted(space, codec, context, encode, decode)

        @staticmethod
        def classic_description(space: Any) -> dict[str, Any]:
            known = equivalent(space)
            return kind_of(known).classic_description(known)

    register_class(space_class, Registered)


def _converted(
    space: Any,
    codec: SpaceCodec,
    context: CodecContext,
    encode: Callable[[Any, Any], Any] | None,
    decode: Callable[[Any, Any], Any] | None,
) -> SpaceCodec:
    """Convert elements before a codec writes them, and after it has read them."""
    if encode is not None or decode is not None:
        codec = codec._replace(plan=None)
    if encode is not None:
        to_tree, pack, append = codec.to_tree, codec.pack, codec.append
        codec = codec._replace(
            to_tree=lambda value: to_tree(encode(space, value)),
            pack=None if pack is None else lambda value: pack(encode(space, value)),
            append=None if append is None else lambda parts, value: append(parts, encode(space, value)),
        )
    if decode is None:
        return codec

    def decoded(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read_element(sent: Any) -> Any:
            element = read(sent)
            try:
                return decode(space, element)
            except ValueMismatch:
                raise
            except Exception as error:
                raise context.outside(element, space, error) from error

        return read_element

    unpack_from, unpack = codec.unpack_from, codec.unpack
    return codec._replace(
        from_tree=decoded(codec.from_tree),
        unpack_from=None if unpack_from is None else decoded(unpack_from),
        unpack=None if unpack is None else decoded(unpack),
    )
