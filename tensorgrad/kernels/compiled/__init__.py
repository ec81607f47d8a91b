"""The fused kernels compiled for the CPU by numba (the extra `cpu`): single passes, vectorised, over several cores.

What they do not compile (float64 where an exponential is taken, operands that are not contiguous, dropout)
they pass on to `reference`, call by call. float32 is computed in float32, sums over rows in blocks.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.activation import gelu, gelu_gradient, silu, silu_gradient, swiglu, swiglu_gradient
from tensorgrad.kernels.compiled.attention import attention, attention_gradient
from tensorgrad.kernels.compiled.dropout import dropout
from tensorgrad.kernels.compiled.mlp import mlp_activation, mlp_activation_gradient
from tensorgrad.kernels.compiled.norm import layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient
from tensorgrad.kernels.compiled.optimizer import adamw, global_norm
from tensorgrad.kernels.compiled.rope import rope
from tensorgrad.kernels.compiled.softmax import (
    cross_entropy,
    cross_entropy_gradient,
    log_softmax,
    log_softmax_gradient,
    softmax,
    softmax_gradient,
)
from tensorgrad.kernels.compiled.sums import column_sums
from tensorgrad.kernels.reference import cast, erf, erfc, fill_rows, fold_in, scatter_add, take_rows, uniform

__all__ = [
    "adamw",
    "attention",
    "attention_gradient",
    "cast",
    "column_sums",
    "cross_entropy",
    "cross_entropy_gradient",
    "dropout",
    "erf",
    "erfc",
    "fill_rows",
    "fold_in",
    "gelu",
    "gelu_gradient",
    "global_norm",
    "layer_norm",
    "layer_norm_gradient",
    "log_softmax",
    "log_softmax_gradient",
    "mlp_activation",
    "mlp_activation_gradient",
    "problem",
    "rms_norm",
    "rms_norm_gradient",
    "rope",
    "scatter_add",
    "silu",
    "silu_gradient",
    "softmax",
    "softmax_gradient",
    "swiglu",
    "swiglu_gradient",
    "take_rows",
    "uniform",
    "version",
]


@functools.cache
def problem() -> str:
    """Why these kernels are not used: numba does not compile here, or to something wrong. "": they are."""
    x = np.linspace(-120, 90, 211, dtype=np.float32)
    try:
        found = silu(x)
    except Exception as error:  # whatever a compiler may fail with
        return f"a kernel does not compile: {error}"
    return "" if np.allclose(found, reference.silu(x), rtol=1e-6, atol=1e-43) else "a kernel computed something wrong"


def version() -> str:
    """numba's own."""
    return str(numba.__version__)
