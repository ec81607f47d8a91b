"""The fused kernels compiled for the CPU by numba (the extra `cpu`): single passes, vectorised, over several cores.

The reference computes the kernels that are not compiled, and the calls that a compiled one does not take (float64
where it needs an exponential, operands that are not contiguous). float32 is computed in float32, sums over rows in
blocks.
"""

# ruff: noqa: F403  a file's __all__ names its kernels

from __future__ import annotations

import functools

import numba
import numpy as np

from tensorgrad.kernels import reference
from tensorgrad.kernels.reference import *

# isort: split
# These replace the reference's.
from tensorgrad.kernels.compiled.activation import *
from tensorgrad.kernels.compiled.activation import silu
from tensorgrad.kernels.compiled.attention import *
from tensorgrad.kernels.compiled.dropout import *
from tensorgrad.kernels.compiled.mlp import *
from tensorgrad.kernels.compiled.norm import *
from tensorgrad.kernels.compiled.optimizer import *
from tensorgrad.kernels.compiled.rope import *
from tensorgrad.kernels.compiled.softmax import *
from tensorgrad.kernels.compiled.sums import *


@functools.cache
def problem() -> str:
    """Why these kernels cannot be used: numba does not compile here, or computes something wrong. "": they can."""
    x = np.linspace(-120, 90, 211, dtype=np.float32)
    try:
        found = silu(x)
    except Exception as error:  # a compiler may fail with anything
        return f"a kernel does not compile: {error}"
    return "" if np.allclose(found, reference.silu(x), rtol=1e-6, atol=1e-43) else "a kernel computed something wrong"


def version() -> str:
    """numba's version."""
    return str(numba.__version__)
