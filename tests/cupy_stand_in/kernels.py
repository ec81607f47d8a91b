"""CUDA kernels and products on the stand-in's arrays: in the shim, and by the plans' interpreter, on their memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgrad.kernels import cuda_kernels
from tensorgrad.kernels.cuda import providers
from tensorgrad.kernels.cuda.launch import Kernel, running_with
from tensorgrad.kernels.gemm import cuda as products
from tensorgrad.kernels.gemm.plan import Product
from tests.cuda_shim import Shim
from tests.cupy_stand_in.array import ndarray
from tests.interpreter import interpret

__all__ = ["choosing_anew", "launching"]


@contextmanager
def launching(seed: int = 0) -> Iterator[Shim]:
    """Within it kernels run in the shim and products as their plans say, on memory of the device alone."""
    shim = Shim(seed)

    def host(name: str, a: Any) -> Any:
        if isinstance(a, np.ndarray):
            raise TypeError(f"{name}: Unsupported type <class 'numpy.ndarray'>: memory of the host")
        return a._host if type(a) is ndarray else a

    def run(kernel: Kernel, grid: Any, block: Any, arguments: tuple[Any, ...], shared_bytes: int) -> None:
        shim(kernel, grid, block, tuple(host(kernel.name, a) for a in arguments), shared_bytes)

    def multiply(product: Product) -> None:
        arrays = {name: host("product", getattr(product, name)) for name in ("a", "b", "out", "bias", "row_sums")}
        interpret(replace(product, **arrays))

    with choosing_anew(), running_with(run), products.running_with(multiply):
        yield shim


@contextmanager
def choosing_anew() -> Iterator[None]:
    """Within it, and after it, providers are chosen as if nothing had been."""
    _forget()
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    cuda_kernels.cache_clear()
    products._provider.cache_clear()
    providers.forget()
