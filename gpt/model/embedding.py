"""Token ids -> vectors, with what the tokens before and the positions add to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorgrad
from gpt.config import ModelConfig
from gpt.model.initializer import INIT_STD, Initializer
from gpt.model.ngrams import ngram_rows
from gpt.model.positions import Positions, sinusoids
from tensorgrad import Tensor
from tensorgrad.array import Array
from tensorgrad.sorted_ids import SortedIds, plain

__all__ = ["Embedding"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector for each token, and where the configuration says so, one for each n-gram and each position.

    The tables of n-grams cost a lookup each and no product: what the last few tokens say together is
    learned without a layer's help.
    """

    tokens: Tensor  # (V, C)
    ngrams: tuple[Tensor, ...]  # (ngram_rows, C) each, for n = 2, 3, ...
    positions: Tensor | None  # (context_length, C), where they are learned
    has_sinusoids: bool
    context_length: int

    @classmethod
    def init(cls, config: ModelConfig, make: Initializer) -> Embedding:
        table_shape = (config.context_length, config.model_dim)
        return cls(
            tokens=make.at(0).normal((config.vocab_size, config.model_dim), INIT_STD),
            # Zeros: most n-grams are rare, and what was drawn for them would stay as noise.
            ngrams=tuple(
                make.constant((config.ngram_rows, config.model_dim), 0.0) for _ in range(2, config.ngram_length + 1)
            ),
            positions=make.at(1).normal(table_shape, INIT_STD) if config.positions == "learned" else None,
            has_sinusoids=config.positions == "sinusoidal",
            context_length=config.context_length,
        )

    def __call__(self, ids_BT: Array | SortedIds, positions: Positions, before_BN: Array | None = None) -> Tensor:
        """`before_BN`: the last ids before these, for the n-grams, -1 where there are none; None: a text begins."""
        x_BTC = tensorgrad.embedding(self.tokens, ids_BT)
        for length, vectors in enumerate(self.ngrams, start=2):
            rows_BT = ngram_rows(plain(ids_BT), before_BN, length, vectors.shape[0])
            x_BTC = x_BTC + tensorgrad.embedding(vectors, rows_BT)
        if self.positions is not None:
            return x_BTC + self.positions[positions]
        if self.has_sinusoids:
            width = x_BTC.shape[-1]
            table = sinusoids(self.context_length, width, x_BTC.dtype.name, x_BTC.device)
            # The factor brings the tokens to the scale of the sinusoids (Vaswani et al. 2017, section 3.4).
            return x_BTC * math.sqrt(width) + table[positions]
        return x_BTC
