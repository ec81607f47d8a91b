"""rope."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, dense, scalar

__all__ = ["rope"]

_THREADS = 256


def rope(x: Array, cos_TE: Array, sin_TE: Array, out: Array | None = None) -> Array:
    lead = x[None, None] if x.ndim == 2 else x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
    if lead.strides[-1] != lead.itemsize:
        lead = dense(lead)
    # `target` has the memory order of x: queries and keys are transposed views.
    target: Array = module_of(x).empty_like(lead) if out is None else out.reshape(lead.shape)
    _, heads, time, width = lead.shape
    count = lead.size // 2
    strides = [step // lead.itemsize for a in (lead, target) for step in a.strides[:3]]
    sizes = map(np.int64, (heads, time, width // 2, count, *strides))
    kernel = Kernel("rope.cu", "rope", {"SCALAR": scalar(lead)})
    launch(kernel, blocks_for(count, _THREADS), (_THREADS,), lead, target, dense(cos_TE), dense(sin_TE), *sizes)
    return target.reshape(x.shape)
