"""Muon for the blocks' matrices, and AdamW for everything else.

Muon moves a matrix along its averaged gradient, with all singular values brought near 1. So rare
directions of the gradient are learned as fast as common ones. Embeddings and head (one row per token)
and vectors have no such directions to balance: AdamW updates them.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

from gpt.config import OptimConfig
from gpt.optim.adamw import AdamW, aligned
from tensorgrad.array import Array, module_of
from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.gemm import matmul
from tensorgrad.kernels.threads import run_all
from tensorgrad.tree import named_tensors

__all__ = ["Muon", "orthogonalized"]

# x -> a x + b x^3 + c x^5: five iterations take singular values of 0.005 .. 1 to about 0.7 .. 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-30  # a gradient of zeros stays zeros


class Muon(AdamW):
    """AdamW, except that the blocks' matrices move along the orthogonalised averages of their gradients.

        M <- m M + (1 - m) G;    U = m M + (1 - m) G    (Nesterov's momentum)
        W <- (1 - lr decay) W - lr sqrt(max(1, rows / columns)) orthogonalized(U)

    lr follows the schedule, with `muon_learning_rate` at its peak; m is `muon_momentum`.
    """

    def __init__(self, model: Any, config: OptimConfig, *, is_loss_scaled: bool = False) -> None:
        hidden = {name: x for name, x in named_tensors(model).items() if x.ndim == 2 and name.startswith("blocks.")}
        super().__init__(model, config, left_out=tuple(hidden), is_loss_scaled=is_loss_scaled)
        own = self.first_moment.size
        self.momentum: Array = module_of(self._parameters).zeros_like(self._parameters[own:])
        self._matrices: list[tuple[Array, Array, Array]] = []  # weight, gradient and momentum of each matrix
        weights, gradients = self._parameters[own:], self.gradients[own:]
        start = 0
        for name, x in hidden.items():
            part = slice(start, start + x.size)
            weight, gradient, momentum = (a[part].reshape(x.shape) for a in (weights, gradients, self.momentum))
            for rows in _maps(name, *x.shape):
                self._matrices.append((weight[rows], gradient[rows], momentum[rows]))
            start += aligned(x.size)

    def _update(self, rates_4: Array) -> None:
        super()._update(rates_4)
        is_host = isinstance(rates_4, np.ndarray)
        if is_host and not math.isfinite(rates_4[3]):
            return
        rate = rates_4[0] / self.config.learning_rate * self.config.muon_learning_rate
        # One task per matrix: results do not depend on the number of threads.
        moves = [functools.partial(self._move, *arrays, rate, rates_4[3], is_host) for arrays in self._matrices]
        if is_host:
            run_all(moves)
        else:  # each thread has its own current device, stream and allocator: only this one has the step's
            for move in moves:
                move()
        if self._copy is not None:
            moved = slice(self.first_moment.size, None)
            kernels_for(self._copy).cast(self._parameters[moved], self._copy.dtype, self._copy[moved])

    def _move(
        self, weight: Array, gradient: Array, momentum: Array, rate: Array, gradient_scale: Array, is_host: bool
    ) -> None:
        m, dtype = self.config.muon_momentum, weight.dtype
        before = () if is_host else (weight.copy(), momentum.copy())
        new = gradient * (gradient_scale * (1 - m)).astype(dtype)
        momentum *= m
        momentum += new
        new += m * momentum
        rows, columns = weight.shape
        if self.config.weight_decay:
            weight *= (1 - rate * self.config.weight_decay).astype(dtype)
        weight -= (rate * math.sqrt(max(1.0, rows / columns))).astype(dtype) * orthogonalized(new)
        for now, old in zip((weight, momentum), before, strict=False):
            # On a GPU the factor cannot be read without waiting: restore the old values if it is not finite.
            now[...] = module_of(now).where(module_of(now).isfinite(gradient_scale), now, old)

    def state(self) -> dict[str, Array]:
        return {**super().state(), "momentum": self.momentum}


def _maps(name: str, rows: int, columns: int) -> list[slice]:
    """The rows of each linear map in a matrix. Maps that only share a product learn separately."""
    cuts = []
    if name.endswith("attention.qkv.weight"):
        cuts = [columns, (columns + rows) // 2]
    elif name.endswith("mlp.gate_up.weight"):
        cuts = [rows // 2]
    return [slice(start, end) for start, end in itertools.pairwise([0, *cuts, rows])]


def orthogonalized(x_RC: Array) -> Array:
    """Roughly the nearest orthogonal matrix: U S' V^T for x = U S V^T, where S' is near 1 unless S is negligible.

        X <- a X + (b A + c A^2) X,    A = X X^T,    from X = x / ||x||

    Five iterations of this polynomial (Newton and Schulz's, tuned), of three products each, cost less
    than a decomposition, and roughly is enough.
    """
    a, b, c = _COEFFICIENTS
    is_tall = x_RC.shape[0] > x_RC.shape[1]
    norm = module_of(x_RC).maximum(kernels_for(x_RC).global_norm(x_RC.reshape(-1)), _SMALLEST_NORM)
    x: Array = (x_RC.T if is_tall else x_RC) * (1 / norm).astype(x_RC.dtype)  # so that A is the smaller product
    for _ in range(_ITERATIONS):
        gram = matmul(x, x.T)
        polynomial = matmul(gram, gram)
        polynomial *= c
        polynomial += b * gram
        step = matmul(polynomial, x)
        x *= a
        x += step
    return x.T if is_tall else x
