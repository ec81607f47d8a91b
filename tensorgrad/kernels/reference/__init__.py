"""The fused kernels in plain array expressions: their definition, on NumPy and on CuPy."""

from tensorgrad.kernels.reference.activation import (
    gelu,
    gelu_gradient,
    silu,
    silu_gradient,
    swiglu,
    swiglu_gradient,
)
from tensorgrad.kernels.reference.attention import attention, attention_gradient, rope
from tensorgrad.kernels.reference.cast import cast
from tensorgrad.kernels.reference.dropout import dropout
from tensorgrad.kernels.reference.error_function import erf, erfc
from tensorgrad.kernels.reference.mlp import mlp_activation, mlp_activation_gradient
from tensorgrad.kernels.reference.norm import layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient
from tensorgrad.kernels.reference.optimizer import adamw, global_norm
from tensorgrad.kernels.reference.philox import fold_in, uniform
from tensorgrad.kernels.reference.rows import column_sums, fill_rows
from tensorgrad.kernels.reference.scatter import scatter_add, take_rows
from tensorgrad.kernels.reference.softmax import (
    cross_entropy,
    cross_entropy_gradient,
    log_softmax,
    log_softmax_gradient,
    softmax,
    softmax_gradient,
)

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
