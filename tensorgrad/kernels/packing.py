"""Heads side by side in one buffer, (B, T, heads, D): views of it, and the buffer back from the views."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.array import Array, address_of, is_concrete, module_of

__all__ = ["element_strides", "is_side_by_side", "packed", "unpacked"]


def element_strides(a: Array) -> tuple[int, ...]:
    return tuple(stride // a.dtype.itemsize for stride in a.strides)


def unpacked(heads_BJTD: Any, num_heads: int) -> tuple[Any, Any, Any]:
    """q (B, H, T, D), k and v (B, K, T, D): the H query heads, then the K key heads, then as many value heads."""
    key_end = num_heads + (heads_BJTD.shape[1] - num_heads) // 2
    return heads_BJTD[:, :num_heads], heads_BJTD[:, num_heads:key_end], heads_BJTD[:, key_end:]


def packed(parts_BHTD: tuple[Array, ...]) -> Array:
    """The parts side by side, (B, T, all heads, D): the buffer that they are views of, or a copy."""
    xp = module_of(parts_BHTD[0])
    parts_BTHD = [part.transpose(0, 2, 1, 3) for part in parts_BHTD]
    if not is_concrete(parts_BHTD[0]) or not is_side_by_side(parts_BHTD):
        return xp.concatenate(parts_BTHD, axis=2)  # type: ignore[no-any-return]
    first = parts_BTHD[0]
    shape = (*first.shape[:2], sum(part.shape[2] for part in parts_BTHD), first.shape[3])
    return xp.lib.stride_tricks.as_strided(first, shape, first.strides)  # type: ignore[no-any-return]


def is_side_by_side(parts_BHTD: tuple[Array, ...]) -> bool:
    """Whether these are consecutive heads of a dense (B, T, all heads, D)."""
    first = parts_BHTD[0]
    batch, _, length, width = first.shape
    heads = sum(part.shape[1] for part in parts_BHTD)
    dense = (length * heads * width, width, heads * width, 1)
    expected = address_of(first)
    for part in parts_BHTD:
        is_next = address_of(part) == expected and part.dtype == first.dtype and element_strides(part) == dense
        if not is_next or part.shape[::2] != (batch, length) or part.shape[3] != width or math.prod(part.shape) == 0:
            return False
        expected += part.shape[1] * width * part.dtype.itemsize
    return True
