"""The CUDA kernels called with NumPy arrays: in the shim as they are, or on a GPU through copies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.array import to_device, to_numpy
from tensorgrad.kernels import cuda

__all__ = ["OnDevice", "OnHost"]


class OnHost:
    """The functions of `tensorgrad.kernels.cuda`, unchanged."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self.call, getattr(cuda, name))

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return function(*args, **options)


class OnDevice(OnHost):
    """The functions compute on the device. What one writes to an argument is copied back.

    bfloat16 is its bits, in uint16, which the device has as its own dtype.
    """

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        moved, named = [_moved(a) for a in args], {name: _moved(a) for name, a in options.items()}
        out = _returned(function(*moved, **named))
        for host, on_device in zip((*args, *options.values()), (*moved, *named.values()), strict=True):
            if isinstance(host, np.ndarray):
                host[...] = _returned(on_device)
        return out


def _moved(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_moved, x))
    if not isinstance(x, np.ndarray):
        return x
    turn = _by_stride(x)
    there: Any = to_device(x if x.ndim < 2 else np.ascontiguousarray(x.transpose(turn)), "cuda")
    if x.dtype == np.uint16:
        there = there.view("bfloat16")
    return there if x.ndim < 2 else there.transpose(np.argsort(turn).tolist())


def _returned(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_returned, x))
    if not hasattr(x, "dtype"):
        return x
    turn = _by_stride(x)
    there = to_numpy(x if x.ndim < 2 else x.transpose(turn))
    bits = there.view(np.uint16) if there.dtype.name == "bfloat16" else there
    return bits if x.ndim < 2 else bits.transpose(np.argsort(turn))


def _by_stride(x: Any) -> list[int]:
    """The axes of x in the order of memory, so that a copy gets the same order."""
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
