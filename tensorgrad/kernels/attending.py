"""How queries attend to keys: the one value that every implementation of attention takes beside its arrays."""

from __future__ import annotations

from dataclasses import dataclass

from tensorgrad.array import Array

__all__ = ["Attending"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attending:
    """Attention's options, for queries (B, H, T, D) and keys (B, K, S, D).

    is_causal: query t sees keys 0 .. t; with a mask, only those that the mask lets it see too.
    scale: what the products of queries and keys are multiplied by.
    mask: broadcasts to (B, H, T, S): bool (True: may attend), or added to the scaled scores.
    dropout: keys (R, 2) and a rate: the weights (B, H, T, S) that the kernel `dropout` would drop are dropped.
    """

    is_causal: bool
    scale: float
    mask: Array | None = None
    dropout: tuple[Array, float] | None = None
