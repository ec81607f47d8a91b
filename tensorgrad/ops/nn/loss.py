"""Losses between two values of one shape: distances of numbers, divergences of probabilities.

`target` has the shape and dtype of `x` and may need a gradient too; nothing broadcasts but weights.
`reduction` is "mean" (over all elements; nan if there are none), "sum", or "none". All of them raise
ShapeError, DTypeError, DeviceError, and ArgumentError for an option that makes no sense.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_number
from tensorgrad.array import Array, module_of
from tensorgrad.errors import ArgumentError, ShapeError
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import TensorLike, float_operand, operands, shape_of, weak
from tensorgrad.ops.elementwise import (
    abs,
    add,
    clip,
    divide,
    exp,
    log,
    log1p,
    maximum,
    multiply,
    negative,
    square,
    subtract,
)
from tensorgrad.ops.nn.activation import logsigmoid
from tensorgrad.ops.nn.reduction import check_reduction, reduced
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss", "kl_div", "l1_loss", "mse_loss"]
__all__ += ["smooth_l1_loss"]

_FLOOR = 9.999999960041972e-13  # PyTorch's 1e-12, a float32 there

# --- distances -----------------------------------------------------------------------------------


def mse_loss(x: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """(x - target)^2."""
    _check("mse_loss", x, target, reduction)
    return reduced(square(subtract(x, target)), reduction)  # type: ignore[no-any-return]


def l1_loss(x: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """|x - target|; the derivative at 0 is 0."""
    _check("l1_loss", x, target, reduction)
    return reduced(abs(subtract(x, target)), reduction)  # type: ignore[no-any-return]


def huber_loss(x: TensorLike, target: TensorLike, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) beyond; d = x - target, delta > 0.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    _check("huber_loss", x, target, reduction)
    delta = as_number("huber_loss", "delta", delta)
    if not delta > 0:
        raise ArgumentError(f"huber_loss: expected delta > 0, got {delta}: use l1_loss for the limit at 0")
    d = subtract(x, target)
    near = data(clip(d, -delta, delta))
    losses = record(near * (data(d) - near / 2), (d, lambda g: multiply(g, clip(d, -delta, delta))))
    return reduced(losses, reduction)  # type: ignore[no-any-return]


def smooth_l1_loss(x: TensorLike, target: TensorLike, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d^2 / (2 beta) where |d| <= beta, |d| - beta / 2 beyond; d = x - target, beta >= 0 (0: `l1_loss`).

    Source: Girshick, "Fast R-CNN", 2015, equation 3.
    """
    _check("smooth_l1_loss", x, target, reduction)
    beta = as_number("smooth_l1_loss", "beta", beta)
    if not beta >= 0:
        raise ArgumentError(f"smooth_l1_loss: expected beta >= 0, got {beta}: use 0 for l1_loss")
    d = subtract(x, target)
    if beta == 0:
        return reduced(abs(d), reduction)  # type: ignore[no-any-return]
    near = data(clip(d, -beta, beta))
    losses = record(
        near / weak(beta, near) * (data(d) - near / 2), (d, lambda g: multiply(g, divide(clip(d, -beta, beta), beta)))
    )
    return reduced(losses, reduction)  # type: ignore[no-any-return]


# --- divergences ---------------------------------------------------------------------------------


def kl_div(x: TensorLike, target: TensorLike, *, log_target: bool = False, reduction: str = "mean") -> Tensor:
    """target (log(target) - x), the divergence from the log-probabilities x; 0 log(0) is 0 (its derivative -inf).

    With `log_target` the target is given as its logarithm. Reduction "batchmean" divides the sum by
    the size of the first axis only, which is the divergence's definition; "mean" is over all elements.
    """
    a = _check("kl_div", x, target, reduction, "batchmean")
    if as_flag("kl_div", "log_target", log_target):
        losses = multiply(exp(target), subtract(target, x))
    else:
        t = float_operand("kl_div", target)
        xp = module_of(t)
        entropy = record(t * xp.log(xp.where(t == 0, 1, t)), (target, lambda g: multiply(g, add(log(target), 1))))
        losses = subtract(entropy, multiply(target, x))
    if reduction != "batchmean":
        return reduced(losses, reduction)  # type: ignore[no-any-return]
    return divide(sum(losses), (a.shape[0] if a.ndim else 1) or math.nan)


