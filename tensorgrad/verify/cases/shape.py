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
    ((3, 4),),
)
case("reshape", lambda x: x.reshape(0, 5), lambda x: np.zeros((0, 5)), ((3, 0),))
case("reshape", lambda x: x.reshape(()), lambda x: x[0, 0], ((1, 1),))
case(
    "broadcast_to",
    lambda x: tg.broadcast_to(x, (2, 3, 4)),
    lambda x: x + np.zeros((2, 3, 4)),
    ((3, 1),),
    ((),),
    ((2, 3, 4),),
)
case("broadcast_to", lambda x: tg.broadcast_to(x, (0, 3)), lambda x: np.zeros((0, 3)), ((1, 3),), ((0, 3),))
case(
    "permute_dims",
    lambda x: tg.permute_dims(x, (2, 0, -2)),
    lambda x: np.einsum("abc->cab", x),
    ((2, 3, 4),),
    ((0, 1, 2),),
)
case(
    "matrix_transpose", tg.matrix_transpose, lambda x: np.einsum("...ij->...ji", x), ((3, 4),), ((2, 3, 4),), ((0, 2),)
)
case("moveaxis", lambda x: tg.moveaxis(x, 0, -1), lambda x: np.einsum("abc->bca", x), ((2, 3, 4),), ((1, 0, 2),))
case(
    "moveaxis",
    lambda x: tg.moveaxis(x, (0, -1), (1, 0)),
    lambda x: np.einsum("abcd->dabc", x),
    ((2, 3, 1, 4),),
    label="tuples-",
)
case("reshape", lambda x: tg.reshape(x, (-1,), copy=True), lambda x: x.ravel(), ((3, 4),), ((),), label="copy-")
for part in (0, 1):
    case(
        "broadcast_arrays",
        lambda x, y, part=part: tg.broadcast_arrays(x, y)[part],
        lambda x, y, part=part: (x, y)[part] + 0 * (y, x)[part],
        ((3, 1), (2, 1, 4)),
        ((), (0, 2)),
        same=(3, 4),
        label=f"{part}-",
    )
case(
    "broadcast_shapes",
    lambda x, y: tg.broadcast_to(x, tg.broadcast_shapes(x.shape, y.shape)) * y,
    lambda x, y: x * y,
    ((3, 1), (2, 1, 4)),
)
case("expand_dims", lambda x: tg.expand_dims(x, axis=1), lambda x: x[:, None], ((2, 3),), ((2,),), ((0,),))
case("expand_dims", lambda x: tg.expand_dims(x, axis=-1), lambda x: x[..., None], ((2, 3),), ((),), label="last-")
case("squeeze", lambda x: tg.squeeze(x, axis=(0, -2)), lambda x: x[0, :, 0], ((1, 2, 1, 3),), ((1, 0, 1, 2),))
case(
    "concat",
    lambda x, y: tg.concat([x, y, x], axis=1),
    lambda x, y: np.hstack([x, y, x]),
    ((2, 3), (2, 1)),
    ((2, 0), (2, 3)),
    same=(2, 3),
)
case(
    "concat",
    lambda x, y: tg.concat((x, y)),
    lambda x, y: np.vstack([x, y]),
    ((0, 3), (2, 3)),
    ((0, 2), (0, 2)),
    label="rows-",
)
case(
    "concat",
    lambda x, y: tg.concat([x, y], axis=None),
    lambda x, y: np.append(x, y),
    ((2, 3), (4,)),
    ((), (0, 2)),
    same=(2, 3),
    label="flat-",
)
case(
    "stack",
    lambda x, y: tg.stack([x, y], axis=-1),
    lambda x, y: np.dstack([x, y]),
    ((2, 3), (2, 3)),
    ((0, 1), (0, 1)),
    same=(2, 3),
)
case("stack", lambda x: tg.stack([x]), lambda x: x[None], ((),), ((2,),))


