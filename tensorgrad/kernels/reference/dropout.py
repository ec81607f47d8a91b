"""Dropout."""

from __future__ import annotations

import math

from tensorgrad.array import Array, device_of, module_of
from tensorgrad.kernels.reference.blocks import for_blocks, wide
from tensorgrad.random import Key, RowKeys


def dropout(x: Array, key: Key | RowKeys, rate: float) -> Array:
    xp = module_of(x)
    lead = x.reshape(1) if x.ndim == 0 else x
    out = xp.empty(lead.shape, x.dtype)
    size = math.prod(lead.shape[1:])

    def work(rows: slice) -> None:
        part, device = lead[rows], device_of(x)
        if isinstance(key, RowKeys):
            numbers = key.rows(rows.start, rows.stop).uniform(part.shape, device=device)
        else:
            numbers = key.uniform(part.shape, start=rows.start * size, device=device)
        out[rows] = xp.where(numbers >= rate, wide(part) * (1 / (1 - rate)), 0)

    for_blocks(lead, work)
    return out.reshape(x.shape)  # type: ignore[no-any-return]
