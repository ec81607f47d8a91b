"""Norms, systems, determinants and decompositions, by what does not depend on LAPACK's choice of signs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.inputs import FINITE, KINDS, axes, choices, is_tiny
from tests.tensorgrad.oracle.table import Table

table = Table()


def near(x: Any) -> Any:
    """2, 4, 6 ... in the diagonal plus a little of x: invertible, no two of its values meet, whatever x is."""
    fixed = np.eye(*x.shape[-2:]) * (2 + 2 * np.arange(x.shape[-1]))
    return x * 0.1 + (torch if isinstance(x, torch.Tensor) else tg).asarray(fixed, dtype=x.dtype)


def symmetric(x: Any) -> Any:
    return (near(x) + near(x).mT) * 0.5


def pair(op: str, theirs: Any, *shapes: Any, on: Any = near, **options: Any) -> None:
    """The function `on` matrices made of the first input, by both libraries' functions of it and keyword arguments."""
    ours = options.pop("ours", getattr(tg, op))
    table.pair(
        op,
        lambda x, *xs, **kw: theirs(on(x), *xs, **kw),
        *shapes,
        ours=lambda x, *xs, **kw: ours(on(x), *xs, **kw),
        kinds=(),
        **options,
    )


# --- norms -----------------------------------------------------------------------------------------

ORDERS = (2, 1, 3, 0.5, 1.5, -1, -2, math.inf, -math.inf)
table.pair(
    "vector_norm",
    lambda x, ord, axis, keepdims: torch.linalg.vector_norm(x, ord, dim=axis, keepdim=keepdims),
    ((2, 3, 4),),
    arguments=choices(ord=ORDERS, axis=(None, 0, -1, (0, 2), (1, 2, 0)), keepdims=(False, True)),
    kinds=("ties", "equal", "large"),
)
table.pair(
    "vector_norm",
    lambda x, ord: torch.linalg.vector_norm(x, ord, dim=1),
    ((3, 4, 2),),
    ours=lambda x, ord: tg.vector_norm(x, ord=ord, axis=1),
    arguments=choices(ord=[n for n in ORDERS if n > 0 or math.isinf(n)]),  # else PyTorch's gradient is nan
    kinds=("zeros",),
)
table.pair(
    "vector_norm",
    lambda x, axis: torch.linalg.vector_norm(x, dim=axis),
    ((2, 3, 4),),
    ((0, 3),),
    arguments=lambda ndim: choices(axis=tuple(axes(ndim))),
    kinds=KINDS,
)
table.pair(
    "vector_norm",
    torch.linalg.vector_norm,
    *(((),), ((1,),), ((0,),)),
    kinds=KINDS,
    avoid=is_tiny,  # PyTorch takes |x| of one element, and loses such squares of several, as ours of any
)
table.pair(
    "vector_norm",
    lambda x: torch.linalg.vector_norm(x.detach(), 0),
    ((3, 4),),
    ours=lambda x: tg.vector_norm(x.detach(), ord=0),  # PyTorch's has no gradient; ours is 0
    kinds=FINITE,
)
MATRIX_ORDERS = ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf)
pair(
    "matrix_norm",
    lambda x, ord, keepdims: torch.linalg.matrix_norm(x, ord, keepdim=keepdims),
    *(((3, 3),), ((2, 2, 4),), ((4, 2),), ((0, 2, 2),)),
    arguments=choices(ord=MATRIX_ORDERS, keepdims=(False, True)),
)
pair(
    "norm",
    lambda x, ord, axis, keepdims: torch.linalg.norm(x, ord, dim=axis, keepdim=keepdims),
    ((2, 3, 4),),
    ((2, 3, 3),),
    arguments=choices(ord=MATRIX_ORDERS, axis=((-2, -1), (2, 1)), keepdims=(False, True)),
)
pair("norm", lambda x, ord: torch.linalg.norm(x, ord), ((3, 2),), arguments=choices(ord=(None, *MATRIX_ORDERS)))
table.pair(
    "norm",
    lambda x, axis, keepdims: torch.linalg.norm(x, dim=axis, keepdim=keepdims),
    ((2, 3, 4),),
    arguments=choices(axis=(None, 1, -1, (0, 2)), keepdims=(False, True)),
)
table.pair("norm", lambda x, ord: torch.linalg.norm(x, ord), ((4,),), arguments=choices(ord=ORDERS), kinds=())

# --- systems and determinants ----------------------------------------------------------------------

