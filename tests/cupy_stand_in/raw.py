"""`cupy.RawModule` without machine code: its kernels take CuPy's and CUDA's arguments, and run in the shim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tensorgrad.kernels.cuda import launch
from tensorgrad.kernels.cuda.launch import Kernel
from tests.cuda_shim import Shim
from tests.cupy_stand_in.array import ndarray

__all__ = ["CUDADriverError", "loading"]

_compiled: dict[str, tuple[str, dict[str, str | int]]] = {}  # by path: the source and the macros


class CUDADriverError(RuntimeError): ...


class RawKernel:
    """What a module's `get_function` gives."""

    def __init__(self, kernel: Kernel, shim: Shim) -> None:
        self._kernel, self._shim = kernel, shim
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if type(grid) is not tuple or type(block) is not tuple:
            raise TypeError("Argument 'grid' has incorrect type")
        for a in args:
            if type(a) is not ndarray and not isinstance(a, np.generic):
                raise TypeError(f"Unsupported type {type(a)}")
        self._shim(self._kernel, grid, block, tuple(a._host if type(a) is ndarray else a for a in args), shared_mem)


@contextmanager
def loading(cupy: Any, seed: int = 0) -> Iterator[list[str]]:
    """A context in which kernels compile to nothing, load and launch as in CuPy; yields the paths loaded so far."""
    shim, loaded = Shim(seed), []

    class RawModule:
        def __init__(self, *, path: str) -> None:
            self._source, self._defines = _compiled[path]
            loaded.append(path)

        def get_function(self, name: str) -> RawKernel:
            return RawKernel(Kernel(self._source, name, self._defines), shim)

    def cubin(source: str, defines: Mapping[str, str | int], architecture: str) -> Path:
        path = f"{source} {sorted(defines.items())} {architecture}"
        _compiled[path] = (source, dict(defines))
        return Path(path)

    caches = (launch._function, launch._module)
    for cache in caches:
        cache.cache_clear()
    try:
        with patch.object(cupy, "RawModule", RawModule, create=True), patch.object(launch, "cubin", cubin):
            yield loaded
    finally:
        for cache in caches:
            cache.cache_clear()
