"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import TensorLike, float_operand, normalise_axis
from tensorgrad.ops.elementwise import exp, multiply, subtract
from tensorgrad.ops.reduce import logsumexp
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = [
    "log_softmax",
    "softmax",
]


def softmax(x: TensorLike, *, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`, without overflow.

    Grad:    dx = y (g - sum(y g)).
    Saves:   the output.
    """
    a, axis = _float_with_axis("softmax", x, axis)

    def vjp(g: Any, y: Any) -> Any:
        if type(g) is Tensor:
            return multiply(y, subtract(g, sum(multiply(g, y), axis=axis, keepdims=True)))
        return _along(kernels_for(g).softmax_gradient, axis, g, y)

    return record(_along(kernels_for(a).softmax, axis, a), (x, vjp), keep_output=True)


def softmax_definition(x: Tensor, axis: int) -> Tensor:
    return exp(subtract(x, logsumexp(x, axis=axis, keepdims=True)))


def log_softmax(x: TensorLike, *, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`, without overflow.

    Grad:    dx = g - exp(y) sum(g).
    Saves:   the output.
    """
    a, axis = _float_with_axis("log_softmax", x, axis)

    def vjp(g: Any, y: Any) -> Any:
        if type(g) is Tensor:
            return subtract(g, multiply(exp(y), sum(g, axis=axis, keepdims=True)))
        return _along(kernels_for(g).log_softmax_gradient, axis, g, y)

    return record(_along(kernels_for(a).log_softmax, axis, a), (x, vjp), keep_output=True)


def log_softmax_definition(x: Tensor, axis: int) -> Tensor:
    return subtract(x, logsumexp(x, axis=axis, keepdims=True))


def _float_with_axis(op: str, x: Any, axis: int) -> tuple[Array, int]:
    a = float_operand(op, x)
    axis = normalise_axis(op, axis, a.ndim)
    if a.shape[axis] == 0:
        raise ShapeError(
            f"{op}: expected at least one element along axis {axis}, got shape {a.shape}: leave empty axes out"
        )
    return a, axis


def _along(kernel: Callable[..., Array], axis: int, *arrays: Array) -> Array:
    """Apply a kernel for rows, (N, C), along `axis` of arrays of any shape."""
    xp = module_of(arrays[0])
    moved = [xp.moveaxis(a, axis, -1) for a in arrays]
    rows = [a.reshape(-1, a.shape[-1]) for a in moved]
    return xp.moveaxis(kernel(*rows).reshape(moved[0].shape), -1, axis)  # type: ignore[no-any-return]