SQUARE = (((3, 3),), ((2, 2, 2),), ((1, 1),), ((0, 0),), ((0, 2, 2),))
pair(
    "solve",
    torch.linalg.solve,
    *(((3, 3), (3, 2)), ((3, 3), (3,)), ((2, 2, 2), (2, 2, 3)), ((2, 1, 2, 2), (3, 2, 1)), ((2, 2), (3, 2, 2))),
    *(((0, 0), (0, 2)), ((2, 2), (2, 0))),
)
pair("inv", torch.linalg.inv, *SQUARE)
pair("det", torch.linalg.det, *SQUARE, ((6, 6),))
table.pair("det", torch.linalg.det, ((2, 4, 4),), domain="matrix", kinds=())
pair("slogdet", torch.linalg.slogdet, *SQUARE)
pair("matrix_power", torch.linalg.matrix_power, *SQUARE, arguments=choices(n=(0, 1, 2, 3, 7, -1, -3)))
pair(
    "pinv",
    lambda x, rtol: torch.linalg.pinv(x, rtol=rtol),
    *(((4, 2),), ((2, 4),), ((2, 3, 3),)),
    arguments=choices(rtol=(None, 0.6)),
)
pair("pinv", torch.linalg.pinv, ((4, 2),), ((2, 2, 3),), on=lambda x: x[..., :1] * (x[..., :1, :] + 4.0))  # of rank 1
pair("matrix_rank", torch.linalg.matrix_rank, *SQUARE[:3], ((2, 4),))
pair("matrix_rank", torch.linalg.matrix_rank, ((3, 3),), ((2, 2, 4),), on=lambda x: x[..., :1] * x[..., :1, :])

# --- decompositions --------------------------------------------------------------------------------

pair("cholesky", torch.linalg.cholesky, *SQUARE, on=symmetric, arguments=choices(upper=(False, True)))
pair("eigvalsh", torch.linalg.eigvalsh, *SQUARE, on=symmetric)
# As given: which triangle is read, and how the gradient is spread over both.
pair("cholesky", torch.linalg.cholesky, *SQUARE, arguments=choices(upper=(False, True)))
pair("eigvalsh", torch.linalg.eigvalsh, *SQUARE)


def of_eigh(eigh: Any) -> Any:
    """The eigenvalues, the eigenvectors but for their signs, and a function of both."""

    def parts(x: Any) -> Any:
        w, v = eigh(x)
        return w, v * v, v * (w * w)[..., None, :] @ v.mT

    return parts


def of_svd(svd: Any) -> Any:
    """The values, the squares of both vectors, and a function of all: of the first vectors, which have gradients."""

    def parts(x: Any, **options: Any) -> Any:
        u, s, vh = svd(x, **options)
        k = s.shape[-1]
        u, vh = u[..., :k], vh[..., :k, :]
        return s, u * u, vh * vh, u * (s * s)[..., None, :] @ vh

    return parts


def of_qr(qr: Any) -> Any:
    def parts(x: Any, mode: str) -> Any:
        q, r = qr(x, mode=mode)
        return q * q, r * r, q @ (r * r * r)

    return parts


RECTANGLES = (((3, 3),), ((4, 2),), ((2, 3),), ((2, 3, 2),), ((1, 1),), ((0, 2, 3),), ((2, 0),))
pair("eigh", of_eigh(torch.linalg.eigh), *SQUARE, on=symmetric, ours=of_eigh(tg.eigh))
pair("eigh", of_eigh(torch.linalg.eigh), *SQUARE, ours=of_eigh(tg.eigh))
pair("svdvals", torch.linalg.svdvals, *RECTANGLES)
pair("svd", of_svd(torch.linalg.svd), *RECTANGLES, ours=of_svd(tg.svd), arguments=choices(full_matrices=(False, True)))
pair("qr", of_qr(torch.linalg.qr), *RECTANGLES, ours=of_qr(tg.qr), arguments=choices(mode=("reduced",)))
# PyTorch refuses it for more rows than columns.
WIDE = (((3, 3),), ((2, 3),), ((2, 2, 4),), ((0, 2, 3),))
pair("qr", of_qr(torch.linalg.qr), *WIDE, ours=of_qr(tg.qr), arguments=choices(mode=("complete",)))
pair("matrix_rank", torch.linalg.matrix_rank, ((4, 3),), arguments=choices(rtol=(0.6, 0.9)))
