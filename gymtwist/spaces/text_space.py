"""Text: strings of certain characters."""

from __future__ import annotations

import string
from typing import Any

from gymtwist.spaces.equivalent_forms import text
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.space_kind import Describe, SpaceKind
from gymtwist.spaces.value_mismatch import shown

#: The assumed minimum and maximum length for a space of another class, which need not state them.
_LENGTHS = (0, 4096)


class Text(SpaceKind, frozen=True):
    """Strings of certain characters, with a minimum and a maximum length in characters (code points).

    The space may be of another class whose elements are strings. The description then uses the attributes of
    Gymnasium's Text that the space has, and guesses the others; the space itself checks the actions.
    """

    min_length: int
    max_length: int
    characters: str

    def check(self) -> int:
        """Check the lengths."""
        if not 0 <= self.min_length <= self.max_length:
            raise ValueError(f"a Text of {self.min_length} to {self.max_length} characters")
        return 0

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.Text(self.max_length, min_length=self.min_length, charset=self.characters)

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Text:
        """Describe a space."""
        # In the original order, which samples depend on; Gymnasium's `characters` are sorted.
        listed = getattr(space, "character_list", None)
        characters = _characters(space) if listed is None else "".join(listed)
        characters.encode()  # raises a ValueError for a character that UTF-8 does not have
        return cls(*_lengths(space), characters)

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        characters, (least, most) = frozenset(_characters(space)), _lengths(space)
        checked = context.checked and hasattr(space, "character_list")

        def to_tree(value: Any) -> str:
            if not isinstance(value, str):
                raise context.mismatch(f"is {shown(value)} where its space has text")
            try:
                # Convert subclasses of str, and check that UTF-8 can encode the text.
                return str.encode(value).decode()
            except UnicodeEncodeError as error:
                raise context.mismatch(f"is {shown(value)}, which UTF-8 cannot carry") from error

        def from_tree(tree: Any) -> str:
            if not isinstance(tree, str):
                tree = text(tree)
            if not isinstance(tree, str):
                raise context.mismatch(f"is {shown(tree)}: send a string")
            if checked and not least <= len(tree) <= most:
                raise context.mismatch(f"is {shown(tree)}, {len(tree)} characters long: send from {least} to {most}")
            if checked and not characters.issuperset(tree):
                raise context.mismatch(f"is {shown(tree)}: send characters of {shown(_characters(space))}")
            return tree

        return SpaceCodec(str if context.form is Form.CLASSIC else to_tree, from_tree)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        least, most = _lengths(space)
        return {"type": "Text", "min_length": least, "max_length": most, "characters": _characters(space)}


def _characters(space: Any) -> str:
    characters = getattr(space, "characters", None)
    return characters if isinstance(characters, str) else string.printable


def _lengths(space: Any) -> tuple[int, int]:
    try:
        return int(space.min_length), int(space.max_length)
    except (AttributeError, TypeError, ValueError):
        return _LENGTHS
