"""Boxes do not overlap, edges lead down, chains are straight."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tensorgrad.tools.graph.placement import place


@given(st.integers(1, 30), st.integers(0, 2**32))
def test_boxes_and_edges(count: int, seed: int) -> None:
    rng = random.Random(seed)
    sizes = [(rng.uniform(10, 90), rng.uniform(10, 40)) for _ in range(count)]
    edges = [(rng.randrange(b), b) for b in range(1, count) for _ in range(rng.randrange(3))]
    centres, paths = place(sizes, edges, gap_x=20, gap_y=30)
    assert len(centres) == count
    assert len(paths) == len(edges)
    for i, ((x, y), (w, h)) in enumerate(zip(centres, sizes, strict=True)):
        assert x - w / 2 >= 0
        assert y - h / 2 >= 0
        for (u, v), (a, b) in zip(centres[:i], sizes[:i], strict=True):
            assert abs(x - u) >= (w + a) / 2 or abs(y - v) >= (h + b) / 2
    for (a, b), path in zip(edges, paths, strict=True):
        assert path[0] == (centres[a][0], centres[a][1] + sizes[a][1] / 2)
        assert path[-1] == (centres[b][0], centres[b][1] - sizes[b][1] / 2)
        assert all(upper[1] < lower[1] for upper, lower in pairwise(path))


def test_a_chain_is_straight_beside_its_weights() -> None:
    # 0 -> 2 -> 4 -> 6, with a leaf into each: 1 -> 2, 3 -> 4, 5 -> 6
    edges = [(0, 2), (1, 2), (2, 4), (3, 4), (4, 6), (5, 6)]
    centres, _ = place([(40, 20)] * 7, edges, gap_x=10, gap_y=20)
    xs = [centres[i][0] for i in (2, 4, 6)]
    assert max(xs) - min(xs) < 10
    assert centres[3][1] == centres[2][1]  # a leaf stands just above what it is for
