"""Matrix products: the one place that they all go through, and who computes them.

`cpu`: oneDNN, or the BLAS that NumPy comes with. `cuda`: cublasLt, or what there is in its place.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, ForeignArray
from tensorgrad.kernels.gemm import cpu, onednn
from tensorgrad.kernels.gemm.cpu import matmul_bfloat16, to_bfloat16

__all__ = [
    "add_matmul",
    "bfloat16_problem",
    "cpu_provider",
    "from_bfloat16",
    "has_fast_bfloat16",
    "matmul",
    "matmul_bfloat16",
    "to_bfloat16",
]


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, leading axes broadcast; ValueError if the shapes do not fit."""
    if isinstance(a, np.ndarray):
        return cpu.matmul(a, b)
    if isinstance(a, ForeignArray):
        return a.module.matmul(a, b)
    from tensorgrad.kernels.gemm import cuda  # not where there is no device

    return cuda.matmul(a, b)


def cpu_provider() -> str:
    """Who computes products on the CPU: oneDNN and its version, or why NumPy's BLAS does."""
    problem = onednn.problem()
    return f"NumPy (oneDNN: {problem})" if problem else f"oneDNN {onednn.version()}"


def add_matmul(a: Array, b: Array, out: Array) -> None:
    """out += a b, for matrices of one dtype; on the CPU also of bfloat16 operands and a float32 `out`."""
    if isinstance(out, np.ndarray):
        cpu.add_matmul(a, b, out)
    else:
        out += matmul(a, b)


def bfloat16_problem() -> str:
    """Why the CPU has no products of bfloat16 operands, from `to_bfloat16`; "" if it has."""
    return onednn.problem()


def has_fast_bfloat16() -> bool:
    """Whether they are faster than those of float32."""
    return onednn.has_fast_bfloat16()


def from_bfloat16(a: Array) -> Array:
    """The float32 numbers whose bits `to_bfloat16` gave."""
    return (a.astype(np.uint32) << np.uint32(16)).view(np.float32)
