"""AdamW over flat buffers, and their norm."""

from __future__ import annotations

import math

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.reference.blocks import for_blocks


def global_norm(flat: Array) -> float:
    xp = module_of(flat)

    def work(rows: slice) -> float:
        part = flat[rows].astype(xp.float64, copy=False)
        return float(xp.einsum("n,n->", part, part))  # not dot: BLAS would cut it by its threads

    return math.sqrt(sum(for_blocks(flat, work)))


def adamw(
    parameters: Array,
    gradients: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    gradient_scale: float,
    step: int,
) -> None:
    xp = module_of(parameters)
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step

    def work(rows: slice) -> None:
        p, m, v = parameters[rows], first_moment[rows], second_moment[rows]
        g = gradients[rows] * gradient_scale
        m *= beta1
        m += (1 - beta1) * g
        g *= g
        g *= 1 - beta2
        v *= beta2
        v += g
        # p -= lr (m / c1) / (sqrt(v / c2) + eps), after the decoupled decay p -= lr wd p
        xp.divide(v, correction2, out=g)
        xp.sqrt(g, out=g)
        g += eps
        xp.divide(m, g, out=g)
        g *= learning_rate / correction1
        if weight_decay:
            p *= 1 - learning_rate * weight_decay
        p -= g

    for_blocks(parameters, work)
