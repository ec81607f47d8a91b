"""Matrix products: the one place that they all go through, and the choice of library for them.

`cpu`: oneDNN, or the BLAS that NumPy brings. `cuda`: cublasLt, or CuPy.
Operands on the CPU may be bfloat16 (`kernels.bfloat16`), from `to_bfloat16`; their products are float32.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, ForeignArray, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.bfloat16 import is_bfloat16
from tensorgrad.kernels.gemm import cpu, onednn
from tensorgrad.kernels.gemm.cpu import to_bfloat16

__all__ = [
    "affine",
    "affine_gelu",
    "bfloat16_problem",
    "cpu_provider",
    "has_fast_bfloat16",
    "matmul",
    "matmul_gelu_gradient",
    "matmul_in",
    "matmul_into",
    "matmul_with_sums",
    "sums_beside_products",
    "to_bfloat16",
]


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, leading axes broadcast; ValueError if the shapes do not fit."""
    if isinstance(a, np.ndarray):
        return cpu.matmul(a, b)
    if not _is_on_cuda(a):
        return module_of(a).matmul(a, b)
    from tensorgrad.kernels.gemm import cuda  # not where there is no device

    return cuda.matmul(a, b)


def cpu_provider() -> str:
    """What computes products on the CPU: oneDNN and its version, or NumPy's BLAS and why not oneDNN."""
    problem = onednn.problem()
    return f"NumPy (oneDNN: {problem})" if problem else f"oneDNN {onednn.version()}"


def affine(a: Array, b: Array, bias: Array | None) -> Array:
    """a b (+ bias (N,)), for matrices of one dtype, and in it; in float32 for bfloat16 operands on the CPU.

    On CUDA devices the sum with the bias is rounded once.
    """
    if _is_on_cuda(a):
        from tensorgrad.kernels.gemm import cuda

        return cuda.matmul(a, b, bias=bias)
    if is_bfloat16(a):
        return cpu.matmul_bfloat16(a, b, bias)
    if bias is None:
        return matmul(a, b)
    return cpu.matmul(a, b, bias) if isinstance(a, np.ndarray) else matmul(a, b) + bias


def affine_gelu(a: Array, b: Array, bias: Array | None, *, keeps_input: bool) -> tuple[Array | None, Array] | None:
    """h = a b (+ bias), or None unless `keeps_input`, and gelu(h) by tanh: None where one product does not give both.

    Only products on a device can.
    """
    if not _is_on_cuda(a):
        return None
    from tensorgrad.kernels.gemm import cuda

    return cuda.matmul_gelu(a, b, bias, keeps_input=keeps_input)


def matmul_gelu_gradient(g: Array, b: Array, h: Array) -> Array | None:
    """gelu'(h) (g b), gelu by tanh: None where one product does not give it. Only products on a device can."""
    if not _is_on_cuda(g):
        return None
    from tensorgrad.kernels.gemm import cuda

    return cuda.matmul_gelu_gradient(g, b, h)


def matmul_in(a: Array, b: Array, dtype: DType) -> Array:
    """a b in `dtype`, never rounded to the operands' dtype: one that is no wider, or bfloat16 on the CPU."""
    if is_bfloat16(a):
        return cpu.matmul_bfloat16(a, b)
    if a.dtype == dtype:
        return matmul(a, b)
    if _is_on_cuda(a):
        from tensorgrad.kernels.gemm import cuda

        return cuda.matmul(a, b, out=module_of(a).empty((a.shape[0], b.shape[1]), dtype))
    return matmul(a.astype(dtype), b.astype(dtype))


def sums_beside_products(a: Array) -> bool:
    """Whether `matmul_with_sums` takes this kind of array, and reads it once for both results."""
    return _is_on_cuda(a)


def matmul_with_sums(
    a: Array, b: Array, dtype: DType, out: Array | None = None, *, accumulate: bool = False
) -> tuple[Array, Array]:
    """a b, and the sums of a's rows, both in `dtype`, of matrices on a CUDA device; in `out` (M, N), or added to it."""
    from tensorgrad.kernels.gemm import cuda

    xp = module_of(a)
    sums = xp.empty(a.shape[0], dtype)
    if out is None:
        out = xp.empty((a.shape[0], b.shape[1]), dtype)
    return cuda.matmul(a, b, out=out, row_sums=sums, accumulate=accumulate), sums


def matmul_into(a: Array, b: Array, out: Array, *, accumulate: bool) -> None:
    """out = a b (+ out), for matrices of one dtype, `out` of it or a wider one; on the CPU also of bfloat16.

    On the CPU other threads may compute it later: the result is there after `kernels.threads.finish`.
    """
    if isinstance(out, np.ndarray):
        wide = a.dtype if is_bfloat16(a) else out.dtype
        cpu.matmul_into(a.astype(wide, copy=False), b.astype(wide, copy=False), out, accumulate=accumulate)
    elif _is_on_cuda(a):
        from tensorgrad.kernels.gemm import cuda

        cuda.matmul(a, b, out=out, accumulate=accumulate)
    elif accumulate:
        out += matmul_in(a, b, out.dtype)
    else:
        out[...] = matmul_in(a, b, out.dtype)


def _is_on_cuda(a: Array) -> bool:
    return not isinstance(a, (np.ndarray, ForeignArray))


def bfloat16_problem() -> str:
    """Why the CPU has no products of bfloat16 operands; "" if it has."""
    return onednn.problem()


def has_fast_bfloat16() -> bool:
    """Whether this CPU's bfloat16 products are faster than its float32 ones."""
    return onednn.has_fast_bfloat16()
