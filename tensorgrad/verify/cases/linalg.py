"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case


def product(x: Array, y: Array) -> Any:
    """The matrix product as a broadcast multiplication and a sum."""
    if x.ndim == 1 and y.ndim == 1:
        return (x * y).sum()
    if x.ndim == 1:
        return (x[:, None] * y).sum(axis=-2)
    if y.ndim == 1:
        return (x * y).sum(axis=-1)
    return (x[..., :, :, None] * y[..., None, :, :]).sum(axis=-2)


case(
    "matmul",
    tg.matmul,
    product,
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 2)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (2, 4, 2)),
    ((3, 4), (2, 4, 2)),
    ((2, 1, 3, 4), (5, 4, 1)),
    ((2, 3, 4), (4,)),
    ((2, 0), (0, 3)),
    ((2, 3, 0), (0, 4)),
    ((0, 4), (4, 2)),
    ((1, 1), (1, 1)),
    same=(3, 3),
)
LINEAR = (
    ((3, 4), (2, 4)),
    ((4,), (2, 4)),
    ((2, 3, 4), (5, 4)),
    ((2, 0), (3, 0)),
    ((2, 3), (0, 3)),
    ((0, 3), (2, 3)),
    ((1, 1), (1, 1)),
)
case("linear", tg.linear, lambda x, w: product(x, np.einsum("ij->ji", w)), *LINEAR, same=(3, 3))
case(
    "linear",
    tg.linear,
    lambda x, w, b: product(x, np.einsum("ij->ji", w)) + b,
    *(((*shapes, (shapes[1][0],))) for shapes in LINEAR),
    label="bias-",
)
for subscripts, *shapes in (
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("bthd,bshd->bhts", (2, 3, 2, 2), (2, 4, 2, 2)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (0, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij,j->i", (3, 3, 2), (2,)),
    ("iji->ij", (2, 3, 2)),
    ("...i,...i->...", (2, 3, 4), (4,)),
    ("...ij,...jk", (2, 1, 2, 3), (3, 3, 1)),
    ("i,j,k->kji", (2,), (3,), (2,)),
    ("ij,ij->", (2, 3), (1, 3)),
    ("ij,jk->ik", (2, 1), (3, 2)),
    ("i,i,i->", (3,), (3,), (3,)),
    (",i->i", (), (3,)),
    ("ij,k->ik", (2, 3), (2,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
):
    case(
        "einsum",
        lambda *xs, s=subscripts: tg.einsum(s, *xs),
        lambda *xs, s=subscripts: np.einsum(s, *xs, optimize=False),
        tuple(shapes),
        label=f"{subscripts}-",
        same=shapes[0] if len(shapes) > 1 and len({*shapes}) == 1 else None,
    )
case(
    "einsum", lambda x, y: tg.einsum("ij,ij->i", x, y), lambda x, y: (x * y).sum(axis=1), ((2, 3), (2, 3)), same=(2, 3)
)
