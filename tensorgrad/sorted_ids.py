"""Ids together with the order that sorts them.

The gradient of an embedding adds up the rows of each id in a fixed order, for which it sorts the ids. A loader that
prepares batches ahead can sort them in its own thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tensorgrad.array import Array, device_of, to_device

__all__ = ["SortedIds", "ids_of"]

_NARROW = 1 << 16  # NumPy sorts 16-bit integers by their digits, ten times as fast as wider ones


@dataclass(frozen=True, slots=True)
class SortedIds:
    """Ids for `tensorgrad.embedding`, made by `SortedIds.of`; nothing checks that the order belongs to the ids."""

    ids: Array  # (...) integers, none negative
    order_N: Array  # the stable argsort of the ids, flattened; on the device of the ids

    @classmethod
    def of(cls, ids: Array) -> SortedIds:
        """Sort ids on the CPU."""
        flat = ids.reshape(-1)
        if flat.size and flat.min() >= 0 and flat.max() < _NARROW:
            flat = flat.astype(np.uint16)
        return cls(ids, np.argsort(flat, kind="stable"))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the ids."""
        return self.ids.shape

    def to(self, device: str) -> SortedIds:
        """A copy on `device`; itself if it is there already."""
        if device_of(self.ids) == device:
            return self
        return SortedIds(to_device(self.ids, device), to_device(self.order_N, device))


def ids_of(ids: Array | SortedIds) -> Array:
    """The ids without their order."""
    return ids.ids if isinstance(ids, SortedIds) else ids
