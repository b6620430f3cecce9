"""The base of the kinds of spaces: every operation that differs between kinds, with the answer that fits most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ForwardRef, TypeAlias

import msgspec

from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec, items_codec
from gymtwist.spaces.value_mismatch import shown

#: The deepest nesting of spaces.
MAX_DEPTH = 32

# A kind that holds other spaces is in the union of all kinds that its own fields refer to. msgspec finds the union by
# this reference when it makes the first decoder; for the type checker the base class stands for it.
if TYPE_CHECKING:
    Inner: TypeAlias = "SpaceKind"
else:
    Inner = ForwardRef("Description", module="gymtwist.spaces.descriptions")


class SpaceKind(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """A kind of spaces. An instance describes one space of that kind, as messages carry it.

    A subclass has the name of its Gymnasium class. Its ordinary methods are about a description. Its class and static
    methods are about a *space*, an object of the Gymnasium class; the server, which uses descriptions alone, must not
    import Gymnasium, so no kind does: what needs the module ``gymnasium.spaces`` is given it.

    This class itself is the kind of all spaces without a kind of their own. No message carries them; the classic
    protocol leaves them to Gymnasium's own JSON form.
    """

    #: Whether the space fixes a layout of its elements, apart from the spaces inside it. Then Gymnasium also stacks
    #: them in arrays; a batch of others is a tuple.
    is_fixed: ClassVar[bool] = False
    #: The packages whose class of this name is meant.
    packages: ClassVar[tuple[str, ...]] = ("gymnasium", "gym")

    # Descriptions

    def check(self) -> int:
        """Check this space, apart from those inside it, before any memory is allocated for it.

        Returns:
            The bytes of its bounds, or of whatever else is as large as an element.

        Raises:
            ValueError: It is beyond the limits, or no such space exists.
        """
        return 0

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces directly inside this one, with their keys."""
        return iter(())

    def array(self) -> tuple[str, tuple[int, ...]] | None:
        """Return the dtype and the shape of its elements, if they are arrays or numbers."""
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
    def describe(cls, space: Any, describe: Callable[[Any], SpaceKind]) -> SpaceKind:
        """Describe a space; a Gym space is described as well, where an attribute may be missing.

        Args:
            space: The space.
            describe: Describes a space inside it.

        Raises:
            ValueError: A message cannot carry the space.
        """
        raise ValueError(f"a {type(space).__name__} is none of Gymnasium's kinds")

    # Values

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec of a space. If ``context.batch``, only kinds that are stacked are asked for one."""
        if context.form is not Form.CLASSIC:
            raise ValueError(f"a {type(space).__name__} is none of Gymnasium's kinds")
        return foreign_codec(space, context)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space as the classic protocol does.

        The fields of gym-socket-api keep the types that its Go client decodes them to (``n`` an integer, ``low`` and
        ``high`` flat lists, ``shape`` a list of integers, ``subspaces`` a list); additional ones have other names.
        """
        return {"type": type(space).__name__}

    # Batches: any number of elements, stacked as Gymnasium stacks them

    @staticmethod
    def take(space: Any, batch: Any, start: int, stop: int) -> Any:
        """Return the elements from ``start`` to ``stop`` of a batch.

        Raises:
            ValueError: It does not have the structure of a batch.
        """
        return batch[start:stop]

    @staticmethod
    def element(space: Any, batch: Any, index: int) -> Any:
        """Return one element of a batch."""
        return batch[index]

    @staticmethod
    def join(space: Any, batches: Sequence[Any]) -> Any:
        """Join batches to one, whose arrays are new."""
        return tuple(each for batch in batches for each in batch)

    @staticmethod
    def batch_of(space: Any, elements: Sequence[Any]) -> Any:
        """Make a batch of elements."""
        return tuple(elements)

    @staticmethod
    def lengths(space: Any, batch: Any) -> Iterator[int]:
        """Yield the number of elements in each part of a batch; in a proper batch all are equal.

        Raises:
            TypeError: A part has no length.
        """
        yield len(batch)


_KINDS: dict[str, type[SpaceKind]] = {}


def register(*kinds: type[SpaceKind]) -> tuple[type[SpaceKind], ...]:
    """Make kinds known to :func:`kind_of`; returns them."""
    _KINDS.update((kind.__name__, kind) for kind in kinds)
    return kinds


def kind_of(space: Any) -> type[SpaceKind]:
    """Return the kind of a space of Gymnasium or Gym; for a subclass the kind of the class it is derived from."""
    for each in type(space).__mro__:
        kind = _KINDS.get(each.__name__)
        if kind is not None and each.__module__.partition(".")[0] in kind.packages:
            return kind
    return SpaceKind


def codec_of(space: Any, context: CodecContext) -> SpaceCodec:
    """Compile the codec of a space, or of a batch of its elements if ``context.batch``."""
    kind = kind_of(space)
    if context.batch and not kind.is_fixed:
        return items_codec(kind.codec(space, context.within(batch=False)), context)
    return kind.codec(space, context)


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
            inside = space.contains(element)
        except Exception as error:
            raise context.mismatch(f"is {shown(tree)}, which is not in {space}: {error}") from error
        if not inside:
            raise context.mismatch(f"is {shown(tree)}, which is not in {space}")
        return element

    return SpaceCodec(to_tree, from_tree)
