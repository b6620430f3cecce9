"""Nodes for the spaces that fix no layout: Text, Sequence, Graph and OneOf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gymtwist.spaces import descriptions
from gymtwist.spaces.arrays import ArrayForm, shown
from gymtwist.spaces.layout import ValueMismatch, cast
from gymtwist.spaces.space_codecs import Node, inner, is_listed


class GraphValue(NamedTuple):
    """An element of a Graph, where Gymnasium's own class is not at hand."""

    nodes: Any
    edges: Any
    edge_links: Any


class TextNode(Node):
    """A string."""

    def __init__(self, description: descriptions.Text, checked: bool) -> None:
        self._description = description
        self._characters = frozenset(description.characters)
        self._checked = checked

    def to_tree(self, value: Any) -> str:
        """Turn a value into a tree."""
        if not isinstance(value, str):
            raise ValueMismatch(f"is {shown(value)} where its space has text")
        try:
            # Whatever subclass it is of; and without what UTF-8 does not have.
            return str.encode(value).decode()
        except UnicodeEncodeError as error:
            raise ValueMismatch(f"is {shown(value)}, which UTF-8 cannot carry") from error

    def from_tree(self, tree: Any) -> str:
        """Turn a tree into a value."""
        least, most = self._description.min_length, self._description.max_length
        if not isinstance(tree, str):
            raise ValueMismatch(f"is {shown(tree)}: send a string")
        if self._checked and not least <= len(tree) <= most:
            raise ValueMismatch(f"is {shown(tree)}, {len(tree)} characters long: send from {least} to {most}")
        if self._checked and not self._characters.issuperset(tree):
            raise ValueMismatch(f"is {shown(tree)}: send characters of {shown(self._description.characters)}")
        return tree


class ItemsNode(Node):
    """Any number of elements, in a tuple."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def to_tree(self, value: Any) -> list[Any]:
        """Turn a value into a tree."""
        if not is_listed(value):
            raise ValueMismatch(f"is a {type(value).__name__}: its space is of tuples of any length")
        return [inner(index, self._node.to_tree, part) for index, part in enumerate(value)]

    def from_tree(self, tree: Any) -> tuple[Any, ...]:
        """Turn a tree into a value."""
        if not isinstance(tree, (list, tuple)):
            raise ValueMismatch(f"is {shown(tree)}: send a list")
        return tuple(inner(index, self._node.from_tree, part) for index, part in enumerate(tree))


class BatchNode(Node):
    """Any number of elements, stacked: arrays have one more dimension, all of the same size."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def to_tree(self, value: Any) -> Any:
        """Turn a value into a tree."""
        return self._node.to_tree(value)

    def from_tree(self, tree: Any) -> Any:
        """Turn a tree into a value."""
        value = self._node.from_tree(tree)
        lengths = sorted(set(self._node.lengths(value)))
        if len(lengths) > 1:
            raise ValueMismatch(f"is {shown(tree)}, with parts of {lengths} elements: send equally many of each")
        return value

    def lengths(self, value: Any) -> Iterator[int]:
        """Go through the lengths of the parts of a batch."""
        return self._node.lengths(value)


class GraphNode(Node):
    """Nodes and edges, each a batch, and the two nodes that each edge is between."""

    def __init__(
        self, nodes: Node, edges: Node | None, links: ArrayForm, make: Callable[[Any, Any, Any], Any], checked: bool
    ) -> None:
        self._nodes = nodes
        self._edges = edges
        self._links = links
        self._make = make
        self._checked = checked

    def to_tree(self, value: Any) -> dict[str, Any]:
        """Turn a value into a tree."""
        try:
            nodes, edges, links = value
        except (TypeError, ValueError) as error:
            raise ValueMismatch(f"is {shown(value)}: its space is of graphs (nodes, edges, edge_links)") from error
        tree: dict[str, Any] = {"nodes": inner("nodes", self._nodes.to_tree, nodes), "edges": None, "edge_links": None}
        if edges is not None and links is not None:
            if self._edges is None:
                raise ValueMismatch("has edges: its space has none")
            tree["edges"] = inner("edges", self._edges.to_tree, edges)
            tree["edge_links"] = inner("edge_links", self._write_links, links)
        return tree

    def _write_links(self, links: Any) -> Any:
        array = cast(links, self._links.dtype, None)
        if not self._links.fits(array.shape):
            raise ValueMismatch(f"is an array of shape {array.shape}: edge links have {self._links.wanted}")
        return self._links.write(array)

    def from_tree(self, tree: Any) -> Any:
        """Turn a tree into a value."""
        if not isinstance(tree, dict) or "nodes" not in tree or not tree.keys() <= {"nodes", "edges", "edge_links"}:
            raise ValueMismatch(f'is {shown(tree)}: send an object with "nodes", and perhaps "edges" and "edge_links"')
        nodes = inner("nodes", self._nodes.from_tree, tree["nodes"])
        edges, links = tree.get("edges"), tree.get("edge_links")
        if edges is None and links is None:
            return self._make(nodes, None, None)
        if edges is None or links is None:
            raise ValueMismatch(f'is {shown(tree)}: send both "edges" and "edge_links", or neither')
        if self._edges is None:
            raise ValueMismatch("has edges: its space has none, send nodes only")
        edges = inner("edges", self._edges.from_tree, edges)
        links = inner("edge_links", self._links.read, links)
        if self._checked:
            links = links.copy()  # a view of the message otherwise
            self._check_links(links, set(self._nodes.lengths(nodes)), set(self._edges.lengths(edges)))
        return self._make(nodes, edges, links)

    def _check_links(self, links: Any, nodes: set[int], edges: set[int]) -> None:
        if edges - {len(links)}:
            raise ValueMismatch(f"has {len(links)} edge links and {max(edges)} edges: send equally many")
        last = max(nodes, default=0) - 1
        if links.size and (links.min() < 0 or links.max() > last):
            index = [int(each) for each in np.argwhere((links < 0) | (links > last))[0]]
            raise ValueMismatch(
                f"is {links[tuple(index)]}: send the index of a node, from 0 to {last}", ("edge_links", *index)
            )


class ChoiceNode(Node):
    """One of several spaces, by its index, and an element of it."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes

    def to_tree(self, value: Any) -> list[Any]:
        """Turn a value into a tree."""
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueMismatch(f"is {shown(value)}: its space is of pairs of an index and a value")
        index = int(cast(value[0], np.dtype(np.int64), ()))
        if not 0 <= index < len(self._nodes):
            raise ValueMismatch(f"is {index}: its space has choices from 0 to {len(self._nodes) - 1}", (0,))
        return [index, inner(1, self._nodes[index].to_tree, value[1])]

    def from_tree(self, tree: Any) -> tuple[Any, Any]:
        """Turn a tree into a value."""
        if not isinstance(tree, (list, tuple)) or len(tree) != 2:
            raise ValueMismatch(f"is {shown(tree)}: send a list of a choice and its value")
        index = tree[0]
        if type(index) is not int or not 0 <= index < len(self._nodes):
            raise ValueMismatch(f"is {shown(index)}: send an integer from 0 to {len(self._nodes) - 1}", (0,))
        return np.int64(index), inner(1, self._nodes[index].from_tree, tree[1])
