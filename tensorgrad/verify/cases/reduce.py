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
reduction("var", row_var(-2), axes=((0, -1),), empty=False, correction=-2)
reduction("std", lambda v: math.sqrt(row_var(0)(v)), axes=(None, (0, 2)), empty=False)
reduction("std", lambda v: math.sqrt(row_var(1.5)(v)), axes=(0, 1)[1:], empty=False, correction=1.5)
reduction("prod", math.prod)
reduction("max", max, domain="distinct", empty=False)
reduction("min", min, domain="distinct", empty=False)
reduction("logsumexp", lambda v: math.log(math.fsum(math.exp(e) for e in v)), empty=False)
case("prod", tg.prod, lambda x: np.array(math.prod(x)), ((7,),), ((1,),), ((0,),))
case("sum", tg.sum, lambda x: x, ((),))
for op, reduce_row in (("sum", math.fsum), ("prod", math.prod)):
    case(
        op,
        lambda x, op=op: tg.astype(getattr(tg, op)(x, axis=1, dtype="float64"), x.dtype),
        lambda x, r=reduce_row: flat_axes(x, 1, False, r),
        ((2, 3),),
        label="dtype-",
    )
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
case(
    "count_nonzero",
    lambda x: tg.count_nonzero(x > 0, axis=1, keepdims=True),
    lambda x: np.array([[len(np.flatnonzero(row > 0))] for row in x]).reshape(-1, 1),
    ((3, 4),),
    ((0, 3),),
    ((3, 0),),
    is_differentiable=False,
)
case("count_nonzero", tg.count_nonzero, lambda x: np.array(x.size), ((2, 3),), ((),), is_differentiable=False)


def running(x: Array, axis: int, reduce_row: Callable[[Array], float], initial: bool) -> Array:
    """Of every beginning of each row along `axis`, the sum or the product."""
    starts = range(0 if initial else 1, x.shape[axis] + 1)
    return np.stack([flat_axes(np.take(x, range(n), axis=axis), axis, False, reduce_row) for n in starts], axis=axis)


for op, reduce_row in (("cumulative_sum", math.fsum), ("cumulative_prod", math.prod)):
    f = getattr(tg, op)
    for axis in (0, 1, -1):
        for initial in (False, True):
            case(
                op,
                lambda x, f=f, a=axis, i=initial: f(x, axis=a, include_initial=i),
                lambda x, a=axis, r=reduce_row, i=initial: running(x, a, r, i),
                ((3, 4),),
                ((2, 5, 1),),
                ((1, 1),),
                *((((2, 0),), ((0, 2),)) if initial else ()),
                label=f"{axis}-{initial}-",
            )
    case(op, f, lambda x, r=reduce_row: running(x, 0, r, False), ((7,),), ((1,),), label="vector-")
    case(op, lambda x, f=f: f(x, axis=1), lambda x: x, ((3, 0),), ((0, 3),), label="empty-")
    case(
        op,
        lambda x, f=f: tg.astype(f(x, dtype="float64", include_initial=True), x.dtype),
        lambda x, r=reduce_row: running(x, 0, r, True),
        ((3,),),
        label="dtype-",
    )


def differences(x: Array, n: int) -> Array:
    """Along the last axis, by binomial coefficients."""
    length = x.shape[-1] - n
    weights = [(-1) ** (n - k) * math.comb(n, k) for k in range(n + 1)]
    return sum(w * x[..., k : k + max(length, 0)] for k, w in enumerate(weights))  # type: ignore[no-any-return]


for n in (0, 1, 2, 3):
    case("diff", lambda x, n=n: tg.diff(x, n=n), lambda x, n=n: differences(x, n), ((2, 4),), ((4,),), label=f"{n}-")
case("diff", lambda x: tg.diff(x, axis=0), lambda x: x[1:] - x[:-1], ((3, 2),), ((1, 2),), ((0, 2),), label="rows-")
case(
    "diff",
    lambda x, y: tg.diff(x, prepend=y, append=x),
    lambda x, y: differences(np.concatenate([y, x, x], axis=-1), 1),
    ((2, 3), (2, 2)),
    ((2, 0), (2, 1)),
    same=(2, 3),
    label="joined-",
)
