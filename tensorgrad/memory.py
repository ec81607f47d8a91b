"""The memory of a device: how much is in use, was in use at the peak, and is left."""

from __future__ import annotations

from dataclasses import dataclass

from tensorgrad import array as arrays
from tensorgrad.allocator import shown_bytes, uses
from tensorgrad.errors import DeviceError

__all__ = ["MemoryInfo", "memory_info"]


@dataclass(frozen=True)
class MemoryInfo:
    """The memory of one device, in bytes."""

    used: int  # by the arrays that exist now
    peak: int  # the most that was used since the last `memory_info(..., reset_peak=True)`
    reserved: int  # by this process: what is used, and what CuPy keeps for the next arrays
    free: int  # held by no process
    total: int  # of the device

    def __str__(self) -> str:
        names = ("used", "peak", "reserved", "free", "total")
        return ", ".join(f"{name} {shown_bytes(getattr(self, name))}" for name in names)


def memory_info(device: str = "cuda", *, reset_peak: bool = False) -> MemoryInfo:
    """How much of a GPU's memory is in use. It does not wait for the device.

    With `reset_peak`, what is used now is the peak from now on. Raises DeviceError.
    """
    cupy = arrays.module_on(device)
    if cupy is None:
        raise DeviceError(f"memory_info: expected a GPU, got {device}: the CPU's memory is the operating system's")
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)) as current:
        pool, use = cupy.get_default_memory_pool(), uses[current.id]
        free, total = cupy.cuda.runtime.memGetInfo()
        used, peak = use.ask(pool), use.peak
        if reset_peak:
            use.peak = used
        return MemoryInfo(used, peak, pool.total_bytes(), free, total)
