"""Where the rows of heads lie: addresses and strides as kernels take them, and buffers that save copies.

Queries, keys and values usually come of one product, (B, T, H + 2 K, D): of every token, all query heads, then key
heads, then value heads. Kernels read them where they are, and write their gradients as views of one buffer of that
layout, which is the product's gradient with nothing copied.
"""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array, address_of

__all__ = ["Dropout", "Unsupported", "aligned", "check_widths", "gradients_like", "heads_last"]

Dropout = tuple[Array, float]  # of the weights, and the rate
_ALIGNMENT = 16  # bytes: of what one thread loads at once


class Unsupported(Exception):
    """A call that a provider does not take; the message says what of it."""


def check_widths(q_BHTD: Array, v_BKSD: Array, multiple: int, largest: int) -> None:
    """Raises Unsupported unless all rows are of one width, a multiple of `multiple` up to `largest`."""
    width = q_BHTD.shape[3]
    if v_BKSD.shape[3] != width:
        raise Unsupported(f"values of width {v_BKSD.shape[3]}, keys of width {width}")
    if width % multiple or width > largest:
        raise Unsupported(f"heads of width {width}")


def aligned(x_BHTD: Array) -> Array:
    """x if its last axis is dense and its rows begin at multiples of 16 bytes, else a copy of which that holds."""
    *outer, inner = x_BHTD.strides
    fits = inner == x_BHTD.dtype.itemsize and all(stride > 0 and stride % _ALIGNMENT == 0 for stride in outer)
    return x_BHTD if fits and address_of(x_BHTD) % _ALIGNMENT == 0 else x_BHTD.copy()


def heads_last(shape_BHTD: tuple[int, ...], dtype: Any, xp: Any) -> Array:
    """An uninitialised (B, H, T, D) view of a dense (B, T, H, D): the order that the next product reads."""
    batch, heads, length, width = shape_BHTD
    return xp.empty((batch, length, heads, width), dtype).transpose(0, 2, 1, 3)  # type: ignore[no-any-return]


def gradients_like(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, xp: Any) -> tuple[Array, Array, Array]:
    """Uninitialised gradients: views of one buffer, side by side, where their lengths and widths are the same."""
    heads, kv_heads = q_BHTD.shape[1], k_BKSD.shape[1]
    if not q_BHTD.shape[2:] == k_BKSD.shape[2:] == v_BKSD.shape[2:]:
        q, k, v = (heads_last(x.shape, x.dtype, xp) for x in (q_BHTD, k_BKSD, v_BKSD))
        return q, k, v
    batch, _, length, width = q_BHTD.shape
    whole = heads_last((batch, heads + 2 * kv_heads, length, width), q_BHTD.dtype, xp)
    return whole[:, :heads], whole[:, heads : heads + kv_heads], whole[:, heads + kv_heads :]