def weighted(parts: Any) -> Any:
    """Each part times its own number, one after the other: so that no two parts could be confused."""
    return tg.concat([part * (i + 1) for i, part in enumerate(parts)], axis=-1)


case("split", lambda x: weighted(tg.split(x, 2, axis=1)), lambda x: x * [1, 1, 2, 2], ((3, 4),), ((0, 4),))
case(
    "split", lambda x: weighted(tg.split(x, [1, 0, 3], axis=-1)), lambda x: x * [1, 3, 3, 3], ((3, 4),), label="sizes-"
)
case(
    "unstack",
    lambda x: weighted(tg.unstack(x)),
    lambda x: np.concatenate([x[0], 2 * x[1]], axis=-1),
    ((2, 3),),
    ((2, 1, 2),),
)
case(
    "unstack",
    lambda x: weighted(tg.unstack(x, axis=-1)),
    lambda x: np.concatenate([x[:, 0], 2 * x[:, 1]]),
    ((3, 2),),
    label="last-",
)
case("flip", tg.flip, lambda x: x[::-1, ::-1], ((3, 4),), ((0, 2),))
case("flip", lambda x: tg.flip(x, axis=-1), lambda x: x[..., ::-1], ((3, 4),), ((2,),), label="last-")
case("roll", lambda x: tg.roll(x, -5, axis=1), lambda x: x[:, (np.arange(4) + 5) % 4], ((3, 4),), ((0, 4),))
case("roll", lambda x: tg.roll(x, 5), lambda x: x, ((0, 4),), label="flat-")
for shift in (2, -3, 12):
    case(
        "roll",
        lambda x, s=shift: tg.roll(x, s),
        lambda x, s=shift: x.ravel()[(np.arange(x.size) - s) % x.size].reshape(x.shape),
        ((3, 4),),
        ((),),
        label=f"flat-{shift}-",
    )
