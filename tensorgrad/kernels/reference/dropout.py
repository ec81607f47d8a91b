"""Dropout."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.array import Array, device_of, module_of
from tensorgrad.kernels.reference.blocks import for_blocks, wide
from tensorgrad.kernels.reference.philox import keys_on, uniform

__all__ = ["dropout"]


def dropout(x: Array, keys_R2: Array, rate: float) -> Array:
    xp = module_of(x)
    lead = x.reshape(1) if x.ndim == 0 else x
    out = xp.empty(lead.shape, x.dtype)
    keys_R2, size = keys_on(keys_R2, device_of(x)), math.prod(lead.shape[1:])

    def work(rows: slice) -> None:
        part = lead[rows]
        if len(keys_R2) == 1:
            numbers = uniform(keys_R2, math.prod(part.shape), rows.start * size, np.dtype(np.float32))
        else:
            numbers = uniform(keys_R2[rows], size, 0, np.dtype(np.float32))
        out[rows] = xp.where(numbers.reshape(part.shape) >= rate, wide(part) * (1 / (1 - rate)), 0)

    for_blocks(lead, work)
    return out.reshape(x.shape)  # type: ignore[no-any-return]
