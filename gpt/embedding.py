"""Token ids -> vectors, with what the positions add to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorgrad
from gpt.config import ModelConfig
from gpt.initializer import INIT_STD, Initializer
from gpt.positions import Positions, sinusoids
from tensorgrad import Tensor
from tensorgrad.array import Array

__all__ = ["Embedding"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector for each token, and where the configuration says so, one for each position."""

    tokens: Tensor  # (V, C)
    positions: Tensor | None  # (context_length, C), where they are learned
    has_sinusoids: bool
    context_length: int

    @classmethod
    def init(cls, config: ModelConfig, make: Initializer) -> Embedding:
        table_shape = (config.context_length, config.model_dim)
        return cls(
            tokens=make.at(0).normal((config.vocab_size, config.model_dim), INIT_STD),
            positions=make.at(1).normal(table_shape, INIT_STD) if config.positions == "learned" else None,
            has_sinusoids=config.positions == "sinusoidal",
            context_length=config.context_length,
        )

    def __call__(self, ids_BT: Array, positions: Positions) -> Tensor:
        x_BTC = tensorgrad.embedding(self.tokens, ids_BT)
        if self.positions is not None:
            return x_BTC + self.positions[positions]
        if self.has_sinusoids:
            width = x_BTC.shape[-1]
            table = sinusoids(self.context_length, width, x_BTC.dtype.name, x_BTC.device)
            # The factor brings the tokens to the scale of the sinusoids (Vaswani et al. 2017, section 3.4).
            return x_BTC * math.sqrt(width) + table[positions]
        return x_BTC
