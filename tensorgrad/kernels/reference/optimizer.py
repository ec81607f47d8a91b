"""AdamW over flat buffers, and their norm."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.array import Array, module_of, own
from tensorgrad.kernels.reference.blocks import for_blocks

__all__ = ["adamw", "global_norm"]


def global_norm(flat: Array) -> Array:
    xp = module_of(flat)

    def work(rows: slice) -> Array:
        part = flat[rows].astype(xp.float64, copy=False)
        return xp.einsum("n,n->", part, part)  # type: ignore[no-any-return]  # not dot: BLAS cuts that by its threads

    with np.errstate(over="ignore"):  # an infinite norm is an answer
        total = sum(for_blocks(flat, work), start=xp.zeros((), xp.float64))
    return own(xp.sqrt(total), flat)


def adamw(
    parameters: Array,
    gradients: Array,
    first_moment: Array,
    second_moment: Array,
    rates_4: Array,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    copy: Array | None = None,
) -> None:
    xp = module_of(parameters)
    is_host = isinstance(rates_4, np.ndarray)
    # On a device the numbers stay there: reading one would wait for the device.
    rates = rates_4.tolist() if is_host else rates_4.astype(parameters.dtype)
    learning_rate, correction1, correction2, scale = rates[0], rates[1], rates[2], rates[3]
    if is_host and not math.isfinite(scale):
        return

    def work(rows: slice) -> None:
        p, m, v = parameters[rows], first_moment[rows], second_moment[rows]
        before = () if is_host else (p.copy(), m.copy(), v.copy())
        g = gradients[rows] * scale
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
        for now, old in zip((p, m, v), before, strict=False):
            now[...] = xp.where(xp.isfinite(scale), now, old)
        if copy is not None:
            copy[rows] = p

    for_blocks(parameters, work)
