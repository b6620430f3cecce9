"""Converts values of the framed protocol to the form of OpenEnv's messages."""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from gymtwist.protocol import make_messages
from gymtwist.protocol.dynamic_values import to_builtins
from gymtwist.protocol.received_values import restored
from gymtwist.spaces.descriptions import Box, Description, Dict, Discrete, Tuple
from gymtwist.spaces.layout import DTYPES, Leaf, array_at

#: How large arrays are sent.
Encoding: TypeAlias = Literal["list", "base64", "png"]

#: The maximum number of elements of an observation sent as a list, unless the client asks for an encoding.
_MOST_LISTED = 1000
#: The maximum number of legal actions to list.
_MOST_ACTIONS = 1000
_PNG_COLOURS = {1: 0, 3: 2, 4: 6}

#: Non-finite numbers become null.
encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=to_builtins).encode


class Observations:
    """Turns the observations of an environment into objects.

    Args:
        made: The description of the environment, whose values are encoded as MessagePack.
        encoding: The encoding that the client has asked for; None to choose by size.

    Attributes:
        encoding: The encoding that the client has asked for; None to choose by size.
    """

    def __init__(self, made: make_messages.Made, encoding: Encoding | None) -> None:
        self._space = made.observation_space
        self._layout = made.observation_layout
        self.encoding = encoding
        self._always = _legal_actions(made.action_space)
        self._leaves = {leaf.path: leaf for leaf in self._layout.leaves} if self._layout is not None else {}

    def fields(self, value: Any) -> dict[str, Any]:
        """Return the fields of an observation; for a Dict space, these are the items of the observation."""
        space = self._space
        if isinstance(space, Box) and self._layout is not None:
            return {**self._array(self._layout.leaves[0], value), **self._always}
        plain = self._tree(space, (), value) if self._layout is not None else restored(value)
        return {**plain, **self._always} if isinstance(space, Dict) else {"observation": plain, **self._always}

    def _array(self, leaf: Leaf, data: bytes) -> dict[str, Any]:
        size = math.prod(leaf.shape)
        encoding = self.encoding or ("list" if size <= _MOST_LISTED else "base64")
        is_image = leaf.dtype == "uint8" and len(leaf.shape) in (2, 3) and size > 0
        about = {"observation_shape": leaf.shape, "dtype": leaf.dtype}
        if encoding == "png" and is_image and (picture := png(leaf.shape, data)) is not None:
            return {"observation": b64encode(picture).decode(), "encoding": "png", **about}
        if encoding == "list":
            if is_image:  # as expected by the client of the Atari environment
                return {"screen": list(data), "screen_shape": leaf.shape, **about}
            return {"observation": array_at(data, DTYPES[leaf.dtype], leaf.shape).tolist(), **about}
        return {"observation": b64encode(data).decode(), "encoding": "base64", **about}

    def _tree(self, space: Description, path: tuple[str | int, ...], data: bytes) -> Any:
        """Return an element of a space that has a layout."""
        if isinstance(space, Dict):
            return {str(key): self._tree(each, (*path, key), data) for key, each in space.inner()}
        if isinstance(space, Tuple):
            return [self._tree(each, (*path, key), data) for key, each in space.inner()]
        leaf = self._leaves[path]
        return array_at(data, DTYPES[leaf.dtype], leaf.shape, leaf.offset).tolist()


def _legal_actions(space: Description) -> dict[str, Any]:
    if not isinstance(space, Discrete) or space.n > _MOST_ACTIONS:
        return {}
    return {"legal_actions": list(range(space.start, space.start + space.n))}


def png(shape: tuple[int, ...], data: bytes) -> bytes | None:
    """Encode an image as PNG.

    Args:
        shape: Height, width and, unless there is only one, the number of channels.
        data: The pixels, uint8 in C order.

    Returns:
        The PNG file; None if PNG does not support this number of channels.
    """
    height, width, channels = (*shape, 1)[:3]
    colour = _PNG_COLOURS.get(channels)
    if colour is None:
        return None
    stride = width * channels
    rows = b"".join(b"\0" + data[start : start + stride] for start in range(0, height * stride, stride))

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
