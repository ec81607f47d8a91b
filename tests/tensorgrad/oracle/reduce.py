"""Reductions, running sums, positions of the largest and the smallest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.inputs import FINITE, axes, choices, is_tiny
from tests.tensorgrad.oracle.table import Table

table = Table()

SHAPES = (((3, 4, 2),), ((),), ((5,),), ((2, 1),))
WITH_EMPTY = (*SHAPES, ((0,),), ((2, 0, 3),))
INTEGERS = ("int64", "int32", "uint8", "bool")


def reductions(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=tuple(axes(ndim)), keepdims=(False, True))


def along_one(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=(None, *range(-ndim, ndim)), keepdims=(False, True))


def every_axis(x: Any, axis: Any) -> tuple[int, ...]:
    """PyTorch's tuple for an axis argument."""
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def over_axes(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, keepdims, **rest: f(x, every_axis(x, axis), keepdim=keepdims, **rest)


def step_by_step(f: Callable[..., Any]) -> Callable[..., Any]:
    """For what PyTorch reduces along one axis at a time only."""

    def theirs(x: Any, axis: Any, keepdims: bool) -> Any:
        if not x.ndim:
            return f(x)
        for i in sorted((i % x.ndim for i in every_axis(x, axis)), reverse=True):
            x = f(x, i, keepdim=keepdims)
        return x

    return theirs


def extremum(at_once: Callable[..., Any], along: Callable[..., Any]) -> Callable[..., Any]:
    """amax shares a tie evenly, max along an axis gives it to the index: ours does both."""

    def theirs(x: Any, axis: Any, keepdims: bool) -> Any:
        if isinstance(axis, int):
            return along(x, axis, keepdim=keepdims).values
        return at_once(x, every_axis(x, axis), keepdim=keepdims)

    return theirs


def position(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, keepdims: f(x, axis, keepdim=keepdims)


def spread(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, correction, keepdims: f(x, every_axis(x, axis), correction=correction, keepdim=keepdims)


table.pair("sum", over_axes(torch.sum), *WITH_EMPTY, arguments=reductions, dtypes=("int64", "int32", "bool"))
table.pair("mean", over_axes(torch.mean), *WITH_EMPTY, arguments=reductions)
# PyTorch divides the product by the element: by inf, nan and subnormals in vain.
table.pair(
    "prod",
    step_by_step(torch.prod),
    *WITH_EMPTY,
    arguments=reductions,
    kinds=FINITE,
    avoid=is_tiny,
    dtypes=("int64", "int32", "bool"),
)
# Where every element is -inf PyTorch's gradient is nan.
table.pair("logsumexp", over_axes(torch.logsumexp), *SHAPES, arguments=reductions, avoid=np.isneginf)
table.pair("logsumexp", over_axes(torch.logsumexp), ((2, 0, 3),), ((0,),), arguments=reductions, kinds=())
for op in ("max", "min"):
    # amax gives every element a gradient of nan where there is a nan: see conventions.py.
    theirs = extremum(getattr(torch, "a" + op), getattr(torch, op))
    table.pair(
        op, theirs, *SHAPES, arguments=reductions, kinds=(*FINITE, "infinite"), dtypes=("int64", "int32", "uint8")
    )
    table.pair(op, lambda x, f=getattr(torch, op): f(x), *SHAPES[:1], kinds=("nan", "infinite", "ties"))
    table.pair(
        op,
        lambda x, axis, f=getattr(torch, op): f(x, axis).values,
        *SHAPES[:1],
        arguments=choices(axis=(0, 1, -1)),
        kinds=("nan",),
    )
for op in ("var", "std"):
    table.pair(
        op,
        spread(getattr(torch, op)),
        *SHAPES,
        arguments=lambda ndim: [
            *choices(axis=tuple(axes(ndim)), correction=(0, 1), keepdims=(False,)),
            *choices(axis=(None, -1) if ndim else (None,), correction=(0, 0.5), keepdims=(True,)),
        ],
    )
for op in ("any", "all"):
    table.pair(op, over_axes(getattr(torch, op)), *WITH_EMPTY, arguments=reductions, dtypes=("int64", "int32", "bool"))
for op in ("argmax", "argmin"):
    table.pair(op, position(getattr(torch, op)), *SHAPES, arguments=along_one, dtypes=("int64", "uint8"))
table.pair(
    "count_nonzero",
    lambda x, axis: torch.count_nonzero(x, every_axis(x, axis) or None),
    *WITH_EMPTY,
    arguments=lambda ndim: choices(axis=tuple(axes(ndim))),
    dtypes=INTEGERS,
)


def running(at_once: Callable[..., Any], initial: float) -> Callable[..., Any]:
    """With the sum or the product of nothing before the others, which PyTorch leaves out."""

    def theirs(x: Any, axis: int, include_initial: bool) -> Any:
        out = at_once(x, axis)
        return torch.cat([torch.full_like(out.narrow(axis, 0, 1), initial), out], axis) if include_initial else out

    return theirs


for op, peer, initial in (("cumulative_sum", torch.cumsum, 0), ("cumulative_prod", torch.cumprod, 1)):
    table.pair(
        op,
        running(peer, initial),
        *(((3, 4, 2),), ((5,),)),
        arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), include_initial=(False, True)),
        kinds=(*FINITE, "infinite", "nan") if op == "cumulative_sum" else FINITE,  # PyTorch divides by the element
        avoid=None if op == "cumulative_sum" else is_tiny,
        dtypes=("int64", "int32", "bool"),
    )
    table.pair(op, lambda x, axis, f=peer: f(x, axis), ((0, 3),), ((2, 0),), arguments=choices(axis=(0, 1, -1)))
table.pair(
    "diff",
    lambda x, axis, n: torch.diff(x, n=n, dim=axis),
    *(((3, 4, 2),), ((5,),), ((0, 3),)),
    arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), n=(0, 1, 2, 3)),
    dtypes=("int64", "uint8"),
)
table.pair(
    "diff",
    lambda x, first, last: torch.diff(x, prepend=first, append=last),
    ((2, 3), (2, 1), (2, 2)),
    ours=lambda x, first, last: tg.diff(x, prepend=first, append=last),
)

# --- with another dtype ------------------------------------------------------------------------

for op, peer in (
    ("sum", torch.sum),
    ("prod", torch.prod),
    ("cumulative_sum", torch.cumsum),
    ("cumulative_prod", torch.cumprod),
):
    for dtype, floats in (("float64", ("float64", "float32")), ("float32", ("float32",))):
        table.pair(
            op,
            lambda x, axis, dtype, f=peer: f(x, axis, dtype=getattr(torch, dtype)),
            ((3, 4),),
            arguments=choices(axis=(0, -1), dtype=(dtype,)),
            kinds=("ties",),
            floats=floats,
            dtypes=("int32",),
        )
table.pair(
    "count_nonzero",
    lambda x, axis, keepdims: (x != 0).sum(every_axis(x, axis), keepdim=keepdims),
    ((3, 4, 2),),
    arguments=choices(axis=(None, 1, (0, -1)), keepdims=(False, True)),
    kinds=("zeros", "ties"),
)
