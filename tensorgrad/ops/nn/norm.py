"""Normalisation of the last axis: layer_norm, rms_norm."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.common import TensorLike, float_operand, operands
from tensorgrad.ops.elementwise import add, multiply, rsqrt, square, subtract
from tensorgrad.ops.nn.definition import through
from tensorgrad.ops.reduce import mean
from tensorgrad.tape import record_joint
from tensorgrad.tensor import Tensor


def layer_norm(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, *, eps: float = 1e-5) -> Tensor:
    """Normalise the last axis to zero mean and unit variance, then scale and shift.

        y = (x - mean) rstd weight + bias,   rstd = 1 / sqrt(var + eps), var biased

    Args:    x (..., C) float; weight (C,) and bias (C,) or None, in the dtype of x; eps > 0.
    Returns: (..., C), dtype of x; statistics in accumulation_dtype(x.dtype).
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = rstd (t - mean(t) - n mean(t n)), t = g weight, n = (x - mean) rstd;
             dweight = sum(g n), dbias = sum(g) over the rows.
    Saves:   x, and two values per row.
    Source:  Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    a, w, b = _norm_operands("layer_norm", x, weight, bias)
    rows = a.reshape(-1, a.shape[-1])
    out, row_mean, rstd = kernels_for(a).layer_norm(rows, w, b, eps)
    inputs = [x, weight] if bias is None else [x, weight, bias]

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(lambda *xs: layer_norm_definition(*xs, eps=eps), inputs, g)
        dx, dweight, dbias = kernels_for(g).layer_norm_gradient(g.reshape(rows.shape), rows, w, row_mean, rstd)
        return dx.reshape(a.shape), dweight, dbias

    return record_joint(out.reshape(a.shape), inputs, vjp)


def layer_norm_definition(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, eps: float) -> Tensor:
    centred = subtract(x, mean(x, axis=-1, keepdims=True))
    normal = multiply(centred, rsqrt(add(mean(square(centred), axis=-1, keepdims=True), eps)))
    scaled = multiply(normal, weight)
    return scaled if bias is None else add(scaled, bias)


def rms_norm(x: TensorLike, weight: TensorLike, *, eps: float = 1e-6) -> Tensor:
    """Divide the last axis by its root mean square, then scale.

        y = x rstd weight,   rstd = 1 / sqrt(mean(x^2) + eps)

    Args:    x (..., C) float; weight (C,) in the dtype of x; eps > 0.
    Returns: (..., C), dtype of x; statistics in accumulation_dtype(x.dtype).
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = rstd (t - n mean(t n)), t = g weight, n = x rstd; dweight = sum(g n) over the rows.
    Saves:   x, and one value per row.
    Source:  Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    a, w, _ = _norm_operands("rms_norm", x, weight, None)
    rows = a.reshape(-1, a.shape[-1])
    out, rstd = kernels_for(a).rms_norm(rows, w, eps)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(lambda *xs: rms_norm_definition(*xs, eps=eps), [x, weight], g)
        dx, dweight = kernels_for(g).rms_norm_gradient(g.reshape(rows.shape), rows, w, rstd)
        return dx.reshape(a.shape), dweight

    return record_joint(out.reshape(a.shape), [x, weight], vjp)


def rms_norm_definition(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    return multiply(multiply(x, rsqrt(add(mean(square(x), axis=-1, keepdims=True), eps))), weight)


def _norm_operands(op: str, x: Any, weight: Any, bias: Any) -> tuple[Array, Array, Array | None]:
    a, w = operands(op, x, weight)
    b = None if bias is None else operands(op, x, bias)[1]
    float_operand(op, x)
    for name, value in (("weight", w), ("bias", b)):
        if value is not None and (not a.ndim or not a.shape[-1] or getattr(value, "shape", None) != a.shape[-1:]):
            raise ShapeError(
                f"{op}: expected x (..., C) and {name} (C,), C > 0, got {a.shape} and {getattr(value, 'shape', ())}"
            )
    return a, w, b
