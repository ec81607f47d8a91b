"""AdamW over flat buffers, and their norm."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, blocks_for, dense, scalar

__all__ = ["adamw", "global_norm"]

_THREADS = 256
_NORM_BLOCKS = 1024  # at most, and always the same number for a size: sums have one order
_SCRATCH_BYTES = _THREADS // WARP * 8


def global_norm(flat: Array) -> Array:
    flat, xp = dense(flat), module_of(flat)
    blocks = min(_NORM_BLOCKS, max(1, *blocks_for(flat.size, _THREADS)))
    partials, out = xp.empty(blocks, np.float64), xp.empty((), np.float64)
    squares, root = (Kernel("optimizer.cu", name, {"SCALAR": scalar(flat)}) for name in ("squares", "root_of_sum"))
    launch(squares, (blocks,), (_THREADS,), flat, partials, np.int64(flat.size), shared_bytes=_SCRATCH_BYTES)
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
) -> None:
    numbers = (np.float64(beta1), np.float64(beta2), np.float64(eps), np.float64(weight_decay))
    kernel = Kernel("optimizer.cu", "adamw", {"SCALAR": scalar(parameters)})
    buffers = (parameters, gradients, first_moment, second_moment, rates_4)
    launch(kernel, blocks_for(parameters.size, _THREADS), (_THREADS,), *buffers, *numbers, np.int64(parameters.size))
