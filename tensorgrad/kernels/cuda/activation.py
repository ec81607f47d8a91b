"""gelu, silu, relu squared, swiglu."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, dense, scalar, vector

__all__ = [
    "gelu",
    "gelu_gradient",
    "launch_elementwise",
    "relu_squared",
    "silu",
    "silu_gradient",
    "swiglu",
    "swiglu_gradient",
]

_THREADS = 256


def gelu(x: Array, approximate: str) -> Array:
    return _elementwise("gelu_tanh" if approximate == "tanh" else "gelu", x)


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    return _elementwise("gelu_tanh_gradient" if approximate == "tanh" else "gelu_gradient", g, x)


def silu(x: Array) -> Array:
    return _elementwise("silu", x)


def silu_gradient(g: Array, x: Array) -> Array:
    return _elementwise("silu_gradient", g, x)


def relu_squared(x: Array) -> Array:
    return _elementwise("relu_squared", x)


def swiglu(x: Array) -> Array:
    x, width = dense(x), x.shape[-1] // 2
    out = module_of(x).empty((*x.shape[:-1], width), x.dtype)
    launch_elementwise("swiglu", out.size, width, (x, out), np.int64(out.size), np.int64(width))
    return out  # type: ignore[no-any-return]


def swiglu_gradient(g: Array, x: Array) -> Array:
    g, x, width = dense(g), dense(x), x.shape[-1] // 2
    out = module_of(x).empty(x.shape, x.dtype)
    launch_elementwise("swiglu_gradient", g.size, width, (g, x, out), np.int64(g.size), np.int64(width))
    return out  # type: ignore[no-any-return]


def _elementwise(name: str, *arrays: Array) -> Array:
    arrays = tuple(map(dense, arrays))
    out = module_of(arrays[-1]).empty(arrays[-1].shape, arrays[-1].dtype)
    launch_elementwise(name, out.size, out.size, (*arrays, out), np.int64(out.size))
    return out  # type: ignore[no-any-return]


def launch_elementwise(name: str, count: int, width: int, arrays: tuple[Array, ...], *sizes: np.int64) -> None:
    """Launch a kernel of activation.cu on `count` elements in rows of `width`."""
    elements = vector(width, *arrays)
    kernel = Kernel("activation.cu", name, {"SCALAR": scalar(arrays[0]), "VECTOR": elements})
    launch(kernel, blocks_for(count, _THREADS * elements), (_THREADS,), *arrays, *sizes)
