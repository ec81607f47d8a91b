"""The fused kernels on CUDA devices.

Each file pairs a source in `cu/` with the functions of the `Kernels` protocol that launch it. What a
kernel does not take (a spread of labels, rows too wide for shared memory) the reference computes.
"""

from tensorgrad.kernels.cuda.activation import gelu, gelu_gradient, silu, silu_gradient, swiglu, swiglu_gradient
from tensorgrad.kernels.cuda.attention import attention, attention_gradient
from tensorgrad.kernels.cuda.cast import cast
from tensorgrad.kernels.cuda.mlp import mlp_activation, mlp_activation_gradient
from tensorgrad.kernels.cuda.norm import layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient
from tensorgrad.kernels.cuda.optimizer import adamw, global_norm
from tensorgrad.kernels.cuda.random import dropout, fold_in, uniform
from tensorgrad.kernels.cuda.rope import rope
from tensorgrad.kernels.cuda.rows import column_sums, fill_rows
from tensorgrad.kernels.cuda.scatter import scatter_add, take_rows
from tensorgrad.kernels.cuda.softmax import (
    cross_entropy,
    cross_entropy_gradient,
    log_softmax,
    log_softmax_gradient,
    softmax,
    softmax_gradient,
)
from tensorgrad.kernels.reference import erf, erfc

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
]