case(
    "roll",
    lambda x: tg.roll(x, (1, -2), axis=(1, 0)),
    lambda x: np.array([[x[(i + 2) % x.shape[0], j - 1] for j in range(x.shape[1])] for i in range(x.shape[0])]),
    ((3, 4),),
    label="tuples-",
)
case(
    "roll",
    lambda x: tg.roll(x, 1, axis=(0, -1)),
    lambda x: np.array([[x[i - 1, j - 1] for j in range(x.shape[1])] for i in range(x.shape[0])]),
    ((3, 4),),
    label="both-",
)
for k in (0, 1, -2):
    lower = lambda x, k=k: x * (np.arange(x.shape[-1]) <= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("tril", lambda x, k=k: tg.tril(x, k=k), lower, ((3, 4),), ((2, 3, 3),), ((0, 2),), label=f"{k}-")
    upper = lambda x, k=k: x * (np.arange(x.shape[-1]) >= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("triu", lambda x, k=k: tg.triu(x, k=k), upper, ((3, 4),), ((2, 3, 3),), ((1, 0),), label=f"{k}-")


# --- repetition --------------------------------------------------------------------------------


def looked_up(x: Array, places: Any, axis: int) -> Array:
    """The elements of x at `places` along `axis`, through a one-hot product."""
    return np.moveaxis(np.tensordot(np.eye(x.shape[axis])[np.asarray(places, int)], x, (1, axis)), 0, axis)


for counts in ((2, 3), (1, 1), (2, 1, 3), (2,), (0, 2), ()):
    case(
        "tile",
        lambda x, c=counts: tg.tile(x, c),
        lambda x, c=counts: np.kron(np.ones((*(1,) * (x.ndim - len(c)), *c)), x),
        ((2, 3),),
        ((),),
        ((4,),),
        label=f"{counts}-",
    )
case("tile", lambda x: tg.tile(x, (2, 3)), lambda x: np.zeros((0, 6)), ((0, 2),))
for axis in (0, -1):
    case(
        "repeat",
        lambda x, a=axis: tg.repeat(x, 3, axis=a),
        lambda x, a=axis: looked_up(x, [i // 3 for i in range(3 * x.shape[a])], a),
        ((2, 3),),
        ((3,),),
        ((0, 2),),
        label=f"{axis}-",
    )
    for times in ([2, 0, 3], np.array([0, 0, 1])):
        case(
            "repeat",
            lambda x, a=axis, t=times: tg.repeat(x, t if type(t) is list else beside(x, t), axis=a),
            lambda x, a=axis, t=times: looked_up(x, [i for i, n in enumerate(t) for _ in range(n)], a),
            ((3, 3),),
            ((3,),),
            label=f"{axis}-{times}-",
        )
case("repeat", lambda x: tg.repeat(x, 2), lambda x: np.array([v for v in x.flat for _ in range(2)]), ((2, 3),), ((),))
case("repeat", lambda x: tg.repeat(x, tg.tensor([2])), lambda x: np.kron(x, [1.0, 1.0]), ((3,),), label="one-")
case("repeat", lambda x: tg.repeat(x, 0, axis=1), lambda x: np.zeros((2, 0)), ((2, 3),), label="none-")
for indexing in ("xy", "ij"):
    grid = lambda x, y, i=indexing: tg.meshgrid(x, y, indexing=i)  # noqa: E731
    case(
        "meshgrid",
        lambda x, y, f=grid: tg.concat([f(x, y)[0], 2 * f(x, y)[1]]),
        lambda x, y, i=indexing: np.concatenate(
            [np.outer(np.ones(len(y)), x), 2 * np.outer(y, np.ones(len(x)))]
            if i == "xy"
            else [np.outer(x, np.ones(len(y))), 2 * np.outer(np.ones(len(x)), y)]
        ),
        ((2,), (3,)),
        ((2,), (0,)),
        same=(3,),
        label=f"{indexing}-",
    )
case("meshgrid", lambda x: tg.meshgrid(x)[0], lambda x: x, ((3,),), label="one-")
case(
    "meshgrid",
    lambda x, y, z: tg.stack(tg.meshgrid(x, y, z)),
    lambda x, y, z: np.stack(
        [
            np.einsum("a,b,c->bac", *(v if i == j else np.ones(len(v)) for j, v in enumerate((x, y, z))))
            for i in range(3)
        ]
    ),
    ((2,), (3,), (1,)),
    label="three-",
)
for widths in (((1, 2), (0, 3)), (2, 1), 1, ((0, 0), (0, 0))):
    pairs = (
        ((widths, widths),) * 2
        if isinstance(widths, int)
        else widths
        if isinstance(widths[0], tuple)
        else (widths,) * 2
    )
    case(
        "pad",
        lambda x, w=widths: tg.pad(x, w, value=0.7),
        lambda x, w=pairs: np.array(
            [
                [
                    x[i, j] if 0 <= i < x.shape[0] and 0 <= j < x.shape[1] else 0.7
                    for j in range(-w[1][0], x.shape[1] + w[1][1])
                ]
                for i in range(-w[0][0], x.shape[0] + w[0][1])
            ]
        ),
        ((2, 3),),
        label=f"{widths}-",
    )
case("pad", lambda x: tg.pad(x, 0), lambda x: x, ((),), ((0, 2),))
PLACES = {"replicate": [0, 0, 0, 1, 2, 2, 2], "reflect": [2, 1, 0, 1, 2, 1, 0], "circular": [1, 2, 0, 1, 2, 0, 1]}
for mode, places in PLACES.items():
    case(
        "pad",
        lambda x, m=mode: tg.pad(x, ((2, 2), (0, 1)), mode=m),
        lambda x, p=places, m=mode: looked_up(
            looked_up(x, p, 0), [0, 1, {"replicate": 1, "reflect": 0, "circular": 0}[m]], 1
        ),
        ((3, 2),),
        label=f"{mode}-",
    )
    case("pad", lambda x, m=mode: tg.pad(x, 0, mode=m), lambda x: x, ((2, 3),), ((),), label=f"none-{mode}-")
