"""Counting work: floating-point operations of products, kernels and elementwise functions.

A product of matrices counts a multiplication and an addition per term, 2 M N K. Everything else
counts one per element and operation of its formula, an exponential like an addition: sums count the
elements that go in, all others the elements that come out. Copies, choices of elements and conversions
count nothing. A fused kernel counts the fewest operations that its formula needs, not the operations of its
code, such as the polynomial inside an erf or products with masked keys. Products that a backward
repeats are counted again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["einsum_flops", "kernel_flops", "linalg_flops", "matmul_flops", "seen_pairs"]

Shape = tuple[int, ...]


def matmul_flops(x: Shape, y: Shape, out_size: int) -> int:
    """Operations of a product of (..., M, K) and (..., K, N), or vectors (K,), with `out_size` elements."""
    return 2 * out_size * x[-1]


def einsum_flops(subscripts: str, shapes: list[Shape]) -> int:
    """Operations of an explicit einsum in one step: one product less than operands, and one sum, per index."""
    inputs = subscripts.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return len(inputs) * math.prod(sizes.values())


def linalg_flops(name: str, shape: Shape) -> int:
    """Operations to decompose matrices (..., M, N), to leading order: Golub and Van Loan, "Matrix computations"."""
    if len(shape) < 2:
        return math.prod(shape)
    large, small = max(shape[-2:]), min(shape[-2:])
    return int(math.prod(shape[:-2]) * _DECOMPOSITIONS.get(name, 1) * large * small * small)


# Factors of M N N, where M is the larger size.
_DECOMPOSITIONS = {
    "cholesky": 1 / 3,
    "det": 2 / 3,
    "slogdet": 2 / 3,
    "solve": 2 / 3,
    "inv": 2,
    "qr": 4,  # its factor Q included
    "eigh": 9,
    "eigvalsh": 4 / 3,
    "svd": 14,
}


def seen_pairs(queries: int, keys: int, is_causal: bool) -> int:
    """How many pairs of query and key attention looks at; if causal, query t sees keys 0 .. t."""
    if not is_causal:
        return queries * keys
    full = max(queries - keys, 0)  # queries that see every key
    return full * keys + (queries - full) * (queries - full + 1) // 2


def kernel_flops(name: str, args: tuple[Any, ...]) -> int:
    """Operations of a kernel, named as in `tensorgrad.kernels`, called with arrays of any kind."""
    if name in _PER_ELEMENT:
        return int(_PER_ELEMENT[name] * math.prod(args[0].shape))
    return _BY_RULE[name](*args) if name in _BY_RULE else 0


def _attention(q: Any, k: Any, v: Any, attending: Any) -> int:
    batch, heads, queries, width = map(int, q.shape)
    pairs = batch * heads * seen_pairs(queries, k.shape[2], attending.is_causal)
    # Each pair: its score, scaled, less the largest, its exponential, summed, its share of the output.
    value_width = int(v.shape[3])
    return pairs * (2 * width + 5 + 2 * value_width) + batch * heads * queries * value_width


def _attention_gradient(g: Any, q: Any, k: Any, v: Any, out: Any, logsumexp: Any, attending: Any) -> int:
    batch, heads, queries, width = map(int, q.shape)
    pairs = batch * heads * seen_pairs(queries, k.shape[2], attending.is_causal)
    # The scores again, dv, the gradients of the weights, dq and dk; and six operations between.
    value_width = int(v.shape[3])
    return pairs * (6 * width + 6 + 4 * value_width) + 2 * batch * heads * queries * value_width


def _cross_entropy(logits: Any, *others: Any) -> int:
    return int(4 * math.prod(logits.shape))


def _cross_entropy_gradient(softmax: Any, target: Any, spread: Any, logits: Any, *others: Any) -> int:
    return int(3 * math.prod(logits.shape))


def _swiglu_gradient(g: Any, x: Any) -> int:
    return int(9 * math.prod(g.shape))


def _mlp_activation(x: Any, bias: Any, activation: str, *others: Any) -> int:
    return int(math.prod(x.shape) * (_FORWARD[activation] + (bias is not None)))


def _mlp_activation_gradient(g: Any, x: Any, activation: str, is_rounded: bool, has_bias: bool) -> int:
    return int(math.prod(g.shape) * _BACKWARD[activation] + math.prod(x.shape) * has_bias)


# Per element of x (forward) and of g (backward): the activation's own kernel, and in the gradient the activation again.
_FORWARD = {"gelu": 5, "gelu_tanh": 5, "relu_squared": 2, "swiglu": 2.5}
_BACKWARD = {"gelu": 12, "gelu_tanh": 12, "relu_squared": 4, "swiglu": 10}
# Per element of the first argument.
_PER_ELEMENT = {
    "erf": 1,
    "erfc": 1,
    "gelu": 5,  # x (1 + erf(x sqrt(1/2))) / 2
    "gelu_gradient": 11,
    "silu": 4,  # x / (1 + exp(-x))
    "silu_gradient": 8,
    "swiglu": 2.5,  # silu and a product for each two
    "softmax": 5,  # less the largest, exponential, sum, quotient
    "softmax_gradient": 4,  # y (g - sum(y g))
    "log_softmax": 5,
    "log_softmax_gradient": 4,
    "layer_norm": 7,  # mean, less it, square, sum, by the deviation, weight, bias
    "layer_norm_gradient": 12,
    "rms_norm": 4,  # square, sum, by its root, weight
    "rms_norm_gradient": 9,
    "column_sums": 1,
    "dropout": 1,
    "rope": 3,
    "global_norm": 2,
    "adamw": 14,
}
_BY_RULE: dict[str, Callable[..., int]] = {
    "attention": _attention,
    "attention_gradient": _attention_gradient,
    "cross_entropy": _cross_entropy,
    "cross_entropy_gradient": _cross_entropy_gradient,
    "mlp_activation": _mlp_activation,
    "mlp_activation_gradient": _mlp_activation_gradient,
    "swiglu_gradient": _swiglu_gradient,
    "scatter_add": lambda buffer, index, values: math.prod(values.shape),
}
