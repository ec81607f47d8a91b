"""AdamW over flat buffers, and their norm."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, address_of, module_of
from tensorgrad.kernels.cuda.cast import cast
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, blocks_for, dense, scalar, vector

__all__ = ["adamw", "global_norm"]

_THREADS = 256
_MAX_BLOCKS = 2048  # threads loop over the rest; a size alone decides their number, so sums have one order
_SCRATCH_BYTES = _THREADS // WARP * 8


def global_norm(flat: Array) -> Array:
    flat, xp = dense(flat), module_of(flat)
    kernel, blocks = _kernel("squares", flat)
    partials, out = xp.empty(blocks, np.float64), xp.empty((), np.float64)
    root = Kernel("optimizer.cu", "root_of_sum", kernel.defines)
    launch(kernel, (blocks,), (_THREADS,), flat, partials, np.int64(flat.size), shared_bytes=_SCRATCH_BYTES)
    launch(root, (1,), (_THREADS,), partials, out, np.int64(blocks), shared_bytes=_SCRATCH_BYTES)
    return out  # type: ignore[no-any-return]


def adamw(
    parameters: Array,
    gradients: Array,
    first_moment: Array,
    second_moment: Array,
    rates_4: Array,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    copy: Array | None = None,
) -> None:
    numbers = (np.float64(beta1), np.float64(beta2), np.float64(eps), np.float64(weight_decay))
    buffers = (parameters, gradients, first_moment, second_moment)
    is_cast_after = copy is not None and np.float64 in (parameters.dtype, copy.dtype)
    kernel, blocks = _kernel("adamw", *buffers, copy=None if is_cast_after else copy)
    pointers = (*buffers, None if is_cast_after else copy)
    launch(kernel, (blocks,), (_THREADS,), *pointers, rates_4, *numbers, np.int64(parameters.size))
    if copy is not None and is_cast_after:
        cast(parameters, copy.dtype, copy)


def _kernel(name: str, *buffers: Array, copy: Array | None = None) -> tuple[Kernel, int]:
    """A kernel over flat buffers, and over one of another dtype if given; and the number of its blocks."""
    size, like = buffers[0].size, buffers[0]
    elements = vector(size, *buffers)
    defines: dict[str, str | int] = {"SCALAR": scalar(like)}
    if copy is not None:
        defines["COPY"] = scalar(copy)
        elements = elements if address_of(copy) % (elements * copy.itemsize) == 0 else 1
    blocks = min(_MAX_BLOCKS, max(1, *blocks_for(size, _THREADS * elements)))
    return Kernel("optimizer.cu", name, {**defines, "VECTOR": elements}), blocks
