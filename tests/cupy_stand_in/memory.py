"""Device memory: blocks counted by their pools, which share a device that has an end, and pinned memory of the host."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = [
    "Block",
    "MemoryPointer",
    "MemoryPool",
    "OutOfMemoryError",
    "PinnedMemoryPointer",
    "block",
    "free_on_device",
    "pool",
]

TOTAL = 1 << 33  # bytes of the device
_UNIT = 512  # CuPy's blocks are multiples of this size


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        self._size, self._total, self._limit = size, total, limit
        end = f", limit set to: {limit:,} bytes)." if limit else ")."
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{end}")


class Block:
    """Bytes that arrays share, given back to their pool when the last of them is gone."""

    __slots__ = ("__weakref__", "_bytes", "size")

    def __init__(self, size: int, owner: MemoryPool) -> None:
        self.size = -(-size // _UNIT) * _UNIT
        self._bytes: Any = None
        owner.take(self.size)
        weakref.finalize(self, owner.give, self.size)

    @property
    def bytes(self) -> Any:
        """Memory that arrays are laid over by address; for a new array it is NumPy's."""
        if self._bytes is None:
            self._bytes = np.full(max(self.size, 1), 0xFF, np.uint8)
        return self._bytes


class MemoryPool:
    """`cupy.cuda.MemoryPool`: used bytes, free bytes that it keeps, and a limit to both (0: all of the device)."""

    def __init__(self) -> None:
        self._used = self._free = self._limit = 0
        _pools.add(self)

    def take(self, size: int) -> None:
        fresh = max(0, size - self._free)
        if not self._has_room(fresh):
            fresh, self._free = size, 0  # CuPy gives back what this pool keeps, and tries again
            if not self._has_room(fresh):
                raise OutOfMemoryError(size, self._used, self._limit)
        self._free -= size - fresh
        self._used += size

    def _has_room(self, fresh: int) -> bool:
        return fresh <= free_on_device() and self.total_bytes() + fresh <= (self._limit or TOTAL)

    def give(self, size: int) -> None:
        self._used -= size
        self._free += size

    def malloc(self, size: int) -> MemoryPointer:
        return MemoryPointer(Block(size, self), 0)

    def used_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return self._free

    def total_bytes(self) -> int:
        return self._used + self._free

    def free_all_blocks(self, stream: Any = None) -> None:
        self._free = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(TOTAL * fraction) if fraction is not None else size or 0

    def get_limit(self) -> int:
        return self._limit


_pools: weakref.WeakSet[MemoryPool] = weakref.WeakSet()  # a pool that is gone has given back what it kept


def free_on_device() -> int:
    """The bytes that no pool holds: what one keeps unused is no other's."""
    return TOTAL - sum(each.total_bytes() for each in list(_pools))


class MemoryPointer:
    """A place in a block, as `cupy.ndarray(memptr=...)` takes it."""

    def __init__(self, mem: Block, offset: int) -> None:
        self.mem, self.offset = mem, offset

    @property
    def ptr(self) -> int:
        return int(self.mem.bytes.ctypes.data) + self.offset

    @property
    def device_id(self) -> int:
        return 0

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + offset)

    def __int__(self) -> int:
        return self.ptr


class PinnedMemoryPointer(bytearray):
    """Pinned host memory, for `numpy.frombuffer(p, dtype, count)`."""

    @property
    def ptr(self) -> int:
        return int(np.frombuffer(self, np.uint8).ctypes.data)

    def size(self) -> int:
        return len(self)


pool = MemoryPool()
_allocator: list[Any] = [pool.malloc]


class _Allocator(threading.local):
    """The allocator of each thread."""

    allocate: Any = None


_own = _Allocator()


def get_allocator() -> Any:
    return _own.allocate or _allocator[0]


def set_allocator(allocator: Any = None) -> None:
    _allocator[0] = allocator or pool.malloc


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """A context in which this thread allocates with another allocator."""
    before, _own.allocate = _own.allocate, allocator
    try:
        yield
    finally:
        _own.allocate = before


def block(size: int) -> Block:
    """Fresh memory from the current allocator."""
    found: Block = get_allocator()(size).mem
    return found
