"""The diagonals of matrices."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_integer
from tensorgrad.array import module_of
from tensorgrad.dtype import DTypeLike
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import TensorLike, operand
from tensorgrad.ops.elementwise import astype
from tensorgrad.ops.linalg.operand import matrix_operand
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["diagonal", "trace"]


def diagonal(x: TensorLike, *, offset: int = 0) -> Tensor:
    """The diagonals of the matrices in the last two axes, (..., M, N) to (..., K), as a copy.

    `offset` > 0 counts diagonals above the main one, < 0 below; K is 0 where there is none.
    """
    a, offset = matrix_operand("diagonal", x), as_integer("diagonal", "offset", offset)
    shape = a.shape
    offset = max(-shape[-2], min(offset, shape[-1]))  # there is none beyond, and NumPy takes no larger integer
    return record(a.diagonal(offset, -2, -1).copy(), (x, lambda g: _on_diagonal(g, shape, offset)))


def _on_diagonal(x: Any, shape: tuple[int, ...], offset: int) -> Any:
    """Zeros of `shape` with x on a diagonal. This and `diagonal` are each other's gradients."""
    a = operand("diagonal", x)
    xp = module_of(a)
    out = xp.zeros(shape, a.dtype)
    place = xp.arange(a.shape[-1])
    out[..., place + max(-offset, 0), place + max(offset, 0)] = a
    return record(out, (x, lambda g: diagonal(g, offset=offset)))


def trace(x: TensorLike, *, offset: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    """The sum of each matrix's diagonal, (..., M, N) to (...), as `sum` adds; with `dtype` x is converted first."""
    matrix_operand("trace", x)
    return sum(diagonal(x if dtype is None else astype(x, dtype), offset=offset), axis=-1)
