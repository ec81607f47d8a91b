"""The ops of neural networks. Those that training spends its time in are fused: one kernel forward, one backward.

Every fused op has a definition in basic ops, `<op>_definition`. It is the op's specification, the
tests' oracle, and what a gradient of the gradient is computed by: a vjp that is handed a Tensor is
being recorded, and records the definition's vjp in the place of the kernel's.
"""

from tensorgrad.ops.nn.activation import (
    celu,
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    relu,
    relu6,
    selu,
    silu,
    softplus,
    softsign,
    swiglu,
)
from tensorgrad.ops.nn.attention import rope, scaled_dot_product_attention, self_attention
from tensorgrad.ops.nn.bilinear import bilinear
from tensorgrad.ops.nn.convolution import conv1d
from tensorgrad.ops.nn.cross_entropy import cross_entropy, nll_loss
from tensorgrad.ops.nn.distance import cdist, cosine_similarity, normalize, pairwise_distance
from tensorgrad.ops.nn.dropout import dropout
from tensorgrad.ops.nn.linear_cross_entropy import linear_cross_entropy
from tensorgrad.ops.nn.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from tensorgrad.ops.nn.mlp import mlp
from tensorgrad.ops.nn.norm import group_norm, layer_norm, rms_norm
from tensorgrad.ops.nn.one_hot import one_hot
from tensorgrad.ops.nn.softmax import log_softmax, softmax

__all__ = [
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cdist",
    "celu",
    "conv1d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "group_norm",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear_cross_entropy",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mlp",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pairwise_distance",
    "relu",
    "relu6",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
    "self_attention",
    "selu",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softsign",
    "swiglu",
]
