"""Elements of spaces in messages: observations out, actions in, and both ways in a client.

For each space a codec is made once, so that nothing is looked up on the way of a step. Where the space fixes a layout,
MessagePack carries a value as the bytes of it. Else (there is a Text, Sequence, Graph or OneOf in the space) it carries
a tree of lists, objects, numbers, strings and arrays; JSON always does, or the base64 of what MessagePack carries.
"""

from __future__ import annotations

import base64 as base64_
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymtwist.errors import InvalidAction
from gymtwist.spaces import descriptions
from gymtwist.spaces.arrays import ArrayForm, Form, from_base64
from gymtwist.spaces.bounds import bounds_of, range_of
from gymtwist.spaces.descriptions import Description, layout_of
from gymtwist.spaces.layout import DTYPES, Layout, ValueMismatch, check_size
from gymtwist.spaces.space_codecs import ArrayNode, DictNode, IntegerNode, Node, TupleNode
from gymtwist.spaces.variable_codecs import (
    BatchNode,
    ChoiceNode,
    GraphNode,
    GraphValue,
    ItemsNode,
    TextNode,
)

__all__ = ["Codec", "GraphValue", "codec"]


@dataclass(frozen=True)
class Codec:
    """How the elements of one space travel.

    Attributes:
        layout: Of the elements; None if the space fixes none.
        pack: An element to what a MessagePack message carries: with a layout bytes, which may be the memory of the
            element itself (so send them before that changes); else a tree. Raises :class:`ValueError`.
        unpack: The way back. Raises what :func:`codec` says.
        to_json: An element to what a JSON message carries. Raises :class:`ValueError`.
        from_json: The way back. Raises what :func:`codec` says.
    """

    layout: Layout | None
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


def codec(
    description: Description,
    *,
    name: str = "action",
    checked: bool = True,
    base64: bool = False,
    graph: Callable[[Any, Any, Any], Any] = GraphValue,
) -> Codec:
    """Make the codec of a space.

    Args:
        description: Of the space.
        name: What errors call its elements: ``action``, ``observation``.
        checked: Whether what comes in is checked to be in the space, and is the caller's own, to be kept and written
            to: so it is for the actions that a server reads. Else it is only checked to have the form of such
            elements, and its arrays are views of the message: so it is for the observations that a client reads,
            which environments do not always keep within their space.
        base64: Whether JSON carries arrays (with a layout: the whole) as base64 instead of lists.
        graph: Makes a value of a Graph of its nodes, edges and edge links; the last two may be None.

    Returns:
        A codec that raises, for what comes in, :class:`~gymtwist.errors.InvalidAction` if it is ``checked``, else
        :class:`ValueError`; for what goes out, :class:`ValueError`. All name the path, what is there and what should
        be.

    Raises:
        ValueError: The description is beyond the limits, or of no space.
    """
    layout = layout_of(description)
    refused = InvalidAction if checked else ValueError
    binary = _Maker(Form.BINARY, checked=checked, graph=graph).node(description)
    pack, unpack = (binary.to_tree, binary.from_tree) if layout is None else _laid_out(binary, layout)
    if base64 and layout is not None:
        to_json, from_json = _in_base64(pack, unpack)
    else:
        form = Form.BASE64 if base64 else Form.LISTS
        listed = _Maker(form, checked=checked, graph=graph).node(description)
        to_json, from_json = listed.to_tree, listed.from_tree
    return Codec(
        layout,
        _telling(pack, name, ValueError),
        _telling(unpack, name, refused),
        _telling(to_json, name, ValueError),
        _telling(from_json, name, refused),
    )


def _telling(function: Callable[[Any], Any], name: str, refused: type[Exception]) -> Callable[[Any], Any]:
    """Let a function raise an error for the world, which says where in the value it found what."""

    def tell(value: Any) -> Any:
        try:
            return function(value)
        except ValueMismatch as error:
            raise refused(error.told(name)) from error.__cause__

    return tell


def _laid_out(node: Node, layout: Layout) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    size = layout.size

    def pack(value: Any) -> bytes:
        parts: list[bytes | memoryview] = []
        node.pack_into(parts, value)
        return b"".join(parts)

    def unpack(buffer: Any) -> Any:
        if type(buffer) is not bytes or len(buffer) != size:
            check_size(buffer, size)
        return node.unpack_from(buffer)

    # A single leaf is its own bytes.
    return node.packed or pack, unpack


def _in_base64(
    pack: Callable[[Any], Any], unpack: Callable[[Any], Any]
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return lambda value: base64_.b64encode(pack(value)).decode(), lambda text: unpack(from_base64(text))


class _Maker:
    """Makes the nodes of a space, one behind the other in the layout."""

    def __init__(self, form: Form, *, checked: bool, graph: Callable[[Any, Any, Any], Any]) -> None:
        self._form = form
        self._checked = checked
        self._graph = graph
        self._offset = 0

    def node(self, space: Description, *, batch: bool = False) -> Node:
        """Make the node of a space, or of any number of its elements stacked as Gymnasium stacks them."""
        if isinstance(space, descriptions.Tuple):
            return TupleNode([self.node(each, batch=batch) for each in space.spaces])
        if isinstance(space, descriptions.Dict):
            names = descriptions.names_of(space)
            return DictNode(
                [
                    (name, descriptions.key_of(key), self.node(each, batch=batch))
                    for name, (key, each) in zip(names, space.spaces, strict=True)
                ]
            )
        if isinstance(space, (descriptions.Box, descriptions.MultiBinary, descriptions.MultiDiscrete)):
            return self._array(space, batch)
        if isinstance(space, descriptions.Discrete):
            return self._array(space, batch) if batch else self._integer(space)
        # What has no fixed layout is not stacked.
        return ItemsNode(self._variable(space)) if batch else self._variable(space)

    def _array(
        self,
        space: descriptions.Box | descriptions.Discrete | descriptions.MultiBinary | descriptions.MultiDiscrete,
        batch: bool,
    ) -> Node:
        ((_, dtype, shape),) = descriptions.arrays_of(space)
        offset = self._place(dtype, shape)
        limits = bounds_of(space) if self._checked else None
        form = ArrayForm(self._form, DTYPES[dtype], shape, batch=batch)
        return ArrayNode(form, limits, (dtype, shape, offset), self._checked)

    def _integer(self, space: descriptions.Discrete) -> Node:
        limits = np.iinfo(DTYPES[space.dtype])
        first, last = range_of(space) if self._checked else (int(limits.min), int(limits.max))
        return IntegerNode(space.dtype, first, last, self._place(space.dtype, ()))

    def _place(self, dtype: str, shape: tuple[int, ...]) -> int:
        offset = self._offset
        self._offset += math.prod(shape) * DTYPES[dtype].itemsize
        return offset

    def _variable(
        self, space: descriptions.Text | descriptions.Sequence | descriptions.Graph | descriptions.OneOf
    ) -> Node:
        if isinstance(space, descriptions.Text):
            return TextNode(space, self._checked)
        if isinstance(space, descriptions.OneOf):
            return ChoiceNode([self.node(each) for each in space.spaces])
        if isinstance(space, descriptions.Sequence):
            return BatchNode(self.node(space.space, batch=True)) if space.stack else ItemsNode(self.node(space.space))
        nodes = BatchNode(self.node(space.node_space, batch=True))
        edges = None if space.edge_space is None else BatchNode(self.node(space.edge_space, batch=True))
        links = ArrayForm(self._form, np.dtype(np.int32).newbyteorder("<"), (2,), batch=True)
        return GraphNode(nodes, edges, links, self._graph, self._checked)
