"""Dropout."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_number
from tensorgrad.array import Array, device_of
from tensorgrad.errors import ArgumentError, DTypeError, ShapeError, shown
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.common import TensorLike, check_devices, float_operand
from tensorgrad.random import Key, RowKeys, as_pairs
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["dropout"]


def dropout(x: TensorLike, key: Key | RowKeys, *, rate: float) -> Tensor:
    """Zero each element with probability `rate`, and divide the others by 1 - rate.

    `key` alone decides which: one Key, or RowKeys, one key for each row of the first axis.
    Grad:    the same function of g, as dropout is linear. Saves nothing: the mask is drawn again.
    """
    a = float_operand("dropout", x)
    check_dropout("dropout", rate, key, a)
    if isinstance(key, RowKeys) and a.shape[:1] != (len(key.keys),):
        raise ShapeError(
            f"dropout: expected an operand of {len(key.keys)} rows, one per key, got {a.shape}: "
            "let the first axis be the rows"
        )
    keys_R2 = as_pairs(key, device_of(a))
    return record(kernels_for(a).dropout(a, keys_R2, rate), (x, lambda g: dropout(g, key, rate=rate)))


def check_dropout(op: str, rate: float, key: Any, a: Array) -> None:
    """Refuse anything but a key, a key on another device than `a`, and a rate that keeps nothing."""
    if not isinstance(key, (Key, RowKeys)):
        raise DTypeError(f"{op}: expected a Key, got {type(key).__name__}: make it with tensorgrad.Key(seed)")
    if not 0 <= as_number(op, "rate", rate) < 1:
        raise ArgumentError(f"{op}: expected 0 <= rate < 1, got {shown(rate)}: give the share to be dropped")
    if isinstance(key, RowKeys) and not isinstance(key.keys, tuple):
        check_devices(op, a, key.keys)
