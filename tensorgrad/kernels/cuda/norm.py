"""layer_norm, rms_norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, blocks_for, dense, scalar, vector, wide_dtype
from tensorgrad.kernels.cuda.rows import add_partials
from tensorgrad.kernels.providers import fell_back

__all__ = ["layer_norm", "layer_norm_gradient", "rms_norm", "rms_norm_gradient"]

_WARPS = 4  # in a block
_GRADIENT_BLOCKS = 512  # at most: each leaves rows of sums to add
_PLACES = WARP * 8  # columns that a warp reads at once, at most
_MAX_SHARED_BYTES = 96 * 1024  # every architecture from sm_80 on has it for a block


def layer_norm(x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float) -> tuple[Array, Array, Array]:
    out, mean, rstd = _forward("layer_norm", x_NC, (weight_C, bias_C), eps, num_statistics=2)
    return out, mean, rstd


def rms_norm(x_NC: Array, weight_C: Array | None, eps: float) -> tuple[Array, Array]:
    out, rstd = _forward("rms_norm", x_NC, (weight_C,), eps, num_statistics=1)
    return out, rstd


def _forward(name: str, x_NC: Array, parameters: tuple[Array | None, ...], eps: float, *, num_statistics: int) -> Any:
    """The output, and (N, 1) statistics."""
    x, parameters = dense(x_NC), tuple(map(_dense, parameters))
    xp, (rows, width), wide = module_of(x), x.shape, wide_dtype(x)
    out, *statistics = xp.empty(x.shape, x.dtype), *(xp.empty((rows, 1), wide) for _ in range(num_statistics))
    sizes = (np.int64(rows), np.int64(width), wide(eps))
    kernel = _kernel(name, x, width, x, *parameters, out)
    launch(kernel, blocks_for(rows, _WARPS), (_WARPS * WARP,), x, *parameters, out, *statistics, *sizes)
    return out, *statistics


def layer_norm_gradient(
    g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array, rstd_N1: Array
) -> tuple[Array, Array | None, Array]:
    if not _fits("layer_norm", x_NC, kinds=2):
        return reference.layer_norm_gradient(g_NC, x_NC, weight_C, mean_N1, rstd_N1)
    dx, (dbias, *dweight) = _gradient("layer_norm_gradient", g_NC, x_NC, weight_C, (mean_N1, rstd_N1))
    return dx, dweight[0] if dweight else None, dbias


def rms_norm_gradient(g_NC: Array, x_NC: Array, weight_C: Array | None, rstd_N1: Array) -> tuple[Array, Array | None]:
    if not _fits("rms_norm", x_NC, kinds=1):
        return reference.rms_norm_gradient(g_NC, x_NC, weight_C, rstd_N1)
    dx, dweight = _gradient("rms_norm_gradient", g_NC, x_NC, weight_C, (rstd_N1,))
    return dx, dweight[0] if len(dweight) else None


def _dense(a: Array | None) -> Array | None:
    return None if a is None else dense(a)


def _gradient(
    name: str, g_NC: Array, x_NC: Array, weight_C: Array | None, statistics: tuple[Array, ...]
) -> tuple[Array, Array]:
    """dx, and the gradients of the bias, if there is a mean, and of the weight, if there is one, as rows."""
    g, x, weight = dense(g_NC), dense(x_NC), _dense(weight_C)
    xp, (rows, width), kinds = module_of(x), x.shape, len(statistics) - (weight_C is None)
    warps = _warps(x, len(statistics))  # with or without a weight, so that the order of sums is the same
    dx, wide = xp.empty(x.shape, x.dtype), wide_dtype(x)
    blocks = max(1, min(_GRADIENT_BLOCKS, -(-rows // warps)))
    partials = xp.empty((blocks, kinds, width), wide)
    launch(
        _kernel(name, x, width, g, x, weight, dx),
        (blocks,),
        (warps * WARP,),
        *(g, x, weight, *map(dense, statistics), dx, partials, np.int64(rows), np.int64(width)),
        shared_bytes=warps * _sums_bytes(x, kinds),
    )
    sums = xp.empty((kinds, width), x.dtype)
    if kinds:
        add_partials(partials.reshape(blocks, -1), sums)
    return dx, sums


def _fits(name: str, x_NC: Array, kinds: int) -> bool:
    """Whether a row's sums fit in shared memory; if not, it reports that the reference computes them."""
    if not (fits := _warps(x_NC, kinds) > 0):
        fell_back("kernels", "reference", f"the gradient of {name} has rows of {x_NC.shape[1]} {x_NC.dtype.name}")
    return fits


def _warps(x_NC: Array, kinds: int) -> int:
    """How many warps of a block have room for their sums in shared memory; 0 for rows that are too wide."""
    return min(_WARPS, _MAX_SHARED_BYTES // _sums_bytes(x_NC, kinds))


def _sums_bytes(x_NC: Array, kinds: int) -> int:
    """The size of a warp's sums, each row of them rounded up to what its lanes can read at once."""
    places: int = -(-x_NC.shape[1] // _PLACES) * _PLACES
    return max(1, kinds * places * np.dtype(wide_dtype(x_NC)).itemsize)


def _kernel(name: str, x: Array, width: int, *arrays: Array | None) -> Kernel:
    return Kernel("norm.cu", name, {"SCALAR": scalar(x), "VECTOR": vector(width, *arrays)})
