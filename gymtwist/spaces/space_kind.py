"""The base of the kinds of spaces: every operation that differs between kinds, with the usual implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, ForwardRef, TypeAlias, get_args, get_origin

import msgspec

from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec, items_codec
from gymtwist.spaces.value_mismatch import shown

#: The maximum nesting depth of spaces.
MAX_DEPTH = 32

# The fields of a kind that holds other spaces refer to the union of all kinds, which includes the kind itself. msgspec
# resolves this reference when it makes the first decoder; the type checker sees the base class instead. The expression
# names the module because Python 3.14 evaluates a reference where the annotation is, whatever its own module.
if TYPE_CHECKING:
    Inner: TypeAlias = "SpaceKind"
else:
    Inner = ForwardRef("__import__('gymtwist.spaces.descriptions', fromlist=['Description']).Description")

#: Describes a space inside another; the second argument is its place there in Python's notation: ``["mission"]``.
Describe: TypeAlias = "Callable[[Any, str], SpaceKind]"


class SpaceKind(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """A kind of spaces. An instance describes one space of this kind, in the form carried by messages.

    A subclass has the name of its Gymnasium class. Its ordinary methods concern a description. Its class and static
    methods concern a *space*, an object of the Gymnasium class. The server, which uses only descriptions, must not
    import Gymnasium, so no kind does; methods that need the module ``gymnasium.spaces`` get it as an argument.

    This class itself is the kind of all spaces without a kind of their own, unless the operator has registered their
    class (:mod:`gymtwist.spaces.space_registry`). Messages cannot carry them; the classic protocol uses Gymnasium's own
    JSON form.
    """

    #: Whether the space fixes a layout of its elements, apart from the spaces inside it. If so, Gymnasium must also
    #: stack the elements in arrays; kinds whose batches are tuples leave this False.
    is_fixed: ClassVar[bool] = False
    #: The packages whose class with this name is of this kind.
    packages: ClassVar[tuple[str, ...]] = ("gymnasium", "gym")

    # Descriptions

    def check(self) -> int:
        """Check this space, but not the spaces inside it, before any memory is allocated for it.

        Returns:
            The bytes of its bounds, or of other parts that are as large as an element.

        Raises:
            ValueError: It exceeds the limits, or is not a valid space.
        """
        return 0

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces directly inside this one, with their keys."""
        return iter(())

    def array(self) -> tuple[str, tuple[int, ...]] | None:
        """Return the dtype and the shape of the elements, if they are arrays or numbers; otherwise None."""
        return None

    def for_json(self) -> SpaceKind:
        """Return the description without bytes, which JSON cannot carry."""
        return self

    def build(self, spaces: Any) -> Any:
        """Build the space that this describes.

        Args:
            spaces: The module ``gymnasium.spaces``.
        """
        raise NotImplementedError

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> SpaceKind:
        """Describe a space, which may be Gym's and lack an attribute.

        Args:
            space: The space.
            describe: Describes a space inside the space.

        Raises:
            ValueError: A message cannot carry the space.
        """
        raise ValueError(
            f"{_named(type(space))} is not one of Gymnasium's kinds of spaces; its operator can have it served as "
            "one, by register_space() in a --setup file"
        )

    # Values

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec of a space; ``context.batch`` is set only for kinds whose batches are stacked."""
        if context.form is not Form.CLASSIC:
            raise ValueError(f"{_named(type(space))} is not one of Gymnasium's kinds of spaces")
        return foreign_codec(space, context)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol.

        The fields of gym-socket-api keep the types that its Go client decodes (``n`` an integer, ``low`` and
        ``high`` flat lists, ``shape`` a list of integers, ``subspaces`` a list); additional ones have other names.
        """
        return {"type": type(space).__name__}

    # Batches: any number of elements, stacked as Gymnasium stacks them

    @staticmethod
    def take(space: Any, batch: Any, start: int, stop: int) -> Any:
        """Return the elements from ``start`` to ``stop`` of a batch.

        Raises:
            ValueError: The value does not have the structure of a batch.
        """
        return batch[start:stop]

    @staticmethod
    def element(space: Any, batch: Any, index: int) -> Any:
        """Return one element of a batch."""
        return batch[index]

    @staticmethod
    def join(space: Any, batches: Sequence[Any]) -> Any:
        """Join batches into one with new arrays."""
        return tuple(deepcopy(each) for batch in batches for each in batch)

    @staticmethod
    def batch_of(space: Any, elements: Sequence[Any]) -> Any:
        """Make a batch of elements."""
        return tuple(elements)

    @staticmethod
    def lengths(space: Any, batch: Any) -> Iterator[int]:
        """Yield the number of elements in each part of a batch; in a valid batch, all are equal.

        Raises:
            TypeError: A part has no length.
        """
        yield len(batch)


