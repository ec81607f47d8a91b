"""Normalisation of the last axes, layer_norm and rms_norm, or of groups of channels, group_norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tensorgrad.arguments import as_integer, as_number, as_shape
from tensorgrad.array import Array
from tensorgrad.cotangent import Request
from tensorgrad.dtype import finfo
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, float_operand, operands, shape_of
from tensorgrad.ops.elementwise import add, multiply, rsqrt, square, subtract
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.ops.reduce import mean
from tensorgrad.tape import record_joint
from tensorgrad.tensor import Tensor

__all__ = [
    "group_norm",
    "layer_norm",
    "rms_norm",
]

Shape = tuple[int, ...]


def layer_norm(
    x: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    *,
    normalized_shape: Sequence[int] | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last axes to zero mean and unit variance, then scale and shift.

        y = (x - mean) rstd weight + bias,   rstd = 1 / sqrt(var + eps), var biased

    Args:    x (..., *S) float; weight (*S), bias (*S) in the dtype of x, or None: 1 and 0; eps > 0;
             normalized_shape: S, if neither weight nor bias gives it; by default the last axis.
    Returns: (..., *S), dtype of x; statistics in accumulation_dtype(x.dtype).
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = rstd (t - mean(t) - n mean(t n)), t = g weight, n = (x - mean) rstd;
             dweight = sum(g n), dbias = sum(g) over the rows.
    Saves:   x, and two values per row.
    Source:  Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    rows, w, b, shape = _norm_operands("layer_norm", x, weight, bias, normalized_shape)
    eps = as_number("layer_norm", "eps", eps)
    out, row_mean, rstd = kernels_for(rows).layer_norm(rows, w, b, eps)
    x_shape = shape_of(x)

    def vjp(g: Any, requests: list[Request | None]) -> Any:
        if type(g) is Tensor:
            inputs = [x, weight, bias]
            return definition_vjp(lambda *xs: layer_norm_definition(*xs, axes=len(shape), eps=eps), inputs, g, requests)
        dx, dweight, dbias = kernels_for(g).layer_norm_gradient(g.reshape(rows.shape), rows, w, row_mean, rstd)
        return dx.reshape(x_shape), None if dweight is None else dweight.reshape(shape), dbias.reshape(shape)

    return record_joint(out.reshape(x_shape), [x, weight, bias], vjp, selects=True)


def layer_norm_definition(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, axes: int = 1, eps: float
) -> Tensor:
    axis = tuple(range(-axes, 0))
    centred = subtract(x, mean(x, axis=axis, keepdims=True))
    normal = multiply(centred, rsqrt(add(mean(square(centred), axis=axis, keepdims=True), eps)))
    scaled = normal if weight is None else multiply(normal, weight)
    return scaled if bias is None else add(scaled, bias)


def rms_norm(
    x: TensorLike,
    weight: TensorLike | None = None,
    *,
    normalized_shape: Sequence[int] | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide the last axes by their root mean square, then scale.

        y = x rstd weight,   rstd = 1 / sqrt(mean(x^2) + eps)

    Args:    x (..., *S) float; weight (*S) in the dtype of x, or None: 1; normalized_shape: S, if weight does not give
             it; by default the last axis; eps > 0, or None: the machine epsilon of the dtype, 2^-23 or 2^-52.
    Returns: (..., *S), dtype of x; statistics in accumulation_dtype(x.dtype).
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = rstd (t - n mean(t n)), t = g weight, n = x rstd; dweight = sum(g n) over the rows.
    Saves:   x, and one value per row.
    Source:  Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    rows, w, _, shape = _norm_operands("rms_norm", x, weight, None, normalized_shape)
    epsilon = finfo(rows.dtype).eps if eps is None else as_number("rms_norm", "eps", eps)
    out, rstd = kernels_for(rows).rms_norm(rows, w, epsilon)
    x_shape = shape_of(x)

    def vjp(g: Any, requests: list[Request | None]) -> Any:
        if type(g) is Tensor:
            return definition_vjp(
                lambda *xs: rms_norm_definition(*xs, axes=len(shape), eps=epsilon), [x, weight], g, requests
            )
        dx, dweight = kernels_for(g).rms_norm_gradient(g.reshape(rows.shape), rows, w, rstd)
        return dx.reshape(x_shape), None if dweight is None else dweight.reshape(shape)

    return record_joint(out.reshape(x_shape), [x, weight], vjp, selects=True)


def rms_norm_definition(x: Tensor, weight: Tensor | None = None, *, axes: int = 1, eps: float) -> Tensor:
    axis = tuple(range(-axes, 0))
    normal = multiply(x, rsqrt(add(mean(square(x), axis=axis, keepdims=True), eps)))
    return normal if weight is None else multiply(normal, weight)


def group_norm(
    x: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each sample's groups of channels to zero mean and unit variance, then scale and shift each channel.

    Args:    x (N, C, ...) float, C a multiple of num_groups; weight (C,), bias (C,) in the dtype of x, or None.
    Returns: (N, C, ...), dtype of x.
    Raises:  ShapeError, DTypeError, DeviceError.
    Source:  Wu and He, "Group normalization", 2018.
    """
    a = float_operand("group_norm", x)
    groups = as_integer("group_norm", "num_groups", num_groups)
    if a.ndim < 2 or groups < 1 or a.shape[1] % groups or not math.prod(a.shape[1:]):
        raise ShapeError(
            f"group_norm: expected x (N, C, ...) with C a multiple of num_groups and no size but N 0, "
            f"got {a.shape} and {groups} groups: "
            "choose a number of groups that divides C"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            operands("group_norm", x, value)
            if shape_of(value) != a.shape[1:2]:
                raise ShapeError(
                    f"group_norm: expected {name} of shape {a.shape[1:2]}, got {shape_of(value)}: "
                    "give one value for each channel"
                )
    eps = as_number("group_norm", "eps", eps)
    channels = (a.shape[1],) + (1,) * (a.ndim - 2)
    grouped = reshape(x, (a.shape[0], groups, math.prod(a.shape[1:]) // groups))
    out = reshape(layer_norm(grouped, eps=eps), a.shape)
    if weight is not None:
        out = multiply(out, reshape(weight, channels))
    return out if bias is None else add(out, reshape(bias, channels))


def _norm_operands(
    op: str, x: Any, weight: Any, bias: Any, normalized_shape: Any
) -> tuple[Array, Array | None, Array | None, Shape]:
    """x as rows (N, C), weight and bias as (C,), and S, the shape of one row, of the weight and of the bias."""
    a = float_operand(op, x)
    values = {"weight": weight, "bias": bias}
    given = {name: operands(op, x, value)[1] for name, value in values.items() if value is not None}
    if normalized_shape is not None:
        shape = as_shape(op, normalized_shape)
    else:
        shape = shape_of(next(iter(given.values()))) if given else a.shape[-1:]
    if not math.prod(shape) or not shape or a.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{op}: expected x (..., *S) with weight, bias and normalized_shape S, of size C > 0, "
            f"got {a.shape} and {shape}: "
            "give what belongs to the last axes of x"
        )
    for name, value in given.items():
        if shape_of(value) != shape:
            raise ShapeError(f"{op}: expected {name} of shape {shape}, got {shape_of(value)}: reshape it")
    width = math.prod(shape)
    w, b = (given[name].reshape(width) if name in given else None for name in values)
    return a.reshape(a.size // width, width), w, b, shape