def binary_cross_entropy(
    x: TensorLike, target: TensorLike, *, weight: TensorLike | None = None, reduction: str = "mean"
) -> Tensor:
    """-(target log(x) + (1 - target) log(1 - x)) weight, x a probability; logarithms are at least -100.

    Args:    x in 0 .. 1; weight: broadcasts to the shape of x.
    Raises:  ArgumentError for an x that is no probability.
    Grad:    dx = (x - target) / max(x (1 - x), 1e-12), dtarget = log(1 - x) - log(x).
    """
    a = _check("binary_cross_entropy", x, target, reduction)
    _, t = operands("binary_cross_entropy", x, target)
    if type(a) is np.ndarray and ((a < 0) | (a > 1)).any():
        raise ArgumentError(f"binary_cross_entropy: expected x in 0 .. 1, got {a.min()} .. {a.max()}: are they logits?")
    xp = module_of(a)
    log_x = xp.where(a == 0, -100, xp.maximum(xp.log(xp.where(a == 0, 1, a)), -100))
    log_rest = xp.where(a == 1, -100, xp.maximum(xp.log1p(-xp.where(a == 1, 0, a)), -100))
    losses = record(
        ((t - 1) * log_rest - t * log_x).astype(a.dtype, copy=False),
        (x, lambda g: divide(multiply(g, subtract(x, target)), maximum(multiply(x, subtract(1, x)), _FLOOR))),
        (target, lambda g: multiply(g, subtract(log1p(negative(x)), log(x)))),
    )
    return _weighted("binary_cross_entropy", losses, weight, reduction)


def binary_cross_entropy_with_logits(
    x: TensorLike,
    target: TensorLike,
    *,
    weight: TensorLike | None = None,
    pos_weight: TensorLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(pos_weight target log(p) + (1 - target) log(1 - p)) weight, p = sigmoid(x), without overflow.

    Args:    weight, pos_weight: broadcast to the shape of x.
    """
    op = "binary_cross_entropy_with_logits"
    a = _check(op, x, target, reduction)
    # No two of these terms cancel: a small loss keeps its digits beside large logits.
    if_true = multiply(target, logsigmoid(x))
    if pos_weight is not None:
        _check_weight(op, "pos_weight", pos_weight, a)
        if_true = multiply(if_true, pos_weight)
    losses = negative(add(if_true, multiply(subtract(1, target), logsigmoid(negative(x)))))
    return _weighted(op, losses, weight, reduction)


def _check(op: str, x: Any, target: Any, reduction: str, *more: str) -> Array:
    check_reduction(op, reduction, *more)
    a = float_operand(op, x)
    operands(op, x, target)
    if shape_of(target) != a.shape:
        raise ShapeError(
            f"{op}: expected x and target of one shape, got {a.shape} and {shape_of(target)}: "
            "reshape or broadcast one of them first"
        )
    return a


def _check_weight(op: str, name: str, weight: Any, x: Array) -> None:
    operands(op, x, weight)
    shape = shape_of(weight)
    if len(shape) > x.ndim or any(n not in (1, full) for n, full in zip(shape[::-1], x.shape[::-1], strict=False)):
        raise ShapeError(
            f"{op}: expected {name} to broadcast to the shape of x, {x.shape}, got {shape}: insert axes of size 1"
        )


def _weighted(op: str, losses: Tensor, weight: TensorLike | None, reduction: str) -> Tensor:
    if weight is not None:
        _check_weight(op, "weight", weight, losses)  # type: ignore[arg-type]
        losses = multiply(losses, weight)
    return reduced(losses, reduction)  # type: ignore[no-any-return]
