"""Distances and similarities of vectors, and vectors scaled to length one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.arguments import as_number
from tensorgrad.errors import ArgumentError, ShapeError, shown
from tensorgrad.ops.broadcast import broadcast_to, sum
from tensorgrad.ops.common import TensorLike, broadcast_error, float_operand, normalise_axis, operands, shape_of
from tensorgrad.ops.elementwise import add, clip, divide, multiply, subtract
from tensorgrad.ops.linalg import vector_norm
from tensorgrad.ops.shape import expand_dims
from tensorgrad.tensor import Tensor

__all__ = ["cdist", "cosine_similarity", "normalize", "pairwise_distance"]


def cosine_similarity(x1: TensorLike, x2: TensorLike, *, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """sum(x1 x2) / (max(norm(x1), eps) max(norm(x2), eps)) along `axis` of the shape that both broadcast to.

    Where a norm is below eps, the gradient takes it for the constant eps; PyTorch's takes it for the norm.
    """
    shape = _broadcast("cosine_similarity", x1, x2)
    axis, eps = normalise_axis("cosine_similarity", axis, len(shape)), as_number("cosine_similarity", "eps", eps)
    units = [normalize(broadcast_to(x, shape), axis=axis, eps=eps) for x in (x1, x2)]
    return sum(multiply(*units), axis=axis)


def normalize(x: TensorLike, *, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm, eps), where norm is the `vector_norm` of order p along `axis`."""
    a = float_operand("normalize", x)
    axis, eps = normalise_axis("normalize", axis, a.ndim), as_number("normalize", "eps", eps)
    p = as_number("normalize", "p", p)
    return divide(x, clip(vector_norm(x, ord=p, axis=axis, keepdims=True), eps))


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, *, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> Tensor:
    """The `vector_norm` of order p of x1 - x2 + eps, over the last axis of the shape that both broadcast to."""
    if not _broadcast("pairwise_distance", x1, x2):
        raise ShapeError("pairwise_distance: expected vectors along a last axis, got scalars: use abs")
    p, eps = as_number("pairwise_distance", "p", p), as_number("pairwise_distance", "eps", eps)
    return vector_norm(add(subtract(x1, x2), eps), ord=p, axis=-1, keepdims=keepdims)


def cdist(x: TensorLike, y: TensorLike, *, p: float = 2.0) -> Tensor:
    """The distance of order p >= 0 of each row of x to each row of y.

    Args:    x (..., P, M), y (..., R, M); leading axes broadcast. p inf: the largest difference; 0: how many differ.
    Returns: (..., P, R).
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (p < 0).
    Grad:    as in `vector_norm`: 0 where two rows are equal; for p = inf, ties share it.
    Saves:   the differences, (..., P, R, M).
    """
    a, b = float_operand("cdist", x), operands("cdist", x, y)[1]
    if a.ndim < 2 or len(shape_of(b)) < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            f"cdist: expected x (..., P, M) and y (..., R, M), got {a.shape} and {shape_of(b)}: "
            "add an axis for the rows"
        )
    if not as_number("cdist", "p", p) >= 0:
        raise ArgumentError(f"cdist: expected p >= 0, got {shown(p)}: use 2 for the usual distance")
    difference = subtract(expand_dims(x, axis=-2), expand_dims(y, axis=-3))
    # Rows of no coordinates have no largest one; their distance is 0 all the same.
    return vector_norm(difference, ord=p if a.shape[-1] else 1, axis=-1)


def _broadcast(op: str, x1: Any, x2: Any) -> tuple[int, ...]:
    a, b = float_operand(op, x1), operands(op, x1, x2)[1]
    try:
        return np.broadcast_shapes(a.shape, shape_of(b))
    except ValueError:
        raise broadcast_error(op, a, b) from None
