"""Checks of the operands of products and decompositions, and the error where LAPACK fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.array import Array, device_of, is_array, raising_linalg
from tensorgrad.dtype import accumulation_dtype, is_float
from tensorgrad.errors import ArgumentError, DTypeError, LinAlgError, ShapeError, shown
from tensorgrad.kernels import gemm
from tensorgrad.kernels.bfloat16 import is_bfloat16, to_float32
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import check_devices, float_operand, operand, operands, shape_of
from tensorgrad.ops.elementwise import astype
from tensorgrad.tape import data
from tensorgrad.tensor import Tensor


def mixed_operands(op: str, x: Any, weight: Any) -> tuple[Array, Array] | None:
    """The values of a 16-bit x and a float32 weight; None for other operands."""
    a, w = data(x), data(weight)
    if getattr(a, "itemsize", 0) != 2 or not is_array(a) or not is_array(w):
        return None
    wide = accumulation_dtype(a.dtype)
    if wide == a.dtype or w.dtype != wide:
        return None
    check_devices(op, a, w)
    return operand(op, a), operand(op, w)


def check_product_dtype(op: str, a: Array, product_dtype: Any) -> None:
    """Raise ArgumentError unless `a` can be rounded to bfloat16 for products, and `product_dtype` asks for it."""
    is_right = isinstance(product_dtype, str) and product_dtype == "bfloat16"
    if not is_right or a.dtype != np.float32 or not isinstance(a, np.ndarray):
        raise ArgumentError(
            f'{op}: expected product_dtype "bfloat16" with float32 operands on the CPU, got {shown(product_dtype)} '
            f"with {a.dtype} on {device_of(a)}: leave it out, or convert the operands"
        )
    if problem := gemm.bfloat16_problem():
        raise ArgumentError(f"{op}: expected oneDNN for product_dtype bfloat16, got {problem}: leave it out")


def rounded_inputs(inputs: Sequence[Any], factors: Sequence[Array | None]) -> Callable[[], list[Any]]:
    """A function that gives an op's inputs as its products took them, with their history; None where a factor is None.

    It holds no input, only the factors: a factor in bfloat16 becomes float32 again when the function is called.
    """
    held = [(a, shape_of(x), getattr(x, "node", None)) for x, a in zip(inputs, factors, strict=True)]

    def recorded() -> list[Any]:
        exact = [(a if a is None or not is_bfloat16(a) else to_float32(a), shape, node) for a, shape, node in held]
        return [None if a is None else Tensor(a.reshape(shape), node) for a, shape, node in exact]

    return recorded


def check_bias(op: str, x: Any, bias: Any, size: int) -> None:
    """Raise ShapeError or DTypeError unless `bias` is None or has `size` values in the dtype of x."""
    if bias is not None and shape_of(operands(op, x, bias)[1]) != (size,):
        raise ShapeError(
            f"{op}: expected bias of shape {(size,)}, got {shape_of(bias)}: give one value for each output"
        )


def matrix_operand(op: str, x: Any) -> Array:
    """`operand`, of at least two axes."""
    a = operand(op, x)
    if a.ndim < 2:
        raise ShapeError(f"{op}: expected matrices (..., M, N), got shape {a.shape}: reshape it")
    return a


def lapack_operand(op: str, x: Any, *, is_square: bool = False) -> Array:
    """`matrix_operand`, of a dtype that LAPACK has: float32 or float64."""
    a = matrix_operand(op, float_operand(op, x))
    if a.dtype.itemsize < 4:
        raise DTypeError(f"{op}: expected float32 or float64, got {a.dtype}: convert it with .astype")
    if is_square and a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{op}: expected square matrices (..., M, M), got shape {a.shape}: use pinv or svd for others")
    return a


def lapack(op: str, function: Callable[[Array], Any], a: Array, kind: str, advice: str) -> Any:
    """`function` of the matrices in a. Raises LinAlgError unless all are of the `kind` that it needs."""
    with raising_linalg(a):
        try:
            return function(a)
        except np.linalg.LinAlgError:
            index = next((i for i in np.ndindex(a.shape[:-2]) if not _works(function, a[i])), ())
            place = f", whose matrix at {index} is not" if index else ", which is not"
            raise LinAlgError(f"{op}: expected {kind} matrices, got shape {a.shape}{place}: {advice}") from None


def _works(function: Callable[[Array], Any], a: Array) -> bool:
    try:
        function(a)
    except np.linalg.LinAlgError:
        return False
    return True


def sum_in_dtype(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """`sum` that keeps an integer dtype, as products do."""
    out = sum(x, axis=axis)
    return out if is_float(x.dtype) else astype(out, x.dtype)
