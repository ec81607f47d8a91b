"""Products of matrices and vectors, einsum, diagonals."""

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
for axes, *shape_sets in (
    (2, ((2, 3, 4), (3, 4, 2)), ((0, 3), (0, 3)), ((2, 3), (2, 3))),
    (1, ((2, 3), (3, 4)), ((3,), (3,)), ((2, 0), (0, 3))),
    (0, ((2, 3), (2,)), ((), ())),
    (((0, -1), (2, 1)), ((2, 3, 4), (5, 4, 2)), ((1, 2, 2), (2, 2, 1))),
    (((), ()), ((2,), (3,))),
    (([1], [0]), ((2, 3, 4), (3, 2))),
):
    case(
        "tensordot",
        lambda x, y, n=axes: tg.tensordot(x, y, axes=n),
        lambda x, y, n=axes: np.tensordot(x, y, axes=n),
        *shape_sets,
        label=f"{axes}-",
        same=(3, 3) if axes in (0, 1, 2) else None,
    )
VECDOT = (((3, 4), (3, 4)), ((4,), (4,)), ((2, 1, 4), (3, 4)), ((4,), (2, 4)), ((2, 0), (2, 0)), ((0, 3), (0, 3)))
case("vecdot", tg.vecdot, lambda x, y: (x * y).sum(axis=-1), *VECDOT, same=(3, 4))
case(
    "vecdot",
    lambda x, y: tg.vecdot(x, y, axis=-2),
    lambda x, y: (x * y).sum(axis=-2),
    ((3, 4), (3, 4)),
    ((2, 3, 1), (3, 4)),
    label="axis-",
)
case("vecdot", lambda x, y: tg.vecdot(x, y, axis=0), lambda x, y: (x * y).sum(axis=0), ((3, 4), (3, 4)), label="first-")
case("outer", tg.outer, lambda x, y: x[:, None] * y, ((3,), (4,)), ((0,), (2,)), ((1,), (1,)), same=(3,))


def crossed(x: Array, y: Array) -> Any:
    """The cross product by the Levi-Civita symbol."""
    signs = np.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        signs[i, j, k], signs[i, k, j] = 1, -1
    return np.einsum("ijk,...j,...k->...i", signs, x, y)


case("cross", tg.cross, crossed, ((3,), (3,)), ((2, 3), (2, 3)), ((2, 1, 3), (4, 3)), ((0, 3), (3,)))
case(
    "cross",
    lambda x, y: tg.cross(x, y, axis=-2),
    lambda x, y: crossed(x.swapaxes(-1, -2), y.swapaxes(-1, -2)).swapaxes(-1, -2),
    ((2, 3, 2), (2, 3, 2)),
    ((2, 3, 1), (3, 4)),
    label="axis-",
)
case(
    "kron",
    tg.kron,
    lambda x, y: np.block([[v * y for v in row] for row in x]),
    ((2, 3), (3, 2)),
    ((1, 1), (2, 2)),
    ((2, 2), (1, 1)),
    same=(2, 3),
)
case("kron", tg.kron, np.kron, ((2, 2), (3,)), ((3,), (2, 1, 2)), ((), (2,)), ((0, 2), (2, 2)), label="ranks-")
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
    (" i j , j k -> k i ", (2, 3), (3, 4)),
    ("Ab,bA->A", (2, 3), (3, 2)),
    ("i...j,...j->i...", (2, 3, 4), (3, 1)),
    ("...ii->...i", (2, 3, 3)),
    ("iii->i", (2, 2, 2)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("ij,jk,kl,lm->im", (2, 3), (3, 2), (2, 4), (4, 2)),
    ("ij,jk,ki->", (2, 3), (3, 4), (4, 2)),
    ("abc,bd,ce->ade", (2, 3, 2), (3, 2), (2, 3)),
    ("bi,bj,bij->b", (2, 3), (2, 2), (1, 3, 2)),
    ("i,ij,j", (2,), (2, 3), (3,)),
    ("->", ()),
    ("...,...", (2, 3), (3,)),
    ("ii,jj->ij", (2, 2), (3, 3)),
    ("ij,ik->jk", (1, 3), (4, 2)),
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
for offset in (0, 1, -1, 2, 7):
    case(
        "diagonal",
        lambda x, k=offset: tg.diagonal(x, offset=k),
        lambda x, k=offset: np.stack(
            [x[..., i, i + k] for i in range(x.shape[-2]) if 0 <= i + k < x.shape[-1]] or [x[..., 0, 0]], axis=-1
        )[..., : 0 if k > 4 else None],
        ((3, 3),),
        ((2, 3, 4),),
        ((4, 3),),
        label=f"{offset}-",
    )
    case(
        "trace",
        lambda x, k=offset: tg.trace(x, offset=k),
        lambda x, k=offset: (x * np.eye(x.shape[-2], x.shape[-1], k=k)).sum(axis=(-1, -2)),
        ((3, 3),),
        ((2, 3, 4),),
        ((4, 3),),
        ((0, 3),),
        ((1, 1),),
        label=f"{offset}-",
    )
case("diagonal", tg.diagonal, lambda x: x[..., 0], ((1, 1),), ((2, 0, 3),), ((2, 1, 4),), label="thin-")
case("trace", lambda x: tg.trace(x, dtype=x.dtype), lambda x: np.einsum("ii", x), ((3, 3),), label="dtype-")
