"""Ops that rearrange elements."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, beside

__all__ = ["table"]

table = Table()
case = table.case

case(
    "reshape",
    lambda x: tg.reshape(x, (2, -1)),
    lambda x: np.array([x.ravel()[: x.size // 2], x.ravel()[x.size // 2 :]]),
    "3x4",
)
case("reshape", lambda x: x.reshape(0, 5), lambda x: np.zeros((0, 5)), "3x0")
case("reshape", lambda x: x.reshape(()), lambda x: x[0, 0], "1x1")
case("broadcast_to", lambda x: tg.broadcast_to(x, (2, 3, 4)), lambda x: x + np.zeros((2, 3, 4)), "3x1, scalar, 2x3x4")
case("broadcast_to", lambda x: tg.broadcast_to(x, (0, 3)), lambda x: np.zeros((0, 3)), "1x3, 0x3")
case("permute_dims", lambda x: tg.permute_dims(x, (2, 0, -2)), lambda x: np.einsum("abc->cab", x), "2x3x4, 0x1x2")
case("matrix_transpose", tg.matrix_transpose, lambda x: np.einsum("...ij->...ji", x), "3x4, 2x3x4, 0x2")
case("moveaxis", lambda x: tg.moveaxis(x, 0, -1), lambda x: np.einsum("abc->bca", x), "2x3x4, 1x0x2")
case(
    "moveaxis",
    lambda x: tg.moveaxis(x, (0, -1), (1, 0)),
    lambda x: np.einsum("abcd->dabc", x),
    "2x3x1x4",
    label="tuples",
)
case("reshape", lambda x: tg.reshape(x, (-1,), copy=True), lambda x: x.ravel(), "3x4, scalar", label="copy")
for part in (0, 1):
    case(
        "broadcast_arrays",
        lambda x, y, part=part: tg.broadcast_arrays(x, y)[part],
        lambda x, y, part=part: (x, y)[part] + 0 * (y, x)[part],
        "3x1 2x1x4, scalar 0x2",
        same="3x4",
        label=part,
    )
case(
    "broadcast_shapes",
    lambda x, y: tg.broadcast_to(x, tg.broadcast_shapes(x.shape, y.shape)) * y,
    lambda x, y: x * y,
    "3x1 2x1x4",
)
case("expand_dims", lambda x: tg.expand_dims(x, axis=1), lambda x: x[:, None], "2x3, 2, 0")
case("expand_dims", lambda x: tg.expand_dims(x, axis=-1), lambda x: x[..., None], "2x3, scalar", label="last")
case("squeeze", lambda x: tg.squeeze(x, axis=(0, -2)), lambda x: x[0, :, 0], "1x2x1x3, 1x0x1x2")
case(
    "concat",
    lambda x, y: tg.concat([x, y, x], axis=1),
    lambda x, y: np.hstack([x, y, x]),
    "2x3 2x1, 2x0 2x3",
    same="2x3",
)
case("concat", lambda x, y: tg.concat((x, y)), lambda x, y: np.vstack([x, y]), "0x3 2x3, 0x2 0x2", label="rows")
case(
    "concat",
    lambda x, y: tg.concat([x, y], axis=None),
    lambda x, y: np.append(x, y),
    "2x3 4, scalar 0x2",
    same="2x3",
    label="flat",
)
case("stack", lambda x, y: tg.stack([x, y], axis=-1), lambda x, y: np.dstack([x, y]), "2x3 2x3, 0x1 0x1", same="2x3")
case("stack", lambda x: tg.stack([x]), lambda x: x[None], "scalar, 2")


def weighted(parts: Any) -> Any:
    """Each part times its number, joined: no two parts can be exchanged unnoticed."""
    return tg.concat([part * (i + 1) for i, part in enumerate(parts)], axis=-1)


case("split", lambda x: weighted(tg.split(x, 2, axis=1)), lambda x: x * [1, 1, 2, 2], "3x4, 0x4")
case("split", lambda x: weighted(tg.split(x, [1, 0, 3], axis=-1)), lambda x: x * [1, 3, 3, 3], "3x4", label="sizes")
case("unstack", lambda x: weighted(tg.unstack(x)), lambda x: np.concatenate([x[0], 2 * x[1]], axis=-1), "2x3, 2x1x2")
case(
    "unstack",
    lambda x: weighted(tg.unstack(x, axis=-1)),
    lambda x: np.concatenate([x[:, 0], 2 * x[:, 1]]),
    "3x2",
    label="last",
)
case("flip", tg.flip, lambda x: x[::-1, ::-1], "3x4, 0x2")
case("flip", lambda x: tg.flip(x, axis=-1), lambda x: x[..., ::-1], "3x4, 2", label="last")
case("roll", lambda x: tg.roll(x, -5, axis=1), lambda x: x[:, (np.arange(4) + 5) % 4], "3x4, 0x4")
case("roll", lambda x: tg.roll(x, 5), lambda x: x, "0x4", label="flat")
for shift in (2, -3, 12):
    case(
        "roll",
        lambda x, s=shift: tg.roll(x, s),
        lambda x, s=shift: x.ravel()[(np.arange(x.size) - s) % x.size].reshape(x.shape),
        "3x4, scalar",
        label=f"flat-{shift}",
    )
case(
    "roll",
    lambda x: tg.roll(x, (1, -2), axis=(1, 0)),
    lambda x: np.array([[x[(i + 2) % x.shape[0], j - 1] for j in range(x.shape[1])] for i in range(x.shape[0])]),
    "3x4",
    label="tuples",
)
case(
    "roll",
    lambda x: tg.roll(x, 1, axis=(0, -1)),
    lambda x: np.array([[x[i - 1, j - 1] for j in range(x.shape[1])] for i in range(x.shape[0])]),
    "3x4",
    label="both",
)


def below(x: Array, k: int) -> Array:
    """The column less the row, less k."""
    return np.arange(x.shape[-1]) - np.arange(x.shape[-2])[:, None] - k


for k in (0, 1, -2):
    case("tril", tg.tril, lambda x, k: x * (below(x, k) <= 0), "3x4, 2x3x3, 0x2", k=k)
    case("triu", tg.triu, lambda x, k: x * (below(x, k) >= 0), "3x4, 2x3x3, 1x0", k=k)


# --- repetition --------------------------------------------------------------------------------


def looked_up(x: Array, places: Any, axis: int) -> Array:
    """The elements of x at `places` along `axis`, through a one-hot product."""
    return np.moveaxis(np.tensordot(np.eye(x.shape[axis])[np.asarray(places, int)], x, (1, axis)), 0, axis)


def tiled(x: Array, repetitions: tuple[int, ...]) -> Any:
    return np.kron(np.ones((*(1,) * (x.ndim - len(repetitions)), *repetitions)), x)


for counts in ((2, 3), (1, 1), (2, 1, 3), (2,), (0, 2), ()):
    case("tile", tg.tile, tiled, "2x3, scalar, 4", repetitions=counts)
case("tile", lambda x: tg.tile(x, (2, 3)), lambda x: np.zeros((0, 6)), "0x2")
for axis in (0, -1):
    case(
        "repeat",
        lambda x, axis: tg.repeat(x, 3, axis=axis),
        lambda x, axis: looked_up(x, [i // 3 for i in range(3 * x.shape[axis])], axis),
        "2x3, 3, 0x2",
        axis=axis,
    )
    for times in ([2, 0, 3], np.array([0, 0, 1])):
        case(
            "repeat",
            lambda x, axis, times: tg.repeat(x, times if type(times) is list else beside(x, times), axis=axis),
            lambda x, axis, times: looked_up(x, [i for i, n in enumerate(times) for _ in range(n)], axis),
            "3x3, 3",
            axis=axis,
            times=times,
        )
case("repeat", lambda x: tg.repeat(x, 2), lambda x: np.array([v for v in x.flat for _ in range(2)]), "2x3, scalar")
case("repeat", lambda x: tg.repeat(x, tg.tensor([2])), lambda x: np.kron(x, [1.0, 1.0]), "3", label="one")
case("repeat", lambda x: tg.repeat(x, 0, axis=1), lambda x: np.zeros((2, 0)), "2x3", label="none")
for indexing in ("xy", "ij"):
    case(
        "meshgrid",
        lambda x, y, indexing: tg.concat([(i + 1) * v for i, v in enumerate(tg.meshgrid(x, y, indexing=indexing))]),
        lambda x, y, indexing: np.concatenate(
            [np.outer(np.ones(len(y)), x), 2 * np.outer(y, np.ones(len(x)))]
            if indexing == "xy"
            else [np.outer(x, np.ones(len(y))), 2 * np.outer(np.ones(len(x)), y)]
        ),
        "2 3, 2 0",
        same="3",
        indexing=indexing,
    )
case("meshgrid", lambda x: tg.meshgrid(x)[0], lambda x: x, "3", label="one")
case(
    "meshgrid",
    lambda x, y, z: tg.stack(tg.meshgrid(x, y, z)),
    lambda x, y, z: np.stack(
        [
            np.einsum("a,b,c->bac", *(v if i == j else np.ones(len(v)) for j, v in enumerate((x, y, z))))
            for i in range(3)
        ]
    ),
    "2 3 1",
    label="three",
)
WIDTHS: tuple[tuple[Any, tuple[int, int], tuple[int, int]], ...] = (
    (((1, 2), (0, 3)), (1, 2), (0, 3)),
    ((2, 1), (2, 1), (2, 1)),
    (1, (1, 1), (1, 1)),
    (((0, 0), (0, 0)), (0, 0), (0, 0)),
)
for widths, (up, down), (left, right) in WIDTHS:
    rows, columns = range(-up, 2 + down), range(-left, 3 + right)
    case(
        "pad",
        lambda x, w=widths: tg.pad(x, w, value=0.7),
        lambda x, r=rows, c=columns: np.array(
            [[x[i, j] if i in range(2) and j in range(3) else 0.7 for j in c] for i in r]
        ),
        "2x3",
        label=widths,
    )
case("pad", lambda x: tg.pad(x, 0), lambda x: x, "scalar, 0x2")
PLACES = (
    ("replicate", [0, 0, 0, 1, 2, 2, 2], [0, 1, 1]),
    ("reflect", [2, 1, 0, 1, 2, 1, 0], [0, 1, 0]),
    ("circular", [1, 2, 0, 1, 2, 0, 1], [0, 1, 0]),
)
for mode, vertical, horizontal in PLACES:
    case(
        "pad",
        lambda x, m=mode: tg.pad(x, ((2, 2), (0, 1)), mode=m),
        lambda x, r=vertical, c=horizontal: looked_up(looked_up(x, r, 0), c, 1),
        "3x2",
        label=mode,
    )
    case("pad", lambda x, m=mode: tg.pad(x, 0, mode=m), lambda x: x, "2x3, scalar", label=f"none-{mode}")
