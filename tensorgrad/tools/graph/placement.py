"""Placing the nodes of a graph without cycles in layers, so that edges lead down and seldom cross.

Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", 1981:
each node gets a layer; an edge gets an invisible node in each layer that it passes; each layer is
ordered by the mean place of the nodes' neighbours, which also gives the coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["place"]

Point = tuple[float, float]

_SWEEPS = 8


def place(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], *, gap_x: float, gap_y: float
) -> tuple[list[Point], list[list[Point]]]:
    """The centre of each box, and for each edge the points that it passes.

    Args: edges: (from, to), positions in `sizes`; from < to.
    """
    layer = _layers(len(sizes), edges)
    widths = [width for width, _ in sizes]
    chains = []  # for each edge the nodes it passes, ends included
    for a, b in edges:
        passed = list(range(len(widths), len(widths) + layer[b] - layer[a] - 1))
        widths += [0.0] * len(passed)
        layer += range(layer[a] + 1, layer[b])
        chains.append([a, *passed, b])
    above: list[list[int]] = [[] for _ in widths]
    below: list[list[int]] = [[] for _ in widths]
    for chain in chains:
        for a, b in pairwise(chain):
            above[b].append(a)
            below[a].append(b)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for node, depth in enumerate(layer):
        rows[depth].append(node)
    x = _ordered_and_spread(rows, above, below, widths, gap_x)
    y, top = [], 0.0
    for row in rows:
        height = max((sizes[node][1] for node in row if node < len(sizes)), default=0.0)
        y.append(top + height / 2)
        top += height + gap_y
    left = min((x[node] - widths[node] / 2 for node in range(len(widths))), default=0.0) - gap_x / 2
    centres = [(x[node] - left, y[layer[node]] + gap_y / 4) for node in range(len(widths))]
    paths = [
        [
            (centres[chain[0]][0], centres[chain[0]][1] + sizes[chain[0]][1] / 2),
            *(centres[node] for node in chain[1:-1]),
            (centres[chain[-1]][0], centres[chain[-1]][1] - sizes[chain[-1]][1] / 2),
        ]
        for chain in chains
    ]
    return centres[: len(sizes)], paths


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Each node's layer: one below its lowest parent; without parents, just above its highest child."""
    parents: list[list[int]] = [[] for _ in range(count)]
    children: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        parents[b].append(a)
        children[a].append(b)
    layer = [0] * count
    for node in range(count):
        layer[node] = max((layer[parent] + 1 for parent in parents[node]), default=0)
    for node in range(count):
        if not parents[node] and children[node]:
            layer[node] = min(layer[child] for child in children[node]) - 1
    return layer


def _ordered_and_spread(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]], widths: list[float], gap: float
) -> list[float]:
    """Order the nodes of each row in place, and give each an x, so that neighbours are near each other."""
    x = [0.0] * len(widths)
    # Nodes without parents, such as a model's weights, give way, so that long paths become straight.
    weights = [1.0 if parents else 0.1 for parents in above]
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wishes = {}
            for node in row:
                total = sum(weights[other] for other in near[node])
                mean = sum(weights[other] * x[other] for other in near[node]) / total if total else x[node]
                wishes[node] = mean
            row.sort(key=wishes.__getitem__)
            _spread(row, wishes, widths, weights, gap, x)
    return x


def _spread(
    row: list[int], wishes: dict[int, float], widths: list[float], weights: list[float], gap: float, x: list[float]
) -> None:
    """Set x for a row in its order: as near to the wishes, in weighted squares, as the boxes' widths allow.

    Measured from the room that the boxes to its left need, each position must not decrease along the row. So
    this is isotonic regression: neighbours out of order are pooled at their mean.
    """
    offsets, left = {}, 0.0
    pools: list[tuple[float, float, list[int]]] = []  # position, weight, nodes
    for node in row:
        offsets[node] = left + (widths[node] + gap) / 2
        left += widths[node] + gap
        position, weight, nodes = wishes[node] - offsets[node], weights[node], [node]
        while pools and pools[-1][0] > position:
            before, its_weight, others = pools.pop()
            position = (before * its_weight + position * weight) / (its_weight + weight)
            weight, nodes = weight + its_weight, others + nodes
        pools.append((position, weight, nodes))
    for position, _, nodes in pools:
        for node in nodes:
            x[node] = position + offsets[node]
