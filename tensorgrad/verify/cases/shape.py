"""Ops that rearrange elements."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.verify.case import Table

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
for k in (0, 1, -2):
    lower = lambda x, k=k: x * (np.arange(x.shape[-1]) <= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("tril", lambda x, k=k: tg.tril(x, k=k), lower, ((3, 4),), ((2, 3, 3),), ((0, 2),), label=f"{k}-")
    upper = lambda x, k=k: x * (np.arange(x.shape[-1]) >= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("triu", lambda x, k=k: tg.triu(x, k=k), upper, ((3, 4),), ((2, 3, 3),), ((1, 0),), label=f"{k}-")
