"""Matrix products: the one place that they all go through, and who computes them.

`cpu`: oneDNN, or the BLAS that NumPy comes with.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.gemm import cpu

__all__ = ["matmul"]


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, leading axes broadcast; ValueError if the shapes do not fit."""
    if isinstance(a, np.ndarray):
        return cpu.matmul(a, b)
    return module_of(a).matmul(a, b)
