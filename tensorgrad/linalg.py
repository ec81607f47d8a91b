"""The array API's `linalg` names, and `norm`, in a namespace of their own; each is also in `tensorgrad` itself."""

from tensorgrad.ops.linalg import *  # noqa: F403
from tensorgrad.ops.shape import *  # noqa: F403

__all__ = [
    *("cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power"),
    *("matrix_rank", "matrix_transpose", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals"),
    *("tensordot", "trace", "vecdot", "vector_norm"),
]
