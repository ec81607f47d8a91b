"""Launch CUDA kernels on the memory of the stand-in's arrays, in the shim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.kernels import providers
from tensorgrad.kernels.cuda.launch import Kernel, running_with
from tests.cuda_shim import Shim
from tests.cupy_stand_in import graphs
from tests.cupy_stand_in.array import ndarray

__all__ = ["choosing_anew", "launching"]


@contextmanager
def launching(seed: int = 0) -> Iterator[Shim]:
    """A context in which kernels run in the shim. A launch takes device memory and numbers."""
    shim = Shim(seed)

    def run(kernel: Kernel, grid: Any, block: Any, arguments: tuple[Any, ...], shared_bytes: int) -> None:
        if any(isinstance(a, np.ndarray) for a in arguments):
            raise TypeError(f"{kernel.name}: Unsupported type <class 'numpy.ndarray'>: memory of the host")
        hosts = tuple(a._host if type(a) is ndarray else a for a in arguments)
        graphs.saved(*(a for a in hosts if isinstance(a, np.ndarray)))
        shim(kernel, grid, block, hosts, shared_bytes)
        graphs.note(lambda: shim(kernel, grid, block, hosts, shared_bytes))

    with choosing_anew(), running_with(run):
        yield shim


@contextmanager
def choosing_anew() -> Iterator[None]:
    """Forget which providers were chosen, on entry and on exit."""
    providers.forget()
    try:
        yield
    finally:
        providers.forget()
