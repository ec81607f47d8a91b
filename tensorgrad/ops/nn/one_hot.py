"""Class numbers as vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.arguments import as_integer
from tensorgrad.array import module_of
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.ops.common import operand
from tensorgrad.ops.logic import constant
from tensorgrad.tensor import Tensor

__all__ = ["one_hot"]


def one_hot(ids: Any, num_classes: int = -1) -> Tensor:
    """1 at each id's place in a last axis of `num_classes` (-1: one more than the largest id), else 0; int64.

    Args:    ids (...) integers in 0 .. num_classes - 1.
    Returns: (..., num_classes), a constant.
    Raises:  ShapeError (ids out of range, or none to tell the number of classes), DTypeError.
    """
    a = operand("one_hot", ids)
    classes = as_integer("one_hot", "num_classes", num_classes)
    if a.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: expected integer ids, got {a.dtype}: convert them with .astype")
    if classes < -1 or (classes == -1 and not a.size):
        raise ShapeError(
            f"one_hot: expected num_classes >= 0, or -1 and at least one id, got {classes} and {a.shape}: "
            "give the number of classes"
        )
    if classes == -1:
        classes = int(a.max()) + 1
    if type(a) is np.ndarray and a.size and not 0 <= a.min() <= a.max() < classes:
        raise ShapeError(
            f"one_hot: expected ids in 0 .. {classes - 1}, got {a.min()} .. {a.max()}: "
            "give more classes, or check the ids"
        )
    xp = module_of(a)
    try:
        out = (a[..., None] == xp.arange(classes)).astype(xp.int64)
    except (MemoryError, ValueError):
        raise ShapeError(f"one_hot: expected num_classes that fit into memory, got {classes}: give fewer") from None
    return constant(out, ids)
