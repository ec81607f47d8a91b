"""Rewritings that change no result: by the fault's id, why the program is as right as before."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "kernels/reference/scatter.py:scatter_add:wrong comparison:1": (
        "integers take NumPy's slow way, in the same order; a mask names no element twice and never comes here"
    ),
    "transforms.py:_zeros:sign:1": "-0 in the place of 0, which no comparison tells apart",
    "transforms.py:_sources:wrong comparison:1": "no node has the serial at which the function began",
    "backward.py:_sum:wrong comparison:1": "at exactly that size, a sum in place or not",
    "ops/nn/cross_entropy.py:losses_and_gradient:wrong dtype:1": "NumPy makes it int64 beside -1; CuPy need not",
    "ops/nn/cross_entropy.py:losses_and_gradient:wrong dtype:9": "the kernel rounds to the dtype of the logits anyway",
    "ops/linalg/determinant.py:_cofactors_along.vjp_x:lost history:1": "a fourth order, which det does not claim",
    "ops/linalg/determinant.py:_cofactors_along.<lambda>:lost history:1": "a fourth order, which det does not claim",
    "ops/nn/cross_entropy.py:cross_entropy_definition:factor or offset:1": "the loss of an ignored row, a constant",
    "ops/reduce/running.py:cumulative_prod.vjp:sign:1": "the gradient of no element at all",
    "transforms.py:_zeros:factor or offset:1": "0 twice over is 0 as well",
    "ops/sorting.py:sort.<lambda>:wrong branch:1": "a permutation names nothing twice: the slow way gives the same",
    "ops/nn/cross_entropy.py:_picked_losses:factor or offset:1": "what an ignored position picks, which weighs 0",
    "ops/linalg/decomposition.py:cholesky.vjp:transposed:2": "a symmetric matrix, up to its rounding",
    "kernels/reference/scatter.py:scatter_add:wrong branch:7": "the way of a GPU's arrays gives the same sums",
    "ops/linalg/norm.py:vector_norm.vjp:factor or offset:10": "the power of a quotient, written as that of its parts",
    "ops/linalg/determinant.py:_cofactors_along.vjp_x:factor or offset:1": "the other axis of a square matrix",
    "ops/elementwise/exponential.py:pow.vjp_y:wrong comparison:5": "a 0 went the way of the line before",
    "ops/elementwise/trigonometry.py:atan2.turned:factor or offset:2": "at the origin 0 is divided, by 1 or by 2",
    "ops/nn/activation.py:_mish_gradient:lost history:1": "it computes on arrays, which have no history",
    "ops/nn/activation.py:gelu_definition:factor or offset:1": "sigmoid is 0 or 1 from far below 40 on",
}
