"""Where the rows of heads lie: addresses and strides as kernels take them, and buffers that save copies.

Queries, keys and values are usually views of one product's output, (B, T, H + 2 K, D): of every token, all query
heads, then key heads, then value heads. Kernels read them there, and write their gradients as views of one buffer
of the same layout, which is the product's gradient with nothing copied.
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.array import Array, module_of

__all__ = [
    "Unsupported",
    "address",
    "aligned",
    "check_widths",
    "element_strides",
    "gradients_like",
    "heads_last",
    "joined",
]

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


def address(a: Array) -> int:
    """The address of a's first element."""
    pointer = getattr(a.data, "ptr", None)  # CuPy's
    return a.ctypes.data if pointer is None else int(pointer)


def element_strides(a: Array) -> tuple[int, ...]:
    return tuple(stride // a.dtype.itemsize for stride in a.strides)


def aligned(x_BHTD: Array, xp: Any) -> Array:
    """x if its last axis is dense and its rows begin at multiples of 16 bytes, else a copy of which that holds."""
    *outer, inner = x_BHTD.strides
    fits = inner == x_BHTD.dtype.itemsize and all(stride > 0 and stride % _ALIGNMENT == 0 for stride in outer)
    return x_BHTD if fits and address(x_BHTD) % _ALIGNMENT == 0 else xp.ascontiguousarray(x_BHTD)


def heads_last(shape_BHTD: tuple[int, ...], dtype: Any, xp: Any) -> Array:
    """An uninitialised (B, H, T, D) view of a dense (B, T, H, D): the order that the next product reads."""
    batch, heads, length, width = shape_BHTD
    return xp.empty((batch, length, heads, width), dtype).transpose(0, 2, 1, 3)  # type: ignore[no-any-return]


def gradients_like(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, xp: Any) -> tuple[Array, Array, Array]:
    """Uninitialised gradients: views of one buffer, side by side, where q, k and v are such views."""
    heads, kv_heads = q_BHTD.shape[1], k_BKSD.shape[1]
    if not _is_side_by_side((q_BHTD, k_BKSD, v_BKSD)):
        q, k, v = (heads_last(x.shape, x.dtype, xp) for x in (q_BHTD, k_BKSD, v_BKSD))
        return q, k, v
    batch, _, length, width = q_BHTD.shape
    whole = heads_last((batch, heads + 2 * kv_heads, length, width), q_BHTD.dtype, xp)
    return whole[:, :heads], whole[:, heads : heads + kv_heads], whole[:, heads + kv_heads :]


def joined(parts_BHTD: tuple[Array, ...]) -> Array:
    """The parts beside one another, (B, T, all heads, D): the memory that they are views of, or a copy."""
    xp = module_of(parts_BHTD[0])
    parts_BTHD = [part.transpose(0, 2, 1, 3) for part in parts_BHTD]
    if not _is_side_by_side(parts_BHTD):
        return xp.concatenate(parts_BTHD, axis=2)  # type: ignore[no-any-return]
    first = parts_BTHD[0]
    shape = (*first.shape[:2], sum(part.shape[2] for part in parts_BTHD), first.shape[3])
    return xp.lib.stride_tricks.as_strided(first, shape, first.strides)  # type: ignore[no-any-return]


def _is_side_by_side(parts_BHTD: tuple[Array, ...]) -> bool:
    """Whether these are consecutive heads of a dense (B, T, all heads, D)."""
    first = parts_BHTD[0]
    batch, _, length, width = first.shape
    heads = sum(part.shape[1] for part in parts_BHTD)
    dense = (length * heads * width, width, heads * width, 1)
    expected = address(first)
    for part in parts_BHTD:
        is_next = address(part) == expected and part.dtype == first.dtype and element_strides(part) == dense
        if not is_next or part.shape[::2] != (batch, length) or part.shape[3] != width or math.prod(part.shape) == 0:
            return False
        expected += part.shape[1] * width * part.dtype.itemsize
    return True
