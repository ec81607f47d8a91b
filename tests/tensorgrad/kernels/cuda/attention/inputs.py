"""Shared by attention's tests on the CPU: arrays of every element type, and an array module whose memory is nan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tensorgrad.kernels.cuda import operand
from tensorgrad.kernels.cuda.attention import tiled

NAN_BFLOAT16 = 0x7FC1


class Memory:
    """NumPy in place of CuPy, as far as our kernels use it. uint16 holds the bits of bfloat16."""

    ascontiguousarray = staticmethod(np.ascontiguousarray)
    broadcast_to = staticmethod(np.broadcast_to)

    @staticmethod
    def empty(shape: Any, dtype: Any) -> np.ndarray:
        return np.full(shape, NAN_BFLOAT16 if np.dtype(dtype) == np.uint16 else np.nan, dtype)


@contextmanager
def memory_of_nan() -> Iterator[None]:
    """Within it our kernels take NumPy's arrays, uint16 as bfloat16, and write results into memory of nan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "module_of", lambda a: Memory)
        patch.setitem(operand._SCALARS, "uint16", "Bfloat16")
        yield


def rounded(x: np.ndarray, element: str) -> np.ndarray:
    """x as an array of `element`."""
    if element != "bfloat16":
        return x.astype(element)
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def exact(x: np.ndarray) -> np.ndarray:
    """The values of an array of elements, in float64."""
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if x.dtype == np.uint16 else x.astype(float)


def attention_inputs(
    element: str, width: int, heads: int, kv_heads: int, queries: int, keys: int, *, spread: float = 1.0
) -> tuple[np.ndarray, ...]:
    """g, q, k, v for two samples: q, k and v are views of one (B, T, H + 2 K, D) if lengths agree."""
    random = np.random.default_rng([width, heads, queries, keys])

    def normal(count: int, length: int) -> np.ndarray:
        values = spread * random.normal(size=(2, length, count, width))
        return rounded(values, element).transpose(0, 2, 1, 3)

    g = normal(heads, queries)
    if queries != keys:
        return g, normal(heads, queries), normal(kv_heads, keys), normal(kv_heads, keys)
    whole = normal(heads + 2 * kv_heads, queries)
    return g, whole[:, :heads], whole[:, heads : heads + kv_heads], whole[:, heads + kv_heads :]