_KINDS: dict[str, type[SpaceKind]] = {}
_classes: dict[type, type[SpaceKind]] = {}


def register(*kinds: type[SpaceKind]) -> tuple[type[SpaceKind], ...]:
    """Make kinds known to :func:`kind_of`; return them."""
    _KINDS.update((kind.__name__, kind) for kind in kinds)
    return kinds


def register_class(space_class: type, kind: type[SpaceKind]) -> None:
    """Assign a kind to a class and its subclasses, whatever package the class is from."""
    _classes[space_class] = kind


def is_registered(space: Any) -> bool:
    """Return whether an operator has registered the class of a space."""
    return any(each in _classes for each in type(space).__mro__)


def kind_of(space: Any) -> type[SpaceKind]:
    """Return the kind of a space of Gymnasium or Gym, or of a registered class.

    For a subclass, it is the kind of its base class; for a space of another class whose elements are strings, it is
    Text.
    """
    for each in type(space).__mro__:
        if each in _classes:
            return _classes[each]
        kind = _KINDS.get(each.__name__)
        if kind is not None and each.__module__.partition(".")[0] in kind.packages:
            return kind
    return _KINDS["Text"] if _has_strings(space) else SpaceKind


def _has_strings(space: Any) -> bool:
    """Return whether a space's dtype, or its class, says that its elements are strings."""
    bases = [each for each in type(space).__mro__ if each.__module__.partition(".")[0] in SpaceKind.packages]
    if not any(each.__name__ == "Space" for each in bases) or getattr(space, "shape", None):
        return False
    declared = (base for each in type(space).__mro__ for base in getattr(each, "__orig_bases__", ()))
    return getattr(getattr(space, "dtype", None), "kind", None) == "U" or any(
        getattr(get_origin(base), "__name__", None) == "Space" and get_args(base) == (str,) for base in declared
    )


def _named(space_class: type) -> str:
    return f"a {space_class.__qualname__} (of {space_class.__module__})"


def codec_of(space: Any, context: CodecContext) -> SpaceCodec:
    """Compile the codec of a space or, with ``context.batch``, of a batch of its elements."""
    kind = kind_of(space)
    if context.batch and not kind.is_fixed:
        return items_codec(kind.codec(space, context.within(batch=False)), context)
    codec = kind.codec(space, context)
    if context.batch or not context.checked or kind is SpaceKind or not _has_own_contains(space):
        return codec
    return _checked_by_space(space, codec, context)


def _has_own_contains(space: Any) -> bool:
    """Return whether the class of a space, rather than a library, defines which elements it contains."""
    definer = next((each for each in type(space).__mro__ if "contains" in vars(each)), None)
    return definer is not None and definer.__module__.partition(".")[0] not in SpaceKind.packages


def _checked_by_space(space: Any, codec: SpaceCodec, context: CodecContext) -> SpaceCodec:
    """Have a space also check incoming values: it may contain less than its kind does."""

    def checked(read: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        if read is None:
            return None

        def read_element(sent: Any) -> Any:
            value = read(sent)
            _check_contained(space, value, value, context)
            return value

        return read_element

    from_tree = checked(codec.from_tree)
    assert from_tree is not None
    return codec._replace(
        from_tree=from_tree, unpack_from=checked(codec.unpack_from), unpack=checked(codec.unpack), plan=None
    )


def _check_contained(space: Any, value: Any, sent: Any, context: CodecContext) -> None:
    """Check that a space contains a value; an error shows what was sent for it."""
    try:
        inside = space.contains(value)
    except Exception as error:
        raise context.outside(sent, space, error) from error
    if not inside:
        raise context.outside(sent, space)


def batch_codec(space: Any, context: CodecContext) -> SpaceCodec:
    """Compile the codec of any number of elements, stacked as Gymnasium stacks them."""
    codec = codec_of(space, context.within(batch=True))
    lengths_of = kind_of(space).lengths

    def from_tree(tree: Any) -> Any:
        value = codec.from_tree(tree)
        lengths = sorted(set(lengths_of(space, value)))
        if len(lengths) > 1:
            raise context.mismatch(f"is {shown(tree)}, with parts of {lengths} elements: send equally many of each")
        return value

    return SpaceCodec(codec.to_tree, from_tree)


def foreign_codec(space: Any, context: CodecContext) -> SpaceCodec:
    """Compile the codec of a space whose values travel in Gymnasium's own JSON form."""

    def to_tree(value: Any) -> Any:
        return space.to_jsonable([value])[0]

    def from_tree(tree: Any) -> Any:
        try:
            element = space.from_jsonable([tree])[0]
        except Exception as error:
            raise context.outside(tree, space, error) from error
        _check_contained(space, element, tree, context)
        return element

    return SpaceCodec(to_tree, from_tree)
