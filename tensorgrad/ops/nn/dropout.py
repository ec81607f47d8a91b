"""Dropout."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_number
from tensorgrad.array import device_of, module_of
from tensorgrad.errors import ArgumentError, DTypeError, shown
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.random import Key, RowKeys
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor


def dropout(x: TensorLike, key: Key | RowKeys, *, rate: float) -> Tensor:
    """Zero each element with probability `rate`, and divide the others by 1 - rate.

    Which ones is a function of `key` alone: one Key, or RowKeys, one per row of the first axis.
    Linear, so its gradient is the same function of g, and nothing is saved: the mask is made again.
    """
    a = float_operand("dropout", x)
    check_dropout("dropout", rate, key)
    mask = key.uniform(a.shape, device=device_of(a)) >= rate
    out = module_of(a).where(mask, a * (1 / (1 - rate)), 0).astype(a.dtype, copy=False)
    return record(out, (x, lambda g: dropout(g, key, rate=rate)))


def check_dropout(op: str, rate: float, key: Any) -> None:
    """Refuse what is no key, or a rate that leaves nothing."""
    if not isinstance(key, (Key, RowKeys)):
        raise DTypeError(f"{op}: expected a Key, got {type(key).__name__}: make it with tensorgrad.Key(seed)")
    if not 0 <= as_number(op, "rate", rate) < 1:
        raise ArgumentError(f"{op}: expected 0 <= rate < 1, got {shown(rate)}: give the share to be dropped")
