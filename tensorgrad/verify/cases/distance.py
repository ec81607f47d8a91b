"""Distances and similarities of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case


def length(x: Array, p: float, axis: int = -1, keepdims: bool = False) -> Any:
    if p == math.inf:
        return np.abs(x).max(axis=axis, keepdims=keepdims)
    return (np.abs(x) ** p).sum(axis=axis, keepdims=keepdims) ** (1 / p)


def pairwise(x: Array, y: Array, p: float) -> Any:
    return np.stack([length(x - y[..., i : i + 1, :], p) for i in range(y.shape[-2])], axis=-1)


for p in (1.0, 2.0, 3.0, math.inf):
    expected = lambda x, y, p: length(x - y + 1e-6, p)  # noqa: E731
    case("pairwise_distance", tg.pairwise_distance, expected, "3x4 3x4, 3x4 4, 0x4 0x4", domain="distinct", p=p)
    case("cdist", tg.cdist, pairwise, "3x2 4x2, 2x3x2 2x2", domain="distinct", p=p)
    # With p = inf the largest element becomes 1, whose derivative is 0: rounding has no scale there.
    for axis in (0, 1) if p < math.inf else ():
        unit = lambda x, p, axis: x / length(x, p, axis, True)  # noqa: E731
        case("normalize", tg.normalize, unit, "3x4, 2x3x1", domain="distinct", p=p, axis=axis)
case("cdist", tg.cdist, lambda x, y: np.zeros((2, 0)), "2x3 0x3")
case("cdist", lambda x, y: tg.cdist(x, y, p=math.inf), lambda x, y: np.zeros((2, 4)), "2x0 4x0")
case(
    "pairwise_distance",
    lambda x, y: tg.pairwise_distance(x, y, eps=0.2, keepdims=True),
    lambda x, y: length(x - y + 0.2, 2.0, keepdims=True),
    "3x4 3x4",
    label="keepdims",
    same="3x4",
)
case("normalize", lambda x: tg.normalize(x, eps=9.0), lambda x: x / 9.0, "3x4", label="eps")
for axis in (0, 1, -1):
    case(
        "cosine_similarity",
        tg.cosine_similarity,
        lambda x, y, axis: (x * y).sum(axis=axis) / length(x, 2.0, axis) / length(y, 2.0, axis),
        "3x4 3x4, 2x2x3 2x2x3",
        axis=axis,
    )
case(
    "cosine_similarity",
    lambda x, y: tg.cosine_similarity(x, y, axis=-1, eps=9.0),
    lambda x, y: (x * y).sum(axis=-1) / 81,
    "3x4 4, 4 4, 2x1x4 3x1",
    label="eps",
    same="4",
)
