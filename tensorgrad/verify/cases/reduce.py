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
case, constant = table.case, table.constant

AXES = (None, 0, -1, (0, 2), (-1, 1), ())


def flat_axes(x: Array, axis: Any, keepdims: bool, reduce_row: Callable[[Array], float]) -> Array:
    """A reduction by its definition: a Python loop over the kept positions."""
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
    for axis in axes:
        for keepdims in (False, True):
            case(
                op,
                getattr(tg, op),
                lambda x, axis, keepdims, **_: flat_axes(x, axis, keepdims, reduce_row),
                "2x3x4, 2x1x1, 2x0x3" if empty and not keepdims and axis == (-1, 1) else "2x3x4",
                domain=domain,
                axis=axis,
                keepdims=keepdims,
                **options,
            )


reduction("sum", math.fsum)
reduction("mean", lambda v: math.fsum(v) / len(v), empty=False)
reduction("var", row_var(0), axes=(None, 0, (-1, 1)), empty=False)
reduction("var", row_var(1), axes=(None, -1), empty=False, correction=1)
reduction("var", row_var(-2), axes=((0, -1),), empty=False, correction=-2)
reduction("std", lambda v: math.sqrt(row_var(0)(v)), axes=(None, (0, 2)), empty=False)
reduction("std", lambda v: math.sqrt(row_var(1.5)(v)), axes=(1,), empty=False, correction=1.5)
reduction("prod", math.prod)
reduction("max", max, domain="distinct", empty=False)
reduction("min", min, domain="distinct", empty=False)
reduction("logsumexp", lambda v: math.log(math.fsum(math.exp(e) for e in v)), empty=False)
case("prod", tg.prod, lambda x: np.array(math.prod(x)), "7, 1, 0")
case("sum", tg.sum, lambda x: x, "scalar")
for op, reduce_row in (("sum", math.fsum), ("prod", math.prod)):
    case(
        op,
        lambda x, op=op: tg.astype(getattr(tg, op)(x, axis=1, dtype="float64"), x.dtype),
        lambda x, r=reduce_row: flat_axes(x, 1, False, r),
        "2x3",
        label="dtype",
    )
for arg, pick in (("argmax", np.ndarray.argmax), ("argmin", np.ndarray.argmin)):
    for axis in (None, 0, -1):
        expected = lambda x, axis, pick=pick: np.array(pick(x, axis=axis))  # noqa: E731
        constant(arg, getattr(tg, arg), expected, "2x3", domain="distinct", axis=axis)
constant("any", lambda x: tg.any(x > 1, axis=1), lambda x: (x > 1).sum(axis=1) > 0, "3x4, 3x0")
constant("all", lambda x: tg.all(x > 0, axis=0), lambda x: (x > 0).sum(axis=0) == len(x), "3x4, 0x3")
constant(
    "count_nonzero",
    lambda x: tg.count_nonzero(x > 0, axis=1, keepdims=True),
    lambda x: np.array([[len(np.flatnonzero(row > 0))] for row in x]).reshape(-1, 1),
    "3x4, 0x3, 3x0",
)
constant("count_nonzero", tg.count_nonzero, lambda x: np.array(x.size), "2x3, scalar")


def running(x: Array, reduce_row: Callable[[Array], float], axis: int, include_initial: bool) -> Array:
    """The sum or the product of every beginning of each row along `axis`."""
    starts = range(0 if include_initial else 1, x.shape[axis] + 1)
    return np.stack([flat_axes(np.take(x, range(n), axis=axis), axis, False, reduce_row) for n in starts], axis=axis)


for op, reduce_row in (("cumulative_sum", math.fsum), ("cumulative_prod", math.prod)):
    f = getattr(tg, op)
    for axis in (0, 1, -1):
        for initial in (False, True):
            case(
                op,
                f,
                lambda x, r=reduce_row, **o: running(x, r, **o),
                "3x4, 2x5x1, 1x1, 2x0, 0x2" if initial else "3x4, 2x5x1, 1x1",
                axis=axis,
                include_initial=initial,
            )
    case(op, f, lambda x, r=reduce_row: running(x, r, 0, False), "7, 1", label="vector")
    case(op, lambda x, f=f: f(x, axis=1), lambda x: x, "3x0, 0x3", label="empty")
    case(
        op,
        lambda x, f=f: tg.astype(f(x, dtype="float64", include_initial=True), x.dtype),
        lambda x, r=reduce_row: running(x, r, 0, True),
        "3",
        label="dtype",
    )


def differences(x: Array, n: int) -> Array:
    """The n-th differences along the last axis, by binomial coefficients."""
    length = x.shape[-1] - n
    weights = [(-1) ** (n - k) * math.comb(n, k) for k in range(n + 1)]
    return sum(w * x[..., k : k + max(length, 0)] for k, w in enumerate(weights))  # type: ignore[no-any-return]


for n in (0, 1, 2, 3):
    case("diff", tg.diff, differences, "2x4, 4", n=n)
case("diff", lambda x: tg.diff(x, axis=0), lambda x: x[1:] - x[:-1], "3x2, 1x2, 0x2", label="rows")
case(
    "diff",
    lambda x, y: tg.diff(x, prepend=y, append=x),
    lambda x, y: differences(np.concatenate([y, x, x], axis=-1), 1),
    "2x3 2x2, 2x0 2x1",
    same="2x3",
    label="joined",
)
