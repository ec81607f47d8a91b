"""The contestant in JAX: the same step as PyTorch's (`torch_trainer.py`), compiled as one function.

Parameters and AdamW's moments are donated: the new values are written to their memory. It may run in a Python
environment of its own that has JAX (`benchmarks/train_step.py --jax-python`).
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.workloads import BETAS, CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, Workload

__all__ = ["JaxTrainer", "limit_threads"]


class JaxTrainer:
    def __init__(self, workload: Workload) -> None:
        import jax

        self.jax, self.workload = jax, workload
        self.weights = {name: jax.numpy.asarray(values) for name, values in workload.weights()}
        self.moments = {name: (jax.numpy.zeros_like(x), jax.numpy.zeros_like(x)) for name, x in self.weights.items()}
        self._gradients = jax.jit(jax.value_and_grad(self._loss))
        self._step = jax.jit(self._update, donate_argnums=(0, 1))

    def library(self) -> str:
        return f"jax {self.jax.__version__}"

    def step(self, number: int) -> float:
        ids, targets = self.workload.batch(number)
        self.weights, self.moments, loss = self._step(self.weights, self.moments, ids, targets, float(number + 1))
        return float(loss)

    def gradients(self) -> tuple[float, dict[str, Any]]:
        loss, gradients = self._gradients(self.weights, *self.workload.batch(0))
        return float(loss), gradients

    def shares(self) -> dict[str, float]:
        return {}  # compiled into one function, the step has no separate operations to time

    def generate(self, ids: list[int], count: int) -> list[int]:
        raise NotImplementedError

    def _loss(self, weights: dict[str, Any], ids: Any, targets: Any) -> Any:
        jax, model = self.jax, self.workload.model

        def linear(x: Any, name: str) -> Any:
            out = x @ weights[f"{name}.weight"].T
            return out + weights[f"{name}.bias"] if model.has_bias else out

        def norm(x: Any, name: str) -> Any:
            centred = x - x.mean(axis=-1, keepdims=True)
            variance = (centred * centred).mean(axis=-1, keepdims=True)
            out = centred * jax.lax.rsqrt(variance + model.norm_eps) * weights[f"{name}.weight"]
            return out + weights[f"{name}.bias"] if model.has_bias else out

        batch, time = ids.shape
        x = weights["embedding.tokens"][ids] + weights["embedding.positions"][:time]
        for layer in range(model.num_layers):
            name = f"blocks.{layer}"
            qkv = linear(norm(x, f"{name}.attention_norm"), f"{name}.attention.qkv")
            q, k, v = jax.numpy.moveaxis(qkv.reshape(batch, time, 3, model.num_heads, -1), 2, 0)
            attended = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
            x = x + linear(attended, f"{name}.attention.out")
            hidden = linear(norm(x, f"{name}.mlp_norm"), f"{name}.mlp.up")
            x = x + linear(jax.nn.gelu(hidden, approximate=True), f"{name}.mlp.down")
        logits = norm(x, "norm") @ weights["embedding.tokens"].T
        likelihoods = jax.nn.log_softmax(logits)
        return -jax.numpy.take_along_axis(likelihoods, targets[..., None], axis=-1).mean()

    def _update(self, weights: Any, moments: Any, ids: Any, targets: Any, number: Any) -> tuple[Any, Any, Any]:
        """Clip the gradients to a norm, then AdamW; only matrices decay."""
        jnp, (beta1, beta2) = self.jax.numpy, BETAS
        loss, gradients = self.jax.value_and_grad(self._loss)(weights, ids, targets)
        norm = jnp.sqrt(sum((g * g).sum() for g in gradients.values()))
        factor = jnp.minimum(1.0, CLIP_NORM / (norm + 1e-6))
        new_weights, new_moments = {}, {}
        for name, x in weights.items():
            g = gradients[name] * factor
            first, second = moments[name]
            first, second = first + (1 - beta1) * (g - first), second + (1 - beta2) * (g * g - second)
            direction = first / (1 - beta1**number) / (jnp.sqrt(second / (1 - beta2**number)) + 1e-8)
            decay = WEIGHT_DECAY if x.ndim >= 2 else 0.0
            new_weights[name] = x - LEARNING_RATE * (direction + decay * x)
            new_moments[name] = (first, second)
        return new_weights, new_moments, loss


def limit_threads(count: int) -> None:
    """Let JAX use `count` cores: it starts a thread for each core of the process. Call this before importing it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
