"""The device that a GPU benchmark runs on: its name, how time is measured on it, and its measured peaks.

Every benchmark also runs with `--device cpu --small`, in seconds: a rehearsal of the program. Its numbers mean nothing,
and the result says that it is a rehearsal.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, store
from tensorgrad.array import Array, cuda_module, module_of, to_device
from tensorgrad.dtype import as_dtype
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import gemm, providers

__all__ = ["Machine", "arguments", "check_fast"]

PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "nvidia-cudnn-frontend", "torch", "ml_dtypes")
# Dense bfloat16 TFLOP/s with float32 accumulation, by part of the device's name: NVIDIA's data sheets.
DATASHEET_TFLOPS = {"H100 PCIe": 756.0, "H100": 989.4, "H200": 989.4, "GH200": 989.4, "B200": 2250.0, "A100": 312.0}
WARM_UPS = 3


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all GPU benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a rehearsal")
    parser.add_argument("--dtype", help="dtype of activations and products; by default bfloat16, on a CPU float32")
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal")
    parser.add_argument("--allow-slow", action="store_true", help="go on where a fallback provider computes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    return parser


def check_fast() -> None:
    """Raise DeviceError if a slower provider than the first choice has computed anything so far."""
    with providers.requiring_fast():
        problems = providers.fallbacks()
    if problems:
        raise DeviceError(f"{problems[0].need}: expected no fallback, got {problems[0]}: mend that, or --allow-slow")


class Machine:
    """One device, and how time is measured on it."""

    def __init__(self, device: str, *, is_small: bool, dtype: str | None = None) -> None:
        self.device, self.is_small = device, is_small
        self.is_gpu = device != "cpu"
        self.cupy: Any = cuda_module() if self.is_gpu else None
        # NumPy computes 16-bit floats through float32, which would measure something else.
        self.dtype = as_dtype(dtype or ("bfloat16" if self.is_gpu else "float32"))
        self.random = np.random.default_rng(0)

    @property
    def name(self) -> str:
        if not self.is_gpu:
            return "cpu"
        name = self.cupy.cuda.runtime.getDeviceProperties(self.cupy.cuda.Device().id)["name"]
        return name.decode() if isinstance(name, bytes) else str(name)

    def normal(self, *shape: int, dtype: Any = None, scale: float = 1.0) -> Array:
        """Normal random numbers, which repeat after 16 million; a device would compute faster with zeros."""
        size = math.prod(shape)
        block = to_device(self.random.standard_normal(min(size, 1 << 24), np.float32) * np.float32(scale), self.device)
        found = module_of(block).empty(size, dtype or self.dtype)
        for start in range(0, size, block.size):
            found[start : start + block.size] = block[: size - start].astype(found.dtype)
        return found.reshape(shape)

    def integers(self, high: int, *shape: int) -> Array:
        return to_device(self.random.integers(0, high, shape), self.device)

    def milliseconds(self, work: Callable[[], Any], *, repeats: int = 0) -> float:
        """The median time of `work` on the device, after a warm-up; on a GPU from events around each call."""
        for _ in range(WARM_UPS):
            work()
        repeats = repeats or (3 if self.is_small else 20)
        if not self.is_gpu:
            return statistics.median(self._host_ms(work) for _ in range(repeats))
        pairs = []
        for _ in range(repeats):
            start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
            start.record()
            work()
            end.record()
            pairs.append((start, end))
        self.synchronize()
        return statistics.median(self.cupy.cuda.get_elapsed_time(start, end) for start, end in pairs)

    def host_microseconds(self, work: Callable[[], Any], *, repeats: int = 200) -> float:
        """The host's time for a call, without waiting for the device."""
        repeats = 20 if self.is_small else repeats
        work()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        spent = time.perf_counter() - start
        self.synchronize()
        return spent / repeats * 1e6

    def synchronize(self) -> None:
        if self.is_gpu:
            self.cupy.cuda.Device().synchronize()

    def free(self) -> None:
        """Return unused memory to the driver."""
        gc.collect()
        if self.is_gpu:
            self.cupy.get_default_memory_pool().free_all_blocks()

    def peaks(self) -> dict[str, float]:
        """The measured peaks: a copy in GB/s, read and written, and a product of 8192^3 in TFLOP/s."""
        found = {"copy_gb_per_s": self._copy_gb_per_s(), "product_tflop_per_s": self._product_tflop_per_s()}
        self.free()
        return found

    def _copy_gb_per_s(self) -> float:
        source = self.normal((1 << 16 if self.is_small else 1 << 29) // 1024, 1024)
        target = source.copy()

        def copy() -> None:
            target[...] = source

        return 2 * source.nbytes / self.milliseconds(copy) / 1e6

    def _product_tflop_per_s(self) -> float:
        side = 128 if self.is_small else 8192
        a, b = self.normal(side, side), self.normal(side, side)
        return 2 * side**3 / self.milliseconds(lambda: gemm.matmul(a, b)) / 1e9

    def origin(self) -> dict[str, Any]:
        """The device, and the provider of each need, for the result's file."""
        found: dict[str, Any] = {
            "device": self.name,
            "dtype": self.dtype.name,
            "is_rehearsal": not self.is_gpu or self.is_small,
        }
        if self.is_gpu:
            runtime = self.cupy.cuda.runtime
            found |= {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}
        found["providers"] = {
            choice.need: {"chosen": choice.chosen, "rejected": dict(choice.rejected)} for choice in providers.choices()
        }
        found["fallbacks"] = [f"{one.need} by {one.used}: {one.reason}" for one in providers.fallbacks()]
        return found

    def datasheet_tflops(self) -> float | None:
        """The published peak for dense bfloat16, if DATASHEET_TFLOPS lists the device."""
        return next((peak for part, peak in DATASHEET_TFLOPS.items() if part in self.name), None)

    def store(self, name: str, result: dict[str, Any], folder: Path) -> None:
        path = store(name, {"machine": self.origin(), **result}, PACKAGES, folder)
        print(f"written to {path}", flush=True)

    @staticmethod
    def _host_ms(work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3
