"""Token shards -> batches.

A batch is a pure function of (key, step). There is no iterator and no state to save, so a resumed
run, another micro-batch size or another number of ranks trains on exactly the same samples.

In each epoch the documents, in a random order, form one stream of tokens. From a random offset on,
the stream is cut into windows of T + 1 tokens that overlap by one, and the windows are put into a
random order. Every epoch has the same number of windows, W: sample s is window s mod W of epoch
s div W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.data.shards import Shards, open_shards
from gpt.data.tokenizer import Tokenizer
from gpt.errors import UserError
from tensorgrad.random import Key

__all__ = ["IGNORED_TARGET", "EvalBatch", "TokenData", "scored_windows"]

IGNORED_TARGET = -100
"""The target of a position that is not scored."""

_CACHED_EPOCHS = 2  # a batch may end one epoch and begin the next

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EvalBatch:
    """Consecutive windows of a text. Targets that are not scored are IGNORED_TARGET."""

    ids_BT: Ids
    targets_BT: Ids
    num_tokens: int  # scored targets
    num_bytes: int  # bytes of text that they stand for


@dataclass(frozen=True, slots=True, eq=False)
class _Epoch:
    """The random order of one epoch. A place is a position in its stream of tokens."""

    document_order: Ids
    document_places: Ids  # where each document begins, in that order
    window_places: Ids  # where each sample's window begins


@dataclass(frozen=True, slots=True, eq=False)
class TokenData:
    """Tokenised documents, and the batches made from them. Use `TokenData.open`."""

    shards: Shards
    token_lengths_bytes_V: NDArray[np.int64]
    end_of_text_id: int | None
    # A cache, not state: it changes how long a batch takes, never its content.
    _epochs: dict[tuple[Key, int, int], _Epoch] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def open(folder: str | Path, name: str, tokenizer: Tokenizer) -> TokenData:
        """The data that `write_shards` wrote under `name`.

        Raises:  UserError: a file is missing or has the wrong size, or another tokenizer wrote it.
        """
        shards = open_shards(folder, name, tokenizer)
        return TokenData(shards, tokenizer.token_lengths_bytes_V, tokenizer.end_of_text_id)

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents, with their ends of text."""
        return self.shards.manifest.num_tokens

    @property
    def num_bytes(self) -> int:
        """Bytes of all documents' text in UTF-8."""
        return self.shards.manifest.num_bytes

    @property
    def num_documents(self) -> int:
        return self.shards.manifest.num_documents

    def windows_per_epoch(self, context_length: int) -> int:
        """Samples in an epoch, at least 1: the windows that fit at every offset that may be drawn.

        Raises:  UserError: the data are shorter than one context.
        """
        assert context_length >= 1, context_length
        if self.num_tokens < context_length + 1:
            raise UserError(
                f"expected a text of at least {context_length + 1} tokens (a context, and one to predict), "
                f"got {self.num_tokens}, shorter than one context: give more text, or a shorter context"
            )
        return max(1, (self.num_tokens - context_length) // context_length)

    def batch(self, key: Key, step: int, batch_size: int, context_length: int) -> tuple[Ids, Ids]:
        """Inputs and targets of an optimizer step: samples step * batch_size, ... of `samples`."""
        return self.samples(key, step * batch_size, batch_size, context_length)

    def samples(self, key: Key, first_sample: int, count: int, context_length: int) -> tuple[Ids, Ids]:
        """Inputs (B, T) and targets (B, T), one token later, of `count` samples from `first_sample` on.

        A sample depends on the key and its own number alone, so any rank can make any part of a
        batch. The first sample of an epoch also pays for drawing the epoch's order.

        Raises:  UserError: the data are shorter than one context.
        """
        assert first_sample >= 0, first_sample
        assert count >= 1, count
        windows = self.windows_per_epoch(context_length)
        numbers = np.arange(first_sample, first_sample + count)
        parts = []
        for epoch in range(first_sample // windows, (first_sample + count - 1) // windows + 1):
            order = self._epoch(key, epoch, context_length)
            starts_B = order.window_places[numbers[numbers // windows == epoch] % windows]
            places_BT = starts_B[:, None] + np.arange(context_length + 1)
            index_BT = np.searchsorted(order.document_places, places_BT, side="right") - 1
            starts_BT = self.shards.document_starts[order.document_order[index_BT]]
            parts.append(self._tokens(starts_BT + places_BT - order.document_places[index_BT]))
        tokens_BT = np.concatenate(parts)
        return tokens_BT[:, :-1], tokens_BT[:, 1:]

    def _tokens(self, positions: Ids) -> Ids:
        """The tokens at these positions. UserError if the tokenizer has no such ids: the file is damaged."""
        tokens = self.shards.tokens(positions)
        if tokens.max() >= len(self.token_lengths_bytes_V):
            raise UserError(
                f"expected tokens in 0 .. {len(self.token_lengths_bytes_V) - 1}, got {tokens.max()} "
                "from damaged shards: tokenise the text again"
            )
        return tokens

    def _epoch(self, key: Key, epoch: int, context_length: int) -> _Epoch:
        known = self._epochs.get((key, epoch, context_length))
        if known is not None:
            return known
        documents_key, offset_key, windows_key = key.fold_in(epoch).split(3)
        document_order = documents_key.permutation(self.num_documents)
        lengths = np.diff(self.shards.document_starts)[document_order]
        windows = self.windows_per_epoch(context_length)
        # A text of less than two contexts has one window, which may begin wherever it fits.
        offsets = min(context_length, self.num_tokens - windows * context_length)
        offset = int(offset_key.integers(0, offsets))
        window_places = offset + context_length * windows_key.permutation(windows)
        while len(self._epochs) >= _CACHED_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
        made = _Epoch(document_order, np.cumsum(lengths) - lengths, window_places)
        self._epochs[key, epoch, context_length] = made
        return made

    def sequential_windows(self, context_length: int, batch_size: int) -> Iterator[EvalBatch]:
        """The data in order, in windows that do not overlap: every token is predicted exactly once.

        An end of text stands before the first token, so that the first token is predicted too; with a
        tokenizer without an end of text (characters) it is not. Every batch has the shape
        (batch_size, context_length): the last one is filled up with targets that are not scored.
        """
        end_id = self.end_of_text_id

        def after_the_end(places: Ids) -> Ids:
            return np.where(places == 0, end_id or 0, self._tokens(np.maximum(places - 1, 0)))

        return scored_windows(
            self._tokens if end_id is None else after_the_end,
            self.num_tokens + (end_id is not None),
            self.token_lengths_bytes_V,
            context_length=context_length,
            stride=context_length,
            batch_size=batch_size,
            is_padded=True,
        )


def scored_windows(
    tokens_at: Callable[[Ids], Ids],
    num_tokens: int,
    token_lengths_bytes_V: NDArray[np.int64],
    *,
    context_length: int,
    stride: int,
    batch_size: int,
    is_padded: bool,
) -> Iterator[EvalBatch]:
    """Windows that begin every `stride` tokens and together score each token but the first exactly once.

    With a stride below `context_length`, windows overlap, and each but the first scores only its last
    `stride` targets: these are predicted from at least context_length - stride tokens before them.

    Args:
        tokens_at: the tokens at places in 0 .. num_tokens - 1, in the shape of the places.
        is_padded: whether to fill up every batch to (batch_size, context_length).
    Raises: UserError: fewer than 2 tokens.
    """
    assert 1 <= stride <= context_length, stride
    if num_tokens < 2:
        raise UserError(f"expected a text of at least 2 tokens to evaluate, got {num_tokens}: give more text")
    num_windows = 1 + max(0, -(-(num_tokens - 1 - context_length) // stride))
    width = context_length if is_padded else min(context_length, num_tokens - 1)
    for first in range(0, num_windows, batch_size):
        end = first + batch_size if is_padded else min(first + batch_size, num_windows)
        window_B1 = np.arange(first, end)[:, None]
        # The last window may reach past the end: what it reads there is not scored.
        places_BT = window_B1 * stride + np.arange(width + 1)
        tokens_BT = tokens_at(np.minimum(places_BT, num_tokens - 1))
        is_new_BT = (window_B1 == 0) | (np.arange(width) >= context_length - stride)
        is_scored_BT = is_new_BT & (places_BT[:, 1:] < num_tokens) & (window_B1 < num_windows)
        targets_BT = np.where(is_scored_BT, tokens_BT[:, 1:], IGNORED_TARGET)
        num_bytes = int(token_lengths_bytes_V[targets_BT[is_scored_BT]].sum())
        yield EvalBatch(tokens_BT[:, :-1], targets_BT, int(is_scored_BT.sum()), num_bytes)
