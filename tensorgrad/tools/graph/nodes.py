"""The graph recorded below some tensors: each node's op, its value, and the bytes kept for its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorgrad.errors import GraphError, shown
from tensorgrad.residuals import owners, residuals
from tensorgrad.tape import Node
from tensorgrad.tensor import Tensor
from tensorgrad.tools.graph.draw import dot, svg
from tensorgrad.tools.text import bytes_text, table
from tensorgrad.tools.watch import site_of

__all__ = ["Graph", "GraphNode", "graph"]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One recorded value."""

    op: str  # the function that recorded it; "leaf" where it begins; "freed" after a backward
    inside: str  # the op that the program called, if `op` is a part of it; else ""
    shape: tuple[int, ...]
    dtype: str
    value_bytes: int  # of the value, which may be gone already
    kept_bytes: int  # of the arrays that its vjps capture, without memory that an earlier node keeps too
    parents: tuple[int, ...]  # positions in `Graph.nodes`
    source: str  # "file:line" of the program, if the op was watched; else ""

    @property
    def title(self) -> str:
        return f"{self.inside}: {self.op}" if self.inside else self.op


@dataclass(frozen=True)
class Graph:
    """The nodes below some tensors, in the order in which they were recorded: parents come first."""

    nodes: tuple[GraphNode, ...]

    @property
    def kept_bytes(self) -> int:
        """The bytes that all nodes together keep for backward: the memory of activations, at its peak."""
        return sum(node.kept_bytes for node in self.nodes)

    def by_op(self) -> dict[str, tuple[int, int]]:
        """For each op (the one that the program called, if known), the number of nodes recorded and the bytes kept."""
        totals: dict[str, tuple[int, int]] = {}
        for node in self.nodes:
            name = node.inside or node.op
            count, kept = totals.get(name, (0, 0))
            totals[name] = count + 1, kept + node.kept_bytes
        return dict(sorted(totals.items(), key=lambda item: -item[1][1]))

    def __str__(self) -> str:
        """A line per node: position, op, value, parents, source, bytes kept; then a line per op, most bytes first."""
        rows = []
        for i, node in enumerate(self.nodes):
            parents, keeps = " ".join(map(str, node.parents)), bytes_text(node.kept_bytes) if node.kept_bytes else ""
            rows.append((str(i), node.title, f"{node.dtype} {node.shape}", parents, node.source, keeps))
        totals = [(name, str(count), bytes_text(kept)) for name, (count, kept) in self.by_op().items()]
        totals.append(("all", str(len(self.nodes)), bytes_text(self.kept_bytes)))
        return (
            table(("", "op", "value", "from", "source", "keeps"), rows, left=5)
            + "\n\n"
            + table(("op", "nodes", "keeps"), totals)
        )

    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        return dot(self._boxes(), self._edges())

    def svg(self) -> str:
        """A drawing, from the leaves at the top to the results; darker where more is kept."""
        most = max((node.kept_bytes for node in self.nodes), default=0)
        shades = [math.sqrt(node.kept_bytes / most) if most else 0.0 for node in self.nodes]
        return svg(self._boxes(), self._edges(), shades)

    def _boxes(self) -> list[list[str]]:
        """The lines in each node's box."""
        boxes = []
        for node in self.nodes:
            keeps = [f"keeps {bytes_text(node.kept_bytes)}"] if node.kept_bytes else []
            source = [node.source] if node.source else []
            boxes.append([node.title, f"{node.dtype} {node.shape}", *keeps, *source])
        return boxes

    def _edges(self) -> list[tuple[int, int]]:
        return [(parent, child) for child, node in enumerate(self.nodes) for parent in node.parents]


def graph(x: Tensor | Sequence[Tensor]) -> Graph:
    """The graph recorded below `x`, as text (`str`), `.dot()` or `.svg()`.

    Shows each op with shape, dtype and the bytes that it keeps for backward, which are found in the
    closures of its vjps. Source lines are known for nodes recorded under `find_non_finite` or `profile`.
    Raises GraphError if nothing was recorded.
    """
    xs = x if isinstance(x, (list, tuple)) else [x]
    roots = [x.node for x in xs if isinstance(x, Tensor) and x.node is not None]
    if not roots or len(roots) != len(xs):
        raise GraphError(
            f"graph: expected tensors that need a gradient, got {shown(x)}: make them with requires_grad=True"
        )
    nodes = _below(roots)
    position = {node: i for i, node in enumerate(nodes)}
    counted: dict[int, None] = {}
    entries = []
    for node in nodes:
        fresh = [a for a in owners(residuals(node)) if id(a) not in counted]
        counted.update((id(a), None) for a in fresh)
        site = site_of(node)
        entries.append(
            GraphNode(
                op=node.op,
                inside=site.op if site is not None and site.op != node.op else "",
                shape=node.shape,
                dtype=str(node.dtype),
                value_bytes=math.prod(node.shape) * node.dtype.itemsize,
                kept_bytes=sum(a.nbytes for a in fresh),
                parents=tuple(position[parent] for parent in node.parents),
                source=f"{_short(site.file)}:{site.line}" if site is not None else "",
            )
        )
    return Graph(tuple(entries))


def _below(roots: list[Node]) -> list[Node]:
    """The roots and all nodes that they were computed from, oldest first."""
    found = dict.fromkeys(roots)
    stack = list(found)
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found[parent] = None
                stack.append(parent)
    return sorted(found, key=lambda node: node.serial)


def _short(file: str) -> str:
    """The path relative to the working directory, if the file is inside it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
