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


for p in (1.0, 2.0, 3.0, math.inf):
    case(
        "pairwise_distance",
        lambda x, y, p=p: tg.pairwise_distance(x, y, p=p),
        lambda x, y, p=p: length(x - y + 1e-6, p),
        ((3, 4), (3, 4)),
        ((3, 4), (4,)),
        ((0, 4), (0, 4)),
        label=f"{p}-",
        domain="distinct",
    )
    case(
        "cdist",
        lambda x, y, p=p: tg.cdist(x, y, p=p),
        lambda x, y, p=p: np.stack([length(x - y[..., i : i + 1, :], p) for i in range(y.shape[-2])], axis=-1),
        ((3, 2), (4, 2)),
        ((2, 3, 2), (2, 2)),
        label=f"{p}-",
        domain="distinct",
    )
    # With p = inf the largest element becomes 1, whose derivative is 0: rounding has no scale there.
    for axis in (0, 1) if p < math.inf else ():
        case(
            "normalize",
            lambda x, p=p, a=axis: tg.normalize(x, p=p, axis=a),
            lambda x, p=p, a=axis: x / length(x, p, a, True),
            ((3, 4),),
            ((2, 3, 1),),
            label=f"{p}-{axis}-",
            domain="distinct",
        )
case("cdist", tg.cdist, lambda x, y: np.zeros((2, 0)), ((2, 3), (0, 3)))
case("cdist", lambda x, y: tg.cdist(x, y, p=math.inf), lambda x, y: np.zeros((2, 4)), ((2, 0), (4, 0)))
case(
    "pairwise_distance",
    lambda x, y: tg.pairwise_distance(x, y, eps=0.2, keepdims=True),
    lambda x, y: length(x - y + 0.2, 2.0, keepdims=True),
    ((3, 4), (3, 4)),
    label="keepdims-",
    same=(3, 4),
)
case("normalize", lambda x: tg.normalize(x, eps=9.0), lambda x: x / 9.0, ((3, 4),), label="eps-")
for axis in (0, 1, -1):
    case(
        "cosine_similarity",
        lambda x, y, a=axis: tg.cosine_similarity(x, y, axis=a),
        lambda x, y, a=axis: (x * y).sum(axis=a) / length(x, 2.0, a) / length(y, 2.0, a),
        ((3, 4), (3, 4)),
        ((2, 2, 3), (2, 2, 3)),
        label=f"{axis}-",
    )
case(
    "cosine_similarity",
    lambda x, y: tg.cosine_similarity(x, y, axis=-1, eps=9.0),
    lambda x, y: (x * y).sum(axis=-1) / 81,
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 1, 4), (3, 1)),
    label="eps-",
    same=(4,),
)
