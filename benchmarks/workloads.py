"""The models that the benchmarks train: overhead dominates in the smallest, matrix products in the largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpt.config import ModelConfig
from tensorgrad.array import Array

LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP_NORM = 1e-3, (0.9, 0.95), 0.1, 1.0  # of every contestant's AdamW
STD = 0.02  # of the initial weights; a larger one fills the softmax's gradients with subnormal numbers


@dataclass(frozen=True)
class Workload:
    model: ModelConfig
    batch_size: int

    def batch(self, number: int) -> tuple[Array, Array]:
        """Random ids and targets (B, T)."""
        shape = (self.batch_size, self.model.context_length + 1)
        ids = np.random.default_rng([1, number]).integers(0, self.model.vocab_size, shape)
        return ids[:, :-1], ids[:, 1:]

    def weights(self) -> Iterator[tuple[str, Array]]:
        """The initial parameters, each with its name in `tensorgrad.tree.named_tensors(gpt.model.GPT)`."""
        model = self.model
        width, wide = model.model_dim, model.ffn_width
        matrices = {"attention.qkv": (3 * width, width), "attention.out": (width, width)}
        matrices |= {"mlp.up": (wide, width), "mlp.down": (width, wide)}
        shapes: dict[str, tuple[int, ...]] = {"embedding.tokens": (model.vocab_size, width)}
        shapes["embedding.positions"] = (model.context_length, width)
        norms = ["norm"]
        for layer in range(model.num_layers):
            for name, shape in matrices.items():
                shapes[f"blocks.{layer}.{name}.weight"] = shape
                if model.has_bias:
                    shapes[f"blocks.{layer}.{name}.bias"] = shape[:1]
            norms += [f"blocks.{layer}.attention_norm", f"blocks.{layer}.mlp_norm"]
        rng = np.random.default_rng(0)
        for name, shape in shapes.items():
            values = rng.standard_normal(shape, np.float32) * np.float32(STD)
            yield name, np.zeros_like(values) if name.endswith("bias") else values
        for name in norms:
            yield f"{name}.weight", np.ones(width, np.float32)
            if model.has_bias:
                yield f"{name}.bias", np.zeros(width, np.float32)


def gpt2_workload(
    vocab: int, context: int, layers: int, heads: int, width: int, batch: int, *, has_bias: bool
) -> Workload:
    """A GPT-2 with `layers` blocks of `heads` heads and width `width`, and batches of `batch` sequences."""
    model = ModelConfig(
        vocab_size=vocab,
        context_length=context,
        num_layers=layers,
        num_heads=heads,
        model_dim=width,
        positions="learned",
        norm="layer_norm",
        activation="gelu_tanh",
        has_bias=has_bias,
    )
    return Workload(model, batch)


# nanoGPT's configurations have no biases; GPT-2 has them.
WORKLOADS = {
    "tiny": gpt2_workload(65, 64, 4, 4, 128, 12, has_bias=False),
    "baby": gpt2_workload(65, 256, 6, 6, 384, 16, has_bias=False),
    "mid": gpt2_workload(8192, 256, 6, 8, 512, 8, has_bias=False),
    "gpt2": gpt2_workload(50257, 256, 12, 12, 768, 2, has_bias=True),
    "gpt2-1024": gpt2_workload(50257, 1024, 12, 12, 768, 1, has_bias=True),
}
