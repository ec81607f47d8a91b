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
    "3x4 4x2, 4 4, 3x4 4, 4 4x2, 2x3x4 4x2, 2x3x4 2x4x2, 3x4 2x4x2, 2x1x3x4 5x4x1, 2x3x4 4, "
    "2x0 0x3, 2x3x0 0x4, 0x4 4x2, 1x1 1x1",
    same="3x3",
)
LINEAR = "3x4 2x4, 4 2x4, 2x3x4 5x4, 2x0 3x0, 2x3 0x3, 0x3 2x3, 1x1 1x1"
WITH_BIAS = "3x4 2x4 2, 4 2x4 2, 2x3x4 5x4 5, 2x0 3x0 3, 2x3 0x3 0, 0x3 2x3 2, 1x1 1x1 1"
case("linear", tg.linear, lambda x, w: product(x, np.einsum("ij->ji", w)), LINEAR, same="3x3")
case("linear", tg.linear, lambda x, w, b: product(x, np.einsum("ij->ji", w)) + b, WITH_BIAS, label="bias")
AXES: dict[Any, str] = {
    2: "2x3x4 3x4x2, 0x3 0x3, 2x3 2x3",
    1: "2x3 3x4, 3 3, 2x0 0x3",
    0: "2x3 2, scalar scalar",
    ((0, -1), (2, 1)): "2x3x4 5x4x2, 1x2x2 2x2x1",
    ((), ()): "2 3",
}
for axes, shapes in AXES.items():
    same = "3x3" if isinstance(axes, int) else None
    case("tensordot", tg.tensordot, np.tensordot, shapes, same=same, axes=axes)
case("tensordot", tg.tensordot, np.tensordot, "2x3x4 3x2", axes=([1], [0]))
VECDOT = "3x4 3x4, 4 4, 2x1x4 3x4, 4 2x4, 2x0 2x0, 0x3 0x3"
case("vecdot", tg.vecdot, lambda x, y: (x * y).sum(axis=-1), VECDOT, same="3x4")
case(
    "vecdot",
    lambda x, y: tg.vecdot(x, y, axis=-2),
    lambda x, y: (x * y).sum(axis=-2),
    "3x4 3x4, 2x3x1 3x4",
    label="axis",
)
case("vecdot", lambda x, y: tg.vecdot(x, y, axis=0), lambda x, y: (x * y).sum(axis=0), "3x4 3x4", label="first")
case("outer", tg.outer, lambda x, y: x[:, None] * y, "3 4, 0 2, 1 1", same="3")


def crossed(x: Array, y: Array) -> Any:
    """The cross product by the Levi-Civita symbol."""
    signs = np.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        signs[i, j, k], signs[i, k, j] = 1, -1
    return np.einsum("ijk,...j,...k->...i", signs, x, y)


case("cross", tg.cross, crossed, "3 3, 2x3 2x3, 2x1x3 4x3, 0x3 3")
case(
    "cross",
    lambda x, y: tg.cross(x, y, axis=-2),
    lambda x, y: crossed(x.swapaxes(-1, -2), y.swapaxes(-1, -2)).swapaxes(-1, -2),
    "2x3x2 2x3x2, 2x3x1 3x4",
    label="axis",
)
case(
    "kron", tg.kron, lambda x, y: np.block([[v * y for v in row] for row in x]), "2x3 3x2, 1x1 2x2, 2x2 1x1", same="2x3"
)
case("kron", tg.kron, np.kron, "2x2 3, 3 2x1x2, scalar 2, 0x2 2x2", label="ranks")
for subscripts, shapes in (
    ("ij,jk->ik", "2x3 3x4"),
    ("ij,jk", "2x3 3x4"),
    ("bthd,bshd->bhts", "2x3x2x2 2x4x2x2"),
    ("ij->ji", "2x3"),
    ("ij->", "2x3"),
    ("ij->j", "0x3"),
    ("ii->i", "3x3"),
    ("ii", "3x3"),
    ("iij,j->i", "3x3x2 2"),
    ("iji->ij", "2x3x2"),
    ("...i,...i->...", "2x3x4 4"),
    ("...ij,...jk", "2x1x2x3 3x3x1"),
    ("i,j,k->kji", "2 3 2"),
    ("ij,ij->", "2x3 1x3"),
    ("ij,jk->ik", "2x1 3x2"),
    ("i,i,i->", "3 3 3"),
    (",i->i", "scalar 3"),
    ("ij,k->ik", "2x3 2"),
    ("ij,jk->ik", "2x0 0x3"),
    (" i j , j k -> k i ", "2x3 3x4"),
    ("Ab,bA->A", "2x3 3x2"),
    ("i...j,...j->i...", "2x3x4 3x1"),
    ("...ii->...i", "2x3x3"),
    ("iii->i", "2x2x2"),
    ("ijij->ij", "2x3x2x3"),
    ("ij,jk,kl,lm->im", "2x3 3x2 2x4 4x2"),
    ("ij,jk,ki->", "2x3 3x4 4x2"),
    ("abc,bd,ce->ade", "2x3x2 3x2 2x3"),
    ("bi,bj,bij->b", "2x3 2x2 1x3x2"),
    ("i,ij,j", "2 2x3 3"),
    ("->", "scalar"),
    ("...,...", "2x3 3"),
    ("ii,jj->ij", "2x2 3x3"),
    ("ij,ik->jk", "1x3 4x2"),
):
    case(
        "einsum",
        lambda *xs, s=subscripts: tg.einsum(s, *xs),
        lambda *xs, s=subscripts: np.einsum(s, *xs, optimize=False),
        shapes,
        label=subscripts,
        same="3" if shapes == "3 3 3" else None,
    )
case("einsum", lambda x, y: tg.einsum("ij,ij->i", x, y), lambda x, y: (x * y).sum(axis=1), "2x3 2x3", same="2x3")
for offset in (0, 1, -1, 2, 7):
    case(
        "diagonal",
        tg.diagonal,
        lambda x, offset: np.stack(
            [x[..., i, i + offset] for i in range(x.shape[-2]) if 0 <= i + offset < x.shape[-1]] or [x[..., 0, 0]],
            axis=-1,
        )[..., : 0 if offset > 4 else None],
        "3x3, 2x3x4, 4x3",
        offset=offset,
    )
    case(
        "trace",
        tg.trace,
        lambda x, offset: (x * np.eye(x.shape[-2], x.shape[-1], k=offset)).sum(axis=(-1, -2)),
        "3x3, 2x3x4, 4x3, 0x3, 1x1",
        offset=offset,
    )
case("diagonal", tg.diagonal, lambda x: x[..., 0], "1x1, 2x0x3, 2x1x4", label="thin")
case("trace", lambda x: tg.trace(x, dtype=x.dtype), lambda x: np.einsum("ii", x), "3x3", label="dtype")
