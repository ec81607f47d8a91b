"""Linear algebra: products, diagonals, norms, and what LAPACK solves and decomposes."""

from tensorgrad.ops.linalg.decomposition import cholesky, eigh, eigvalsh, qr, svd, svdvals
from tensorgrad.ops.linalg.determinant import det, slogdet
from tensorgrad.ops.linalg.diagonal import diagonal, trace
from tensorgrad.ops.linalg.einsum import einsum
from tensorgrad.ops.linalg.linear import linear
from tensorgrad.ops.linalg.norm import matrix_norm, norm, vector_norm
from tensorgrad.ops.linalg.product import cross, kron, matmul, outer, tensordot, vecdot
from tensorgrad.ops.linalg.solve import inv, matrix_power, matrix_rank, pinv, solve

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "einsum",
    "inv",
    "kron",
    "linear",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
