"""Elements reversed or rolled along axes, and triangles with zeros elsewhere."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_integer
from tensorgrad.array import module_of
from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, normalise_axes, operand
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["flip", "roll", "tril", "triu"]


def flip(x: TensorLike, *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """The order of the elements reversed along `axis` (None: along every axis)."""
    a = operand("flip", x)
    axes = normalise_axes("flip", axis, a.ndim)
    return record(module_of(a).flip(a, axes), (x, lambda g: flip(g, axis=axes)))


def roll(x: TensorLike, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Elements moved `shift` places along `axis`; elements that leave at one end enter at the other.

    A tuple of axes takes a tuple of as many shifts, or one for all. With `axis` None, x is rolled as if it were flat.
    """
    a = operand("roll", x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), a.shape)
    axes = normalise_axes("roll", axis, a.ndim)
    shifts = tuple(as_integer("roll", "shift", n) for n in (shift if isinstance(shift, tuple) else (shift,)))
    if isinstance(shift, tuple) and len(shifts) != len(axes):
        raise ShapeError(
            f"roll: expected one shift per axis, got shift={shift} and axis={axis}: give as many shifts as axes, or one"
        )
    shifts = shifts if len(shifts) == len(axes) else shifts * len(axes)
    back = tuple(-n for n in shifts)
    return record(module_of(a).roll(a, shifts, axes), (x, lambda g: roll(g, back, axis=axes)))


def tril(x: TensorLike, *, k: int = 0) -> Tensor:
    """The last two axes' lower triangle, on and below diagonal `k`; zeros elsewhere."""
    a, k = _matrix("tril", x), as_integer("tril", "k", k)
    return record(module_of(a).tril(a, k), (x, lambda g: tril(g, k=k)))


def triu(x: TensorLike, *, k: int = 0) -> Tensor:
    """The last two axes' upper triangle, on and above diagonal `k`; zeros elsewhere."""
    a, k = _matrix("triu", x), as_integer("triu", "k", k)
    return record(module_of(a).triu(a, k), (x, lambda g: triu(g, k=k)))


def _matrix(op: str, x: TensorLike) -> Any:
    a = operand(op, x)
    if a.ndim < 2:
        raise ShapeError(f"{op}: expected at least two axes, got shape {a.shape}: insert one with expand_dims")
    return a
