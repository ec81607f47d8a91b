"""Dropout at one rate, with independent random numbers for each place in the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import tensorgrad
from tensorgrad import Key, Tensor
from tensorgrad.random import RowKeys

__all__ = ["Dropout"]


@dataclass(frozen=True, slots=True)
class Dropout:
    """Sets each element to zero with probability `rate`, and divides the others by 1 - rate."""

    rate: float
    key: Key | RowKeys

    def at(self, place: int) -> Dropout:
        """The dropout for part number `place` of this place, with its own masks."""
        return replace(self, key=self.key.fold_in(place))

    def __call__(self, x: Tensor) -> Tensor:
        return tensorgrad.dropout(x, self.key, rate=self.rate)
