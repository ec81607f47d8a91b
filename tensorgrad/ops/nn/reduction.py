"""How losses are reduced: to their mean, to their sum, or not at all."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.arguments import check_option
from tensorgrad.array import Array, module_of
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.elementwise import divide
from tensorgrad.tape import data


def check_reduction(op: str, reduction: str, *more: str) -> None:
    """Refuse a reduction that is none of mean, sum, none and `more`."""
    check_option(op, "reduction", reduction, "mean", "sum", "none", *more)


def reduced(losses: Any, reduction: str, weights: Array | None = None) -> Any:
    """The losses, their sum, or that divided by the sum of their weights (None: 1 each); nan if it is 0."""
    if reduction == "none":
        return losses
    total = sum(losses)
    if reduction == "sum":
        return total
    return divide(total, (data(losses).size or math.nan) if weights is None else total_or_nan(weights))


def total_or_nan(weights: Array) -> Array:
    """The sum of the weights, or nan if it is 0: NumPy would warn of a division by 0."""
    xp = module_of(weights)
    total = xp.asarray(weights.sum())
    return xp.where(total == 0, math.nan, total).astype(weights.dtype)  # type: ignore[no-any-return]
