"""Linear algebra: products, diagonals, norms, and what LAPACK decomposes and solves."""

from tensorgrad.ops.linalg.diagonal import diagonal, trace
from tensorgrad.ops.linalg.einsum import einsum
from tensorgrad.ops.linalg.product import cross, kron, linear, matmul, outer, tensordot, vecdot

__all__ = [
    "cross",
    "diagonal",
    "einsum",
    "kron",
    "linear",
    "matmul",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
]
