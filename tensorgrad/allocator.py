"""The guard around device memory: CuPy's allocator, whatever it is, wrapped once.

What does not fit raises DeviceMemoryError with the sizes, wherever in the library it is asked for, and the most memory
that was in use so far is known.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tensorgrad.errors import DeviceMemoryError

__all__ = ["Use", "available_bytes", "guarded", "shown_bytes", "uses"]


class Use:
    """The memory in use on one device, in bytes: its peak, found with few questions to CuPy's pool.

    The pool adds up all its blocks each time it is asked, so `bound` counts what was allocated since the last answer,
    and nothing that was freed. No more than `bound` can be in use: only if it passes the peak is the pool asked.
    """

    __slots__ = ("bound", "peak")

    def __init__(self) -> None:
        self.bound = self.peak = 0

    def add(self, size: int, pool: Any) -> None:
        """Count an allocation; the device must be the current one."""
        with _lock:
            self.bound += size
            if self.bound > self.peak:
                self.ask(pool)

    def ask(self, pool: Any) -> int:
        """The bytes in use now; the device must be the current one."""
        with _lock:
            self.bound = used = int(pool.used_bytes())
            self.peak = max(self.peak, used)
            return used


_lock = threading.RLock()
uses: defaultdict[int, Use] = defaultdict(Use)  # by device


def guarded(cupy: Any, allocate: Callable[[int], Any]) -> Callable[[int], Any]:
    """CuPy's allocator that notes the peak, and says what to do when there is no more memory."""
    pool = cupy.get_default_memory_pool()
    device_id: Callable[[], int] = cupy.cuda.runtime.getDevice

    def allocate_or_explain(size: int) -> Any:
        try:
            pointer = allocate(size)
        except cupy.cuda.memory.OutOfMemoryError:
            raise _explained(cupy, pool, size) from None
        uses[device_id()].add(pointer.mem.size, pool)
        return pointer

    return allocate_or_explain


def available_bytes(cupy: Any) -> int:
    """The bytes that arrays on the current device can still take: free there, or kept by CuPy's pool for reuse."""
    pool = cupy.get_default_memory_pool()
    free, _ = cupy.cuda.runtime.memGetInfo()
    available = int(free + pool.free_bytes())
    limit = int(pool.get_limit())
    return min(available, limit - int(pool.used_bytes())) if limit else available


def _explained(cupy: Any, pool: Any, size: int) -> DeviceMemoryError:
    free, total = cupy.cuda.runtime.memGetInfo()
    limit = pool.get_limit()
    end = f"a limit of {shown_bytes(limit)}" if limit else f"{shown_bytes(free)} free of {shown_bytes(total)}"
    return DeviceMemoryError(
        f"device memory: expected {shown_bytes(size)} more, got {end}, with {shown_bytes(pool.used_bytes())} in use: "
        "lower the batch or micro-batch size, the context length or the model's size, compute activations again "
        "with recompute, or use a narrower dtype",
        requested=size,
        used=pool.used_bytes(),
        free=free,
        total=total,
    )


def shown_bytes(size: float) -> str:
    """A number of bytes as people read it: "1.5 MiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.2f} GiB"
