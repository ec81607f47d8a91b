"""How well a model predicts text that it was not trained on: loss, perplexity, bits per byte."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

import tensorgrad
from gpt.data import IGNORED_TARGET, EvalBatch, TokenData
from gpt.data.tokenizer import Tokenizer
from gpt.errors import UserError
from gpt.model import GPT

__all__ = ["Evaluation", "bits_per_byte", "evaluate_text", "evaluate_tokens", "perplexity"]

_TEXT_BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result over `num_tokens` predicted tokens, which stand for `num_bytes` bytes of text."""

    loss: float  # nats per token
    num_tokens: int
    num_bytes: int

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers. Infinite for no bytes (special tokens alone)."""
        return bits_per_byte(self.loss * self.num_tokens, self.num_bytes) if self.num_bytes else float("inf")


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token: the model is as unsure as between so many equally likely tokens."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(total_nats: float, num_bytes: int) -> float:
    """The summed loss of a text in bits, over the length of its UTF-8 form in bytes.

        bits_per_byte = sum over tokens of -ln p(token) / ln 2 / bytes of text

    Unlike the loss per token it does not depend on the tokenizer, and it is a compressor's unit: a
    text of n bytes could be stored in n * bits_per_byte / 8.
    """
    return total_nats / math.log(2) / num_bytes


def evaluate_tokens(model: GPT, data: TokenData, batch_size: int, max_batches: int | None = None) -> Evaluation:
    """Every token of the data predicted once, in windows that do not overlap.

    Args:    max_batches: take only so many batches, from the beginning; None: all.
    """
    windows = data.sequential_windows(model.config.context_length, batch_size)
    return _evaluate(model, itertools.islice(windows, max_batches))


def evaluate_text(model: GPT, tokenizer: Tokenizer | None, text: str) -> Evaluation:
    """Every token of one document predicted once, in view of at least half a context of what is before it.

    Windows of a whole context begin every half context, and each scores what the one before did not
    reach. The end-of-text token stands before the text, so that its first token is predicted too;
    where the tokenizer has none (characters), the first token is not.

    Raises:  UserError: no tokenizer, a text of no token to predict, a character out of the vocabulary.
    """
    if tokenizer is None:
        raise UserError("expected a model with a tokenizer, got none beside it: put its tokenizer.json there")
    lead = [] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]
    ids = np.array(lead + tokenizer.encode(text), np.int64)
    if len(ids) < 2:
        raise UserError(f"expected a text of at least {2 - len(lead)} tokens to evaluate, got {text!r}: give more")
    return _evaluate(model, _windows(ids, tokenizer, model.config.context_length))


def _windows(ids: np.ndarray, tokenizer: Tokenizer, context_length: int) -> Iterator[EvalBatch]:
    stride = max(1, context_length // 2)
    num_windows = 1 + max(0, -(-(len(ids) - 1 - context_length) // stride))
    for first in range(0, num_windows, _TEXT_BATCH_SIZE):
        window_B1 = np.arange(first, min(first + _TEXT_BATCH_SIZE, num_windows))[:, None]
        # The last window may reach past the end: what it finds there is not scored.
        places_BT = window_B1 * stride + np.arange(min(context_length, len(ids) - 1) + 1)
        tokens_BT = ids[np.minimum(places_BT, len(ids) - 1)]
        is_new_BT = (window_B1 == 0) | (np.arange(tokens_BT.shape[1] - 1) >= context_length - stride)
        is_scored_BT = is_new_BT & (places_BT[:, 1:] < len(ids))
        targets_BT = np.where(is_scored_BT, tokens_BT[:, 1:], IGNORED_TARGET)
        num_bytes = int(tokenizer.token_lengths_bytes_V[targets_BT[is_scored_BT]].sum())
        yield EvalBatch(tokens_BT[:, :-1], targets_BT, int(is_scored_BT.sum()), num_bytes)


def _evaluate(model: GPT, batches: Iterable[EvalBatch]) -> Evaluation:
    total, num_tokens, num_bytes = 0.0, 0, 0
    with tensorgrad.no_grad():
        for batch in batches:
            total += model.loss(batch.ids_BT, batch.targets_BT, reduction="sum").item()
            num_tokens += batch.num_tokens
            num_bytes += batch.num_bytes
    if not num_tokens:
        raise UserError("expected at least one token to evaluate, got none: give more text, or more batches")
    return Evaluation(total / num_tokens, num_tokens, num_bytes)
