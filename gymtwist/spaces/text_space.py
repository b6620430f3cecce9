"""Text: strings of certain characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.space_kind import SpaceKind
from gymtwist.spaces.value_mismatch import shown


class Text(SpaceKind, frozen=True):
    """Strings of certain characters, with a least and a greatest length in characters (code points)."""

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
    def describe(cls, space: Any, describe: Callable[[Any], SpaceKind]) -> Text:
        """Describe a space."""
        # In their order, which samples depend on; Gymnasium's `characters` are sorted.
        characters = "".join(space.character_list)
        characters.encode()  # raises a ValueError for a character that UTF-8 does not have
        return cls(space.min_length, space.max_length, characters)

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        characters, least, most = frozenset(space.character_set), space.min_length, space.max_length

        def to_tree(value: Any) -> str:
            if not isinstance(value, str):
                raise context.mismatch(f"is {shown(value)} where its space has text")
            try:
                # Of whatever subclass it is; and without what UTF-8 does not have.
                return str.encode(value).decode()
            except UnicodeEncodeError as error:
                raise context.mismatch(f"is {shown(value)}, which UTF-8 cannot carry") from error

        def from_tree(tree: Any) -> str:
            if not isinstance(tree, str):
                raise context.mismatch(f"is {shown(tree)}: send a string")
            if context.checked and not least <= len(tree) <= most:
                raise context.mismatch(f"is {shown(tree)}, {len(tree)} characters long: send from {least} to {most}")
            if context.checked and not characters.issuperset(tree):
                raise context.mismatch(f"is {shown(tree)}: send characters of {shown(space.characters)}")
            return tree

        return SpaceCodec(str if context.form is Form.CLASSIC else to_tree, from_tree)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space as the classic protocol does."""
        return {
            **{"type": "Text", "min_length": int(space.min_length), "max_length": int(space.max_length)},
            "characters": space.characters,
        }
