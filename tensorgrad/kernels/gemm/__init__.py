"""Matrix products: the one place that they all go through, and who computes them.

`cpu`: oneDNN, or the BLAS that NumPy comes with. `cuda`: cublasLt, or what there is in its place.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, ForeignArray, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.gemm import cpu, onednn
from tensorgrad.kernels.gemm.cpu import matmul_bfloat16, to_bfloat16

__all__ = [
    "affine",
    "affine_gelu",
    "bfloat16_problem",
    "cpu_provider",
    "from_bfloat16",
    "has_fast_bfloat16",
    "matmul",
    "matmul_bfloat16",
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
    """Who computes products on the CPU: oneDNN and its version, or why NumPy's BLAS does."""
    problem = onednn.problem()
    return f"NumPy (oneDNN: {problem})" if problem else f"oneDNN {onednn.version()}"


def affine(a: Array, b: Array, bias: Array | None) -> Array:
    """a b (+ bias (N,)), for matrices of one dtype, and in it; float32 for those from `to_bfloat16`.

    On CUDA devices the sum with the bias is rounded once.
    """
    if _is_on_cuda(a):
        from tensorgrad.kernels.gemm import cuda

        return cuda.matmul(a, b, bias=bias)
    if a.dtype.kind == "u":
        return matmul_bfloat16(a, b, bias)
    if bias is None:
        return matmul(a, b)
    return cpu.matmul(a, b, bias) if isinstance(a, np.ndarray) else matmul(a, b) + bias


def affine_gelu(a: Array, b: Array, bias: Array | None, *, keeps_input: bool) -> tuple[Array | None, Array] | None:
    """h = a b (+ bias), None unless it is kept, and gelu(h) by tanh, where one product on a device gives both."""
    if not _is_on_cuda(a):
        return None
    from tensorgrad.kernels.gemm import cuda

    return cuda.matmul_gelu(a, b, bias, keeps_input=keeps_input)


def matmul_gelu_gradient(g: Array, b: Array, h: Array) -> Array | None:
    """gelu'(h) (g b), gelu by tanh, where one product on a device gives it."""
    if not _is_on_cuda(g):
        return None
    from tensorgrad.kernels.gemm import cuda

    return cuda.matmul_gelu_gradient(g, b, h)


def matmul_in(a: Array, b: Array, dtype: DType) -> Array:
    """a b in `dtype`, for matrices of one dtype that is no wider, not rounded to theirs; or from `to_bfloat16`."""
    if a.dtype.kind == "u":
        return matmul_bfloat16(a, b)
    if a.dtype == dtype:
        return matmul(a, b)
    if _is_on_cuda(a):
        from tensorgrad.kernels.gemm import cuda

        return cuda.matmul(a, b, out=module_of(a).empty((a.shape[0], b.shape[1]), dtype))
    return matmul(a.astype(dtype), b.astype(dtype))


def sums_beside_products(a: Array) -> bool:
    """Whether `matmul_with_sums` of such arrays reads `a` once, for both."""
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
    """out = a b (+ out), for matrices of one dtype, `out` of it or a wider one; on the CPU also of bfloat16 as uint16.

    On the CPU it may be left to other threads: it is there after `kernels.threads.finish`.
    """
    if isinstance(out, np.ndarray):
        wide = out.dtype if a.dtype.kind != "u" else a.dtype
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
    """Why the CPU has no products of bfloat16 operands, from `to_bfloat16`; "" if it has."""
    return onednn.problem()


def has_fast_bfloat16() -> bool:
    """Whether they are faster than those of float32."""
    return onednn.has_fast_bfloat16()


def from_bfloat16(a: Array) -> Array:
    """The float32 numbers whose bits `to_bfloat16` gave."""
    return (a.astype(np.uint32) << np.uint32(16)).view(np.float32)
