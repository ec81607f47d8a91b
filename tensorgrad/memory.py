"""The memory of a device: how much is used, and what is raised when there is no more.

CuPy's allocator, whatever it is, is wrapped once: so what does not fit raises DeviceMemoryError with the sizes,
wherever in the library it is asked for, and the largest use so far is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensorgrad import array as arrays
from tensorgrad.errors import DeviceError, DeviceMemoryError

__all__ = ["MemoryInfo", "memory_info"]


@dataclass(frozen=True)
class MemoryInfo:
    """The memory of one device, in bytes."""

    used: int  # by the arrays that are there
    peak: int  # the most that was used since the last `memory_info(..., reset_peak=True)`
    reserved: int  # by this process: what is used, and what CuPy keeps for the next arrays
    free: int  # that no process has
    total: int  # of the device

    def __str__(self) -> str:
        names = ("used", "peak", "reserved", "free", "total")
        return ", ".join(f"{name} {_shown(getattr(self, name))}" for name in names)


def memory_info(device: str = "cuda", *, reset_peak: bool = False) -> MemoryInfo:
    """How much of a GPU's memory is in use. It does not wait for the device.

    With `reset_peak`, what is used now is the peak from now on. Raises DeviceError.
    """
    cupy = arrays.module_on(device)
    if cupy is None:
        raise DeviceError(f"memory_info: expected a GPU, got {device}: the CPU's memory is the operating system's")
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)) as current:
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        used = pool.used_bytes()
        peak = max(_peaks.get(current.id, 0), used)
        if reset_peak:
            _peaks[current.id] = used
        return MemoryInfo(used, peak, pool.total_bytes(), free, total)


_peaks: dict[int, int] = {}  # by device


def guarded(cupy: Any, allocate: Callable[[int], Any]) -> Callable[[int], Any]:
    """CuPy's allocator that notes the peak, and says what to do where there is no more memory."""
    pool = cupy.get_default_memory_pool()
    device_id: Callable[[], int] = cupy.cuda.runtime.getDevice

    def allocate_or_explain(size: int) -> Any:
        try:
            pointer = allocate(size)
        except cupy.cuda.memory.OutOfMemoryError:
            raise _explained(cupy, pool, size) from None
        device, used = device_id(), pool.used_bytes()
        if used > _peaks.get(device, 0):
            _peaks[device] = used
        return pointer

    return allocate_or_explain


def _explained(cupy: Any, pool: Any, size: int) -> DeviceMemoryError:
    free, total = cupy.cuda.runtime.memGetInfo()
    limit = pool.get_limit()
    end = f"a limit of {_shown(limit)}" if limit else f"{_shown(free)} free of {_shown(total)}"
    return DeviceMemoryError(
        f"device memory: expected {_shown(size)} more, got {end}, with {_shown(pool.used_bytes())} in use: "
        "lower the batch or micro-batch size, the context length or the model's size, compute activations again "
        "with recompute, or use a narrower dtype",
        requested=size,
        used=pool.used_bytes(),
        free=free,
        total=total,
    )


def _shown(size: int) -> str:
    """A number of bytes, as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:,.2f} GiB"
