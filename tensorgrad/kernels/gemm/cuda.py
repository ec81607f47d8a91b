"""Matrix products on CUDA devices: by cublasLt, else by CuPy.

float32 is computed in float32, not in TF32, unless `tensorgrad.allow_tf32` is in force; 16-bit floats are
multiplied as they are and summed in float32.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from tensorgrad.array import Array, cuda_module, module_of
from tensorgrad.dtype import accumulation_dtype, is_float
from tensorgrad.kernels import providers
from tensorgrad.kernels.gemm.plan import NotInProduct, Product, has_dense_rows, product_of

__all__ = ["matmul", "matmul_gelu", "matmul_gelu_gradient", "running_with"]

Runner = Callable[[Product], None]

_runner: contextvars.ContextVar[Runner | None] = contextvars.ContextVar("_runner", default=None)


def matmul(
    x: Array,
    y: Array,
    *,
    bias: Array | None = None,
    row_sums: Array | None = None,
    out: Array | None = None,
    accumulate: bool = False,
) -> Array:
    """x y (+ bias) (+ out), over the last two axes; leading axes broadcast.

    Args:    bias (N,); row_sums (M,), filled with the sums of x's rows; out: where to write, or with `accumulate`
             to add; a float32 `out` takes products of 16-bit floats unrounded.
    Raises:  ValueError: the shapes do not fit.
    """
    xp = module_of(x)
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul: inner sizes {x.shape[-1]} and {y.shape[-2]}")
    if out is None:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        out = xp.empty((*lead, x.shape[-2], y.shape[-1]), x.dtype)
    if not x.shape[-1] or not is_float(x.dtype):
        return _by_cupy(x, y, bias, row_sums, out, accumulate)
    if out.size and not has_dense_rows(out):
        providers.fell_back("gemm", "cupy", "a result whose rows are not dense in memory")
        return _by_cupy(x, y, bias, row_sums, out, accumulate)
    run = _runner.get() or _provider()
    if out.size:
        for product in product_of(x, y, out, bias=bias, row_sums=row_sums, accumulate=accumulate):
            run(product)
    elif row_sums is not None:
        row_sums[...] = x.sum(axis=-1)
    return out


def matmul_gelu(x: Array, y: Array, bias: Array | None, *, keeps_input: bool) -> tuple[Array | None, Array] | None:
    """h = x y (+ bias) of matrices, or None unless `keeps_input`, and gelu(h) by tanh; None if not one product."""
    if not _has_gelu(x, y):
        return None
    shape = (x.shape[0], y.shape[1])
    h = module_of(x).empty(shape, x.dtype) if keeps_input else None
    out = _with_gelu(x, y, bias, "value", h)
    return None if out is None else (h, out)


def matmul_gelu_gradient(g: Array, y: Array, h: Array) -> Array | None:
    """gelu'(h) (g y) of matrices, gelu by tanh; None if that is not one product."""
    return _with_gelu(g, y, None, "gradient", h) if _has_gelu(g, y) else None


def _has_gelu(x: Array, y: Array) -> bool:
    """Whether cublasLt's GELU will do: 16-bit floats hide how it approximates tanh; its columns come in eights."""
    return bool(x.dtype.itemsize == 2 and is_float(x.dtype) and x.size and y.size and y.shape[1] % 8 == 0)


def _with_gelu(x: Array, y: Array, bias: Array | None, gelu: str, aux: Array | None) -> Array | None:
    run = _runner.get() or _provider()
    out: Array = module_of(x).empty((x.shape[0], y.shape[1]), x.dtype)
    (product,) = product_of(x, y, out, bias=bias, gelu=gelu, aux=aux)
    try:
        run(product)
    except NotInProduct:
        return None
    return out


@contextmanager
def running_with(runner: Runner) -> Iterator[None]:
    """Within it `runner` computes all products."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def _provider() -> Runner:
    def cublaslt() -> Runner:
        from tensorgrad.kernels.gemm.cublaslt import CublasLt

        return _checked(CublasLt())

    return providers.choose("gemm", [("cublasLt", cublaslt), ("cupy", lambda: _cupy_product)])


def _checked(run: Runner) -> Runner:
    """`run`, if it gets a small product of known result right; else raises ArithmeticError."""
    cupy = cuda_module()
    x = cupy.arange(12, dtype=cupy.float32).reshape(3, 4)
    y = cupy.arange(20, dtype=cupy.float32).reshape(5, 4)
    bias, out = cupy.arange(5, dtype=cupy.float32), cupy.empty((3, 5), cupy.float32)
    for product in product_of(x, y.T, out, bias=bias):
        run(product)
    if not bool((out == (x[:, None] * y).sum(axis=2) + bias).all()):
        raise ArithmeticError("a product of known result came out wrong")
    return run


def _cupy_product(product: Product) -> None:
    """The last resort: what the plan describes, in CuPy's operations."""
    plan, (x, y) = product.plan, (product.b, product.a)
    if plan.gelu:
        raise NotInProduct
    _by_cupy(x, y, product.bias, product.row_sums, product.out, plan.accumulate)


def _by_cupy(x: Array, y: Array, bias: Array | None, row_sums: Array | None, out: Array, accumulate: bool) -> Array:
    xp = module_of(x)
    if is_float(x.dtype):
        # CuPy has no batched products of bfloat16, and none that keep the float32 of their sums.
        wide = accumulation_dtype(x.dtype)
        x, y = x.astype(wide, copy=False), y.astype(wide, copy=False)
    result = xp.matmul(x, y)
    if bias is not None:
        result += bias.astype(result.dtype, copy=False)
    if accumulate:
        result += out.astype(result.dtype, copy=False)
    out[...] = result.astype(out.dtype, copy=False)
    if row_sums is not None:
        row_sums[...] = x.sum(axis=-1).astype(row_sums.dtype, copy=False)
    return out
