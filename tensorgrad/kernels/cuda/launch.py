"""Kernels by name: compiled at first use, launched on the current stream.

    launch(Kernel("norm.cu", "layer_norm", {"SCALAR": "float"}), grid, block, x, out, np.int64(rows))

An argument is an array, passed by its address; a NumPy scalar of the kernel's own type; or None, a null pointer.
Arrays are CuPy's, on a GPU. Within `running_with` something else runs the sources: the tests run them on the CPU.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgrad.array import cuda_module
from tensorgrad.errors import DeviceError
from tensorgrad.kernels.cuda.compile import cubin

__all__ = ["Kernel", "launch", "running_with"]

Grid = tuple[int, ...]
Runner = Callable[["Kernel", Grid, Grid, tuple[Any, ...], int], None]

_DEFAULT_SHARED_BYTES = 48 * 1024  # of shared memory that a kernel may use without asking


@dataclass(frozen=True)
class Kernel:
    """A function in a source that is compiled with these macros defined."""

    source: str  # below kernels/cuda/cu
    name: str
    defines: Mapping[str, str | int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.source, self.name, tuple(sorted(self.defines.items()))))


def launch(kernel: Kernel, grid: Grid, block: Grid, *arguments: Any, shared_bytes: int = 0) -> None:
    """Start `kernel` on `grid` blocks of `block` threads; it may still run when this returns.

    Args:    grid, block: one to three sizes; nothing is launched if one is 0.
             shared_bytes: the bytes of shared memory for each block.
    Raises:  DeviceError: no device, arrays on another than the current one, or the source does not compile.
    """
    if 0 not in grid:
        _runner.get()(kernel, grid, block, arguments, shared_bytes)


@contextmanager
def running_with(runner: Runner) -> Iterator[None]:
    """Within it `runner` runs the kernels, not a device."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def _on_device(kernel: Kernel, grid: Grid, block: Grid, arguments: tuple[Any, ...], shared_bytes: int) -> None:
    cupy = cuda_module()
    device = cupy.cuda.runtime.getDevice()
    for value in arguments:
        if isinstance(value, cupy.ndarray) and value.data.device_id != device:
            raise DeviceError(
                f"{kernel.name}: expected arrays on the current device, cuda:{device}, got one on "
                f"cuda:{value.data.device_id}: compute within cupy.cuda.Device({value.data.device_id})"
            )
    function = _function(kernel, device)
    if shared_bytes > _DEFAULT_SHARED_BYTES and function.max_dynamic_shared_size_bytes < shared_bytes:
        function.max_dynamic_shared_size_bytes = shared_bytes
    values = tuple(np.uint64(0) if value is None else value for value in arguments)
    function(grid, block, values, shared_mem=shared_bytes)


@functools.cache
def _function(kernel: Kernel, device: int) -> Any:
    return _module(kernel.source, tuple(sorted(kernel.defines.items())), device).get_function(kernel.name)


@functools.cache
def _module(source: str, defines: tuple[tuple[str, str | int], ...], device: int) -> Any:
    cupy = cuda_module()
    return cupy.RawModule(path=str(cubin(source, dict(defines), cupy.cuda.Device(device).compute_capability)))


_runner: contextvars.ContextVar[Runner] = contextvars.ContextVar("_runner", default=_on_device)
