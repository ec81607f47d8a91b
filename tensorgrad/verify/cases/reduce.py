"""Ops that combine elements along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case

AXES = (None, 0, -1, (0, 2), (-1, 1), ())


def flat_axes(x: Array, axis: Any, keepdims: bool, reduce_row: Callable[[Array], float]) -> Array:
    """A reduction by its meaning: a Python loop over the kept positions."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in axes]
    out = np.empty([x.shape[a] for a in kept])
    for position in np.ndindex(*out.shape):
        index: list[Any] = [slice(None)] * x.ndim
        for a, i in zip(kept, position, strict=True):
            index[a] = i
        out[position] = reduce_row(x[tuple(index)].ravel())
    return out.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else out


def row_var(correction: float) -> Callable[[Array], float]:
    return lambda v: math.fsum((e - math.fsum(v) / len(v)) ** 2 for e in v) / (len(v) - correction)


def reduction(
    op: str,
    reduce_row: Callable[[Any], float],
    *,
    axes: tuple[Any, ...] = AXES,
    domain: str = "any",
    empty: bool = True,
    **options: Any,
) -> None:
    f = getattr(tg, op)
    for axis in axes:
        for keepdims in (False, True):
            case(
                op,
                lambda x, a=axis, k=keepdims: f(x, axis=a, keepdims=k, **options),
                lambda x, a=axis, k=keepdims: flat_axes(x, a, k, reduce_row),
                ((2, 3, 4),),
                *([((2, 1, 1),), ((2, 0, 3),)] if empty and not keepdims and axis == (-1, 1) else ()),
                domain=domain,
                label=f"{axis}-{keepdims}-{options or ''}",
            )


reduction("sum", math.fsum)
reduction("mean", lambda v: math.fsum(v) / len(v), empty=False)
reduction("var", row_var(0), axes=(None, 0, (-1, 1)), empty=False)
reduction("var", row_var(1), axes=(None, -1), empty=False, correction=1)
reduction("std", lambda v: math.sqrt(row_var(0)(v)), axes=(None, (0, 2)), empty=False)
reduction("std", lambda v: math.sqrt(row_var(1.5)(v)), axes=(0, 1)[1:], empty=False, correction=1.5)
reduction("prod", math.prod)
reduction("max", max, domain="distinct", empty=False)
reduction("min", min, domain="distinct", empty=False)
reduction("logsumexp", lambda v: math.log(math.fsum(math.exp(e) for e in v)), empty=False)
case("prod", tg.prod, lambda x: np.array(math.prod(x)), ((7,),), ((1,),), ((0,),))
case("sum", tg.sum, lambda x: x, ((),))
for arg, pick in (("argmax", np.ndarray.argmax), ("argmin", np.ndarray.argmin)):
    f = getattr(tg, arg)
    for axis in (None, 0, -1):
        case(
            arg,
            lambda x, f=f, a=axis: f(x, axis=a),
            lambda x, p=pick, a=axis: np.array(p(x, axis=a)),
            ((2, 3),),
            is_differentiable=False,
            domain="distinct",
            label=f"{axis}-",
        )
case(
    "any",
    lambda x: tg.any(x > 1, axis=1),
    lambda x: (x > 1).sum(axis=1) > 0,
    ((3, 4),),
    ((3, 0),),
    is_differentiable=False,
)
case(
    "all",
    lambda x: tg.all(x > 0, axis=0),
    lambda x: (x > 0).sum(axis=0) == len(x),
    ((3, 4),),
    ((0, 3),),
    is_differentiable=False,
)
for axis in (0, -1):
    case(
        "cumulative_sum",
        lambda x, a=axis: tg.cumulative_sum(x, axis=a),
        lambda x, a=axis: np.stack([np.take(x, range(i + 1), axis=a).sum(axis=a) for i in range(x.shape[a])], axis=a),
        ((3, 4),),
        ((1, 1),),
        label=f"{axis}-",
    )
case("cumulative_sum", lambda x: tg.cumulative_sum(x, axis=0), lambda x: x, ((0, 3),))
