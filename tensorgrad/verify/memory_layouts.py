"""The ways in which an array can lie in memory: an op must be right for all of them, not only for contiguous arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tensorgrad.array import Array, module_of

__all__ = ["EXPANDED", "LAYOUTS", "Layout"]

Layout: TypeAlias = Callable[[Array], Array]


def contiguous(a: Array) -> Array:
    return a.copy()


def reversed_in_memory(a: Array) -> Array:
    backwards: Any = (slice(None, None, -1),) * a.ndim
    return a[backwards].copy()[backwards] if a.ndim else a.copy()


def transposed(a: Array) -> Array:
    return a.T.copy().T


def strided(a: Array) -> Array:
    """Every second element of each row; between them are nans, which would spoil any result."""
    if not a.ndim:
        return a.copy()
    spaced = module_of(a).full((*a.shape[:-1], 2 * a.shape[-1]), float("nan"), a.dtype)
    spaced[..., 1::2] = a
    return spaced[..., 1::2]  # type: ignore[no-any-return]


def expanded(a: Array) -> Array:
    """The first row in place of each row, by a stride of zero: so the values differ from those of `a`."""
    return module_of(a).broadcast_to(a[:1].copy(), a.shape) if a.ndim > 1 else a.copy()


EXPANDED = "expanded"
LAYOUTS: dict[str, Layout] = {
    "contiguous": contiguous,
    "reversed": reversed_in_memory,
    "transposed": transposed,
    "strided": strided,
    EXPANDED: expanded,
}
