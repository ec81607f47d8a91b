"""Matrix products: the one place that they all go through."""

from __future__ import annotations

from tensorgrad.array import Array, module_of

__all__ = ["matmul"]


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, leading axes broadcast; ValueError if the shapes do not fit."""
    return module_of(a).matmul(a, b)  # type: ignore[no-any-return]
