"""Ops that select elements by position."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, beside

__all__ = ["table"]

table = Table()
case, constant = table.case, table.constant

ROWS = np.array([[0, 2, 0], [1, -1, 2]])
MASK = np.array([True, False, True])


def looked_up(x: Array, rows: Any = ROWS) -> Array:
    """x[rows] through a one-hot product."""
    return np.tensordot(np.eye(len(x))[np.asarray(rows) % len(x)], x, 1)


case("getitem", lambda x: x[beside(x, ROWS)], looked_up, "3x4, 3, 3x0", label="array")
case("getitem", lambda x: x[::-2, None, 1:], lambda x: x[[2, 0]][:, 1:].reshape(2, 1, -1), "3x4", label="slices")
case("getitem", lambda x: x[..., -1], lambda x: np.take(x, x.shape[-1] - 1, axis=-1), "3x4, 2", label="last")
case("getitem", lambda x: x[beside(x, MASK)], lambda x: np.compress(MASK, x, axis=0), "3x4, 3", label="mask")
case("getitem", lambda x: x[x.data > 0], lambda x: x.ravel()[np.flatnonzero(x > 0)], "3x4, 0x2", label="where")
case(
    "getitem",
    lambda x: x[[0, 0, 2], 1:, [1, 1, 0]],
    lambda x: np.stack([x[0, 1:, 1], x[0, 1:, 1], x[2, 1:, 0]]),
    "3x2x2",
    label="mixed",
)
case(
    "getitem", lambda x: x[tg.tensor([1, 1], device=x.device)], lambda x: np.stack([x[1], x[1]]), "3x2", label="tensor"
)
case("getitem", lambda x: x[((0, 0, 1),)], lambda x: np.stack([x[0], x[0], x[1]]), "3x2", label="nested")
case("getitem", lambda x: x[()], lambda x: x, "3x2, scalar", label="empty")
case("getitem", lambda x: x[True], lambda x: x[None], "3x2, scalar", label="true")
case("getitem", lambda x: x[False], lambda x: np.zeros((0, *x.shape)), "3x2, scalar", label="false")
case(
    "getitem",
    lambda x: x[:, beside(x, MASK), None],
    lambda x: x[:, [0, 2]][:, :, None],
    "2x3x2",
    label="mask-in-the-middle",
)
case(
    "getitem",
    lambda x: x[beside(x, [[True, False], [True, True]])],
    lambda x: np.stack([x[0, 0], x[1, 0], x[1, 1]]),
    "2x2x3",
    label="mask-of-two-axes",
)
case(
    "getitem",
    lambda x: x[np.int64(-1), ::-1, tg.tensor(0, device=x.device)],
    lambda x: x[2, ::-1, 0],
    "3x2x2",
    label="scalars",
)
case(
    "getitem",
    lambda x: x[[0, 2, 0], ..., [[1], [0]]],
    lambda x: np.array([[x[r, :, c] for r in (0, 2, 0)] for c in (1, 0)]),
    "3x2x2",
    label="apart",
)
case("take", lambda x: tg.take(x, [[2, 0], [2, 2]]), lambda x: looked_up(x, [[2, 0], [2, 2]]), "3", label="vector")
case("take", lambda x: tg.take(x, beside(x, ROWS), axis=0), looked_up, "3x4, 3")
case(
    "take",
    lambda x: tg.take(x, [0, 0], axis=-1),
    lambda x: np.stack([x[..., 0], x[..., 0]], axis=-1),
    "3x4",
    label="last",
)
case(
    "take_along_axis",
    lambda x: tg.take_along_axis(x, beside(x, [[1, 1], [0, 3], [-1, 2]]), axis=1),
    lambda x: np.array([[x[0, 1], x[0, 1]], [x[1, 0], x[1, 3]], [x[2, 3], x[2, 2]]]),
    "3x4",
)
case(
    "take_along_axis",
    lambda x: tg.take_along_axis(x, beside(x, [[2], [0], [1]])),
    lambda x: np.array([[x[0, 2]], [x[1, 0]], [x[2, 1]]]),
    "3x4",
    label="one-each",
)
case(
    "take_along_axis",
    lambda x: tg.take_along_axis(x, beside(x, [[1, 1]]), axis=0),
    lambda x: np.array([[x[1, 0], x[1, 1]]]),
    "3x2",
    label="first",
)
case(
    "take_along_axis",
    lambda x: tg.take_along_axis(x, beside(x, [[1], [1], [0]]), axis=1),
    lambda x: np.array([[x[0, 1]], [x[0, 1]], [x[0, 0]]]),
    "1x2",
    label="broadcast",
)
constant(
    "nonzero",
    lambda x: tg.stack(tg.nonzero(x > 0), axis=-1),
    lambda x: np.array([p for p in np.ndindex(*x.shape) if x[p] > 0], np.int64).reshape(-1, x.ndim),
    "3x4, 5, 0x2",
)
case("embedding", lambda w: tg.embedding(w, beside(w, ROWS % 3)), looked_up, "3x4, 3x1, 3x0")
case(
    "embedding",
    lambda w: tg.embedding(tg.index_update(w, 2, 0.5), beside(w, ROWS % 3), padding_idx=-1),
    lambda w: looked_up(np.concatenate([w[:2], np.full((1, w.shape[1]), 0.5)])),
    "3x4",
    label="padding",
)
case(
    "embedding",
    lambda w: tg.embedding(w, beside(w, np.zeros((2, 0), int))),
    lambda w: np.zeros((2, 0, 4)),
    "3x4",
    label="none",
)
case(
    "index_update",
    lambda x, v: tg.index_update(x, (slice(None), [2, 0]), v),
    lambda x, v: np.stack(
        [np.broadcast_to(v, (3, 2))[:, 1], x[:, 1], np.broadcast_to(v, (3, 2))[:, 0], x[:, 3]], axis=1
    ),
    "3x4 3x2, 3x4 2, 3x4 scalar",
)
case(
    "index_update",
    lambda x: tg.index_update(x, beside(x, MASK), 0.5),
    lambda x: np.where(MASK[:, None], 0.5, x),
    "3x2",
    label="number",
)
case(
    "index_add",
    lambda x, v: tg.index_add(x, beside(x, ROWS), v),
    lambda x, v: x + np.tensordot(np.eye(3)[ROWS % 3], np.broadcast_to(v, (2, 3, 4)), ((0, 1), (0, 1))),
    "3x4 2x3x4, 3x4 3x1, 3x4 scalar",
)
case(
    "index_add",
    lambda x, v: tg.index_add(x, (..., slice(1, None)), v),
    lambda x, v: x + np.pad(v, ((0, 0), (1, 0))),
    "2x3 2x2",
    label="slice",
)
