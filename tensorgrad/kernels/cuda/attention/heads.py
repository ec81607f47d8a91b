"""The memory of heads: what attention's kernels ask of their operands, and buffers for results that save copies.

Queries, keys and values usually come from one product, (B, T, H + 2 K, D): for each token all query heads, then key
heads, then value heads. Kernels read them where they are, and write their gradients as views of one buffer with the
same layout, which is the product's gradient with nothing copied.
"""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array, address_of

__all__ = ["Unsupported", "aligned", "check_widths", "gradients_like", "heads_last"]

_ALIGNMENT = 16  # bytes that a thread loads at once


class Unsupported(Exception):
    """A provider does not take a call; the message says why."""


def check_widths(q_BHTD: Array, v_BKSD: Array, multiple: int, largest: int) -> None:
    """Raises Unsupported unless all rows have one width, a multiple of `multiple` up to `largest`."""
    width = q_BHTD.shape[3]
    if v_BKSD.shape[3] != width:
        raise Unsupported(f"values of width {v_BKSD.shape[3]}, keys of width {width}")
    if width % multiple or width > largest:
        raise Unsupported(f"heads of width {width}")


def aligned(x_BHTD: Array) -> Array:
    """x if its last axis is dense and its rows begin at multiples of 16 bytes, else such a copy."""
    *outer, inner = x_BHTD.strides
    fits = inner == x_BHTD.dtype.itemsize and all(stride > 0 and stride % _ALIGNMENT == 0 for stride in outer)
    return x_BHTD if fits and address_of(x_BHTD) % _ALIGNMENT == 0 else x_BHTD.copy()


def heads_last(shape_BHTD: tuple[int, ...], dtype: Any, xp: Any) -> Array:
    """An uninitialised (B, H, T, D) view of a dense (B, T, H, D), the order in which the next product reads it."""
    batch, heads, length, width = shape_BHTD
    return xp.empty((batch, length, heads, width), dtype).transpose(0, 2, 1, 3)  # type: ignore[no-any-return]


def gradients_like(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, xp: Any) -> tuple[Array, Array, Array]:
    """Uninitialised gradients: views of one buffer, side by side, if q, k and v have one length and width."""
    heads, kv_heads = q_BHTD.shape[1], k_BKSD.shape[1]
    if not q_BHTD.shape[2:] == k_BKSD.shape[2:] == v_BKSD.shape[2:]:
        q, k, v = (heads_last(x.shape, x.dtype, xp) for x in (q_BHTD, k_BKSD, v_BKSD))
        return q, k, v
    batch, _, length, width = q_BHTD.shape
    whole = heads_last((batch, heads + 2 * kv_heads, length, width), q_BHTD.dtype, xp)
    return whole[:, :heads], whole[:, heads : heads + kv_heads], whole[:, heads + kv_heads :]
