"""Dropout."""

from __future__ import annotations

from tensorgrad.array import device_of, module_of
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.random import Key
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor


def dropout(x: TensorLike, key: Key, *, rate: float) -> Tensor:
    """Zero each element with probability `rate`, and divide the others by 1 - rate.

    Which ones is a function of `key` alone. Linear, so its gradient is the same function of g, and
    nothing is saved: the mask is made again from the key.
    """
    a = float_operand("dropout", x)
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: expected 0 <= rate < 1, got {rate}")
    mask = key.uniform(a.shape, device=device_of(a)) >= rate
    out = module_of(a).where(mask, a * (1 / (1 - rate)), 0).astype(a.dtype, copy=False)
    return record(out, (x, lambda g: dropout(g, key, rate=rate)))
