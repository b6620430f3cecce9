"""Graph: nodes, with optional edges between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import numpy as np

from gymtwist.spaces.arrays import array_codec
from gymtwist.spaces.equivalent_forms import named
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.space_kind import Describe, Inner, SpaceKind, batch_codec, foreign_codec, kind_of
from gymtwist.spaces.value_mismatch import shown


class Graph(SpaceKind, frozen=True):
    """Nodes, with optional edges between them; both are elements of a space."""

    node_space: Inner
    edge_space: Optional[Inner] = None  # noqa: UP045 - the reference is not a type that supports |

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces of nodes and edges."""
        yield "node_space", self.node_space
        if self.edge_space is not None:
            yield "edge_space", self.edge_space

    def for_json(self) -> Graph:
        """Return the description without bytes."""
        return Graph(self.node_space.for_json(), self.edge_space and self.edge_space.for_json())

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.Graph(self.node_space.build(spaces), self.edge_space and self.edge_space.build(spaces))

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Graph:
        """Describe a space."""
        nodes, edges = space.node_space, space.edge_space
        return cls(describe(nodes, ".node_space"), None if edges is None else describe(edges, ".edge_space"))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        # The classic protocol has no null for missing edges.
        if context.form is Form.CLASSIC:
            return foreign_codec(space, context)
        graphs = _GraphCodec(space, context)
        return SpaceCodec(graphs.to_tree, graphs.from_info if context.form is Form.INFO else graphs.from_tree)


class _GraphCodec:
    """How graphs travel: an object with the nodes, the edges, and the pairs of nodes that the edges connect."""

    def __init__(self, space: Any, context: CodecContext) -> None:
        self._space = space
        self._context = context
        self._make = context.spaces.GraphInstance
        self._nodes = batch_codec(space.node_space, context.within("nodes"))
        self._edges = None if space.edge_space is None else batch_codec(space.edge_space, context.within("edges"))
        self._links = array_codec(np.int32, (2,), context.within("edge_links", batch=True))

    def to_tree(self, value: Any) -> dict[str, Any]:
        """Convert a graph to a tree."""
        mismatch = self._context.mismatch
        try:
            nodes, edges, links = value
        except (TypeError, ValueError) as error:
            raise mismatch(f"is {shown(value)}: its space is of graphs (nodes, edges, edge_links)") from error
        tree: dict[str, Any] = {"nodes": self._nodes.to_tree(nodes), "edges": None, "edge_links": None}
        if edges is not None and links is not None:
            if self._edges is None:
                raise mismatch("has edges: its space has none")
            tree["edges"] = self._edges.to_tree(edges)
            tree["edge_links"] = self._links.to_tree(links)
        return tree

    def from_info(self, value: Any) -> Any:
        """Read a graph from a list of its three parts."""
        nodes, edges, links = value
        return self._make(
            self._nodes.from_tree(nodes),
            None if edges is None or self._edges is None else self._edges.from_tree(edges),
            None if links is None else self._links.from_tree(links),
        )

    def from_tree(self, tree: Any) -> Any:
        """Read a graph from a tree."""
        mismatch = self._context.mismatch
        tree = named(tree) if isinstance(tree, dict) else tree
        if not isinstance(tree, dict) or "nodes" not in tree or not tree.keys() <= {"nodes", "edges", "edge_links"}:
            raise mismatch(f'is {shown(tree)}: send an object with "nodes", and perhaps "edges" and "edge_links"')
        nodes = self._nodes.from_tree(tree["nodes"])
        edges, links = tree.get("edges"), tree.get("edge_links")
        if edges is None and links is None:
            return self._make(nodes, None, None)
        if edges is None or links is None:
            raise mismatch(f'is {shown(tree)}: send both "edges" and "edge_links", or neither')
        if self._edges is None:
            raise mismatch("has edges: its space has none, send nodes only")
        edges, links = self._edges.from_tree(edges), self._links.from_tree(links)
        if self._context.checked:
            self._check_links(links, nodes, edges)
        return self._make(nodes, edges, links)

    def _check_links(self, links: Any, nodes: Any, edges: Any) -> None:
        node_space, edge_space = self._space.node_space, self._space.edge_space
        edge_count = max(kind_of(edge_space).lengths(edge_space, edges), default=len(links))
        if edge_count != len(links):
            text = f"has {len(links)} edge links and {edge_count} edges: send equally many"
            raise self._context.mismatch(text)
        last = max(kind_of(node_space).lengths(node_space, nodes), default=0) - 1
        if links.size and (links.min() < 0 or links.max() > last):
            index = [int(each) for each in np.argwhere((links < 0) | (links > last))[0]]
            text = f"is {links[tuple(index)]}: send the index of a node, from 0 to {last}"
            raise self._context.mismatch(text, "edge_links", *index)
