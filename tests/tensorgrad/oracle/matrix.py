"""Norms, systems, determinants and decompositions, by results that do not depend on LAPACK's choice of signs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.inputs import FINITE, KINDS, axes, choices, is_tiny
from tests.tensorgrad.oracle.peers import COMPARED
from tests.tensorgrad.oracle.table import Table

table = Table()


def near(x: Any) -> Any:
    """2, 4, 6 ... on the diagonal plus a tenth of x: invertible, with distinct singular values for every x."""
    fixed = np.eye(*x.shape[-2:]) * (2 + 2 * np.arange(x.shape[-1]))
    return x * 0.1 + (torch if isinstance(x, torch.Tensor) else tg).asarray(fixed, dtype=x.dtype)


def symmetric(x: Any) -> Any:
    return (near(x) + near(x).mT) * 0.5


def pair(op: str, *shapes: Any, on: Any = near, **options: Any) -> None:
    """Compare the function `on` matrices made from the first input, by results that do not depend on signs."""
    compared = COMPARED.get(op, lambda result: result)
    table.pair(op, *shapes, of=lambda f: lambda x, *xs, **named: compared(f(on(x), *xs, **named)), kinds=(), **options)


# --- norms -----------------------------------------------------------------------------------------

ORDERS = (2, 1, 3, 0.5, 1.5, -1, -2, math.inf, -math.inf)
table.pair(
    "vector_norm",
    ((2, 3, 4),),
    arguments=choices(ord=ORDERS, axis=(None, 0, -1, (0, 2), (1, 2, 0)), keepdims=(False, True)),
    kinds=("ties", "equal", "large"),
)
table.pair(
    "vector_norm",
    ((3, 4, 2),),
    arguments=choices(axis=(1,), ord=[n for n in ORDERS if n > 0 or math.isinf(n)]),  # else PyTorch's gradient is nan
    kinds=("zeros",),
)
table.pair(
    "vector_norm",
    ((2, 3, 4),),
    ((0, 3),),
    arguments=lambda ndim: choices(axis=tuple(axes(ndim))),
    kinds=KINDS,
)
table.pair(
    "vector_norm",
    *(((),), ((1,),), ((0,),)),
    kinds=KINDS,
    avoid=is_tiny,  # PyTorch takes |x| of a single element; the squares of tiny ones vanish in both
)
table.pair("vector_norm", ((3, 4),), of=lambda f: lambda x: f(x.detach(), ord=0), kinds=FINITE)
MATRIX_ORDERS = ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf)
pair(
    "matrix_norm",
    *(((3, 3),), ((2, 2, 4),), ((4, 2),), ((0, 2, 2),)),
    arguments=choices(ord=MATRIX_ORDERS, keepdims=(False, True)),
)
pair(
    "norm",
    ((2, 3, 4),),
    ((2, 3, 3),),
    arguments=choices(ord=MATRIX_ORDERS, axis=((-2, -1), (2, 1)), keepdims=(False, True)),
)
pair("norm", ((3, 2),), arguments=choices(ord=(None, *MATRIX_ORDERS)))
table.pair(
    "norm",
    ((2, 3, 4),),
    arguments=choices(axis=(None, 1, -1, (0, 2)), keepdims=(False, True)),
)
table.pair("norm", ((4,),), arguments=choices(ord=ORDERS), kinds=())

# --- systems and determinants ----------------------------------------------------------------------

SQUARE = (((3, 3),), ((2, 2, 2),), ((1, 1),), ((0, 0),), ((0, 2, 2),))
pair(
    "solve",
    *(((3, 3), (3, 2)), ((3, 3), (3,)), ((2, 2, 2), (2, 2, 3)), ((2, 1, 2, 2), (3, 2, 1)), ((2, 2), (3, 2, 2))),
    *(((0, 0), (0, 2)), ((2, 2), (2, 0))),
)
pair("inv", *SQUARE)
pair("det", *SQUARE, ((6, 6),))
table.pair("det", ((2, 4, 4),), domain="matrix", kinds=())
pair("slogdet", *SQUARE)
pair("matrix_power", *SQUARE, arguments=choices(n=(0, 1, 2, 3, 7, -1, -3)))
pair(
    "pinv",
    *(((4, 2),), ((2, 4),), ((2, 3, 3),)),
    arguments=choices(rtol=(None, 0.6)),
)
pair("pinv", ((4, 2),), ((2, 2, 3),), on=lambda x: x[..., :1] * (x[..., :1, :] + 4.0))  # of rank 1
pair("matrix_rank", *SQUARE[:3], ((2, 4),))
pair("matrix_rank", ((3, 3),), ((2, 2, 4),), on=lambda x: x[..., :1] * x[..., :1, :])

# --- decompositions --------------------------------------------------------------------------------

pair("cholesky", *SQUARE, on=symmetric, arguments=choices(upper=(False, True)))
pair("eigvalsh", *SQUARE, on=symmetric)
# As given: which triangle is read, and how the gradient is spread over both.
pair("cholesky", *SQUARE, arguments=choices(upper=(False, True)))
pair("eigvalsh", *SQUARE)

RECTANGLES = (((3, 3),), ((4, 2),), ((2, 3),), ((2, 3, 2),), ((1, 1),), ((0, 2, 3),), ((2, 0),))
pair("eigh", *SQUARE, on=symmetric)
pair("eigh", *SQUARE)
pair("svdvals", *RECTANGLES)
pair("svd", *RECTANGLES, arguments=choices(full_matrices=(False, True)))
pair("qr", *RECTANGLES, arguments=choices(mode=("reduced",)))
# PyTorch refuses it for more rows than columns.
WIDE = (((3, 3),), ((2, 3),), ((2, 2, 4),), ((0, 2, 3),))
pair("qr", *WIDE, arguments=choices(mode=("complete",)))
pair("matrix_rank", ((4, 3),), arguments=choices(rtol=(0.6, 0.9)))
