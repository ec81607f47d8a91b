"""How well a model predicts text that it was not trained on: loss, perplexity, bits per byte."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

import tensorgrad
from gpt.data import EvalBatch, TokenData
from gpt.data.batches import scored_windows
from gpt.data.tokenizer import Tokenizer, required
from gpt.errors import UserError
from gpt.model import GPT

__all__ = ["Evaluation", "evaluate_text", "evaluate_tokens"]

_MAX_TEXT_WINDOWS = 8  # at once
_MAX_TEXT_TOKENS = 8192  # at once, or one window: 1.6 GB of float32 logits for GPT-2's vocabulary


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The mean loss over `num_tokens` predicted tokens, which stand for `num_bytes` bytes of text."""

    loss: float  # nats per token
    num_tokens: int
    num_bytes: int

    @classmethod
    def of_all(cls, parts: Iterable[Evaluation]) -> Evaluation:
        """The evaluation of several texts together: each token counts once."""
        parts = list(parts)
        num_tokens = sum(part.num_tokens for part in parts)
        nats = sum(part.loss * part.num_tokens for part in parts)
        return cls(nats / num_tokens, num_tokens, sum(part.num_bytes for part in parts))

    @property
    def perplexity(self) -> float:
        """exp(loss): the number of equally likely tokens that would be as hard to guess among."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """The summed loss in bits, per byte of the text's UTF-8 form; infinite if it has no bytes.

        It does not depend on the tokenizer. A compressor that used the model would store n bytes of
        text in n * bits_per_byte / 8 bytes.
        """
        return self.loss * self.num_tokens / math.log(2) / self.num_bytes if self.num_bytes else math.inf

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.4f} nats per token, perplexity {self.perplexity:,.2f}, "
            f"{self.bits_per_byte:.4f} bits per byte ({self.num_tokens:,} tokens, {self.num_bytes:,} bytes)"
        )


def evaluate_tokens(model: GPT, data: TokenData, batch_size: int, max_batches: int | None = None) -> Evaluation:
    """Predict every token of the data once, in windows that do not overlap.

    Args:    max_batches: only this many batches, from the beginning; None: all.
    """
    windows = data.sequential_windows(model.config.context_length, batch_size)
    return _evaluate(model, itertools.islice(windows, max_batches))


def evaluate_text(model: GPT, tokenizer: Tokenizer | None, text: str) -> Evaluation:
    """Predict every token of one document once, each from at least half a context before it.

    Windows of a whole context begin every half context, and each scores the tokens that the window
    before it did not reach. The end-of-text token stands before the text, so that the first token is
    predicted too; with a tokenizer without one (characters) it is not.

    Raises:  UserError: no tokenizer, a text without a token to predict, a character that it cannot encode.
    """
    tokenizer = required(tokenizer)
    lead = [] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]
    ids = np.array(lead + tokenizer.encode(text), np.int64)
    if len(ids) < 2:
        raise UserError(f"expected a text of at least {2 - len(lead)} tokens to evaluate, got {text!r}: give more")
    context_length = model.config.context_length
    windows = scored_windows(
        ids.__getitem__,
        len(ids),
        tokenizer.token_lengths_bytes_V,
        context_length=context_length,
        stride=max(1, context_length // 2),
        batch_size=max(1, min(_MAX_TEXT_WINDOWS, _MAX_TEXT_TOKENS // context_length)),
        is_padded=False,
    )
    return _evaluate(model, windows)


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
