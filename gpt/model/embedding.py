"""Token ids -> vectors: a row for each token, and optionally for each n-gram and each position."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import tensorgrad
from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model.initializer import INIT_STD, Initializer
from gpt.model.ngrams import ngram_rows
from gpt.model.positions import Positions, sinusoids
from tensorgrad import Tensor
from tensorgrad.array import Array
from tensorgrad.sorted_ids import SortedIds, ids_of

__all__ = ["Embedding", "check_ids"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector for each token, to which the configuration may add one for each n-gram and each position.

    A table of n-grams costs one lookup and no matrix product. It lets the model learn what a few
    neighbouring tokens mean together without spending a layer on it.
    """

    tokens: Tensor  # (V, C)
    ngrams: tuple[Tensor, ...]  # (ngram_rows, C) each, for n = 2, 3, ...
    positions: Tensor | None  # (context_length, C) if learned
    has_sinusoids: bool
    context_length: int

    @classmethod
    def init(cls, config: ModelConfig, make: Initializer) -> Embedding:
        table_shape = (config.context_length, config.model_dim)
        return cls(
            tokens=make.at(0).normal((config.vocab_size, config.model_dim), INIT_STD),
            # Zeros: most n-grams are rare, and random values for them would stay as noise.
            ngrams=tuple(
                make.constant((config.ngram_rows, config.model_dim), 0.0) for _ in range(2, config.ngram_length + 1)
            ),
            positions=make.at(1).normal(table_shape, INIT_STD) if config.positions == "learned" else None,
            has_sinusoids=config.positions == "sinusoidal",
            context_length=config.context_length,
        )

    def __call__(self, ids_BT: Array | SortedIds, positions: Positions, before_BN: Array | None = None) -> Tensor:
        """The vectors (B, T, C).

        Args:    before_BN: for the n-grams, the ids before these, -1 before a text; None: every text begins here.
        """
        x_BTC = tensorgrad.embedding(self.tokens, ids_BT)
        for length, vectors in enumerate(self.ngrams, start=2):
            rows_BT = ngram_rows(ids_of(ids_BT), before_BN, length, vectors.shape[0])
            x_BTC = x_BTC + tensorgrad.embedding(vectors, rows_BT)
        if self.positions is not None:
            return x_BTC + self.positions[positions]
        if self.has_sinusoids:
            width = x_BTC.shape[-1]
            table = sinusoids(self.context_length, width, x_BTC.dtype.name, x_BTC.device)
            # The factor brings the tokens to the scale of the sinusoids (Vaswani et al. 2017, section 3.4).
            return x_BTC * math.sqrt(width) + table[positions]
        return x_BTC


def check_ids(ids: np.ndarray, vocab_size: int) -> None:
    """Raise UserError unless all ids, on the CPU, are in 0 .. vocab_size - 1."""
    low, high = ids.min(), ids.max()
    if low < 0 or high >= vocab_size:
        raise UserError(
            f"ids: expected 0 .. {vocab_size - 1} (the vocabulary), got {low if low < 0 else high}: "
            "use the tokenizer that the model was trained with"
        )
