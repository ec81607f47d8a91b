"""Reductions, running sums, positions of the largest and the smallest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.compare import Pair
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


table.pair("sum", *WITH_EMPTY, arguments=reductions, dtypes=("int64", "int32", "bool"))
table.pair("mean", *WITH_EMPTY, arguments=reductions)
# PyTorch divides the product by the element, which fails for inf, nan and subnormals.
table.pair(
    "prod",
    *WITH_EMPTY,
    arguments=reductions,
    kinds=FINITE,
    avoid=is_tiny,
    dtypes=("int64", "int32", "bool"),
)
# If every element is -inf PyTorch's gradient is nan.
table.pair("logsumexp", *SHAPES, arguments=reductions, avoid=np.isneginf)
table.pair("logsumexp", ((2, 0, 3),), ((0,),), arguments=reductions, kinds=())
for op in ("max", "min"):
    # PyTorch's amax gives every element a gradient of nan where there is a nan: see conventions.py. Its max over
    # everything does not.
    integers = ("int64", "int32", "uint8")
    table.pair(op, *SHAPES, arguments=reductions, kinds=(*FINITE, "infinite"), dtypes=integers)
    table.pair(op, *SHAPES[:1], arguments=choices(axis=(0, 1, -1)), kinds=("nan",))
    table.pairs.append(Pair(op, getattr(torch, op), SHAPES[:1], getattr(tg, op), kinds=("nan", "infinite", "ties")))
for op in ("var", "std"):
    table.pair(
        op,
        *SHAPES,
        arguments=lambda ndim: [
            *choices(axis=tuple(axes(ndim)), correction=(0, 1), keepdims=(False,)),
            *choices(axis=(None, -1) if ndim else (None,), correction=(0, 0.5), keepdims=(True,)),
        ],
    )
for op in ("any", "all"):
    table.pair(op, *WITH_EMPTY, arguments=reductions, dtypes=("int64", "int32", "bool"))
for op in ("argmax", "argmin"):
    table.pair(op, *SHAPES, arguments=along_one, dtypes=("int64", "uint8"))
table.pair(
    "count_nonzero",
    *WITH_EMPTY,
    arguments=reductions,
    dtypes=INTEGERS,
)


for op in ("cumulative_sum", "cumulative_prod"):
    table.pair(
        op,
        *(((3, 4, 2),), ((5,),)),
        arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), include_initial=(False, True)),
        kinds=(*FINITE, "infinite", "nan") if op == "cumulative_sum" else FINITE,  # PyTorch divides by the element
        avoid=None if op == "cumulative_sum" else is_tiny,
        dtypes=("int64", "int32", "bool"),
    )
    table.pair(op, ((0, 3),), ((2, 0),), arguments=choices(axis=(0, 1, -1)))
table.pair(
    "diff",
    *(((3, 4, 2),), ((5,),), ((0, 3),)),
    arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), n=(0, 1, 2, 3)),
    dtypes=("int64", "uint8"),
)
table.pair("diff", ((2, 3), (2, 1), (2, 2)), of=lambda f: lambda x, first, last: f(x, prepend=first, append=last))

# --- with another dtype ------------------------------------------------------------------------

for op in ("sum", "prod", "cumulative_sum", "cumulative_prod"):
    for dtype, floats in (("float64", ("float64", "float32")), ("float32", ("float32",))):
        table.pair(
            op,
            ((3, 4),),
            arguments=choices(axis=(0, -1), dtype=(dtype,)),
            kinds=("ties",),
            floats=floats,
            dtypes=("int32",),
        )
