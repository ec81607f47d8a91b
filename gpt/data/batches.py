"""Token shards -> batches.

A batch is a pure function of (key, step): there is no iterator and no state to save, so a resumed
run, another micro-batch size or another number of ranks trains on exactly the same samples.

One epoch, of N tokens and contexts of T tokens: the documents are put into a random order and joined
into a stream, which is cut into windows of T + 1 tokens that overlap by one, from a random offset
on; the windows are put into a random order. Sample s is window s mod W of epoch s div W, where W,
the number of windows, is the same in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.data.shards import Shards, open_shards
from gpt.data.tokenizer import Tokenizer
from gpt.errors import UserError
from tensorgrad.random import Key

__all__ = ["IGNORED_TARGET", "EvalBatch", "TokenData"]

IGNORED_TARGET = -100
"""The target of a position that is not scored."""

_CACHED_EPOCHS = 2  # a batch may end one epoch and begin the next

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EvalBatch:
    """Consecutive windows of held-out text; targets that are not to be scored are IGNORED_TARGET.

    `num_tokens` targets are scored; they stand for `num_bytes` bytes of text. Bits per byte is the
    sum of their losses in nats, over all batches, divided by ln 2 and by the sum of `num_bytes`.
    """

    ids_BT: Ids
    targets_BT: Ids
    num_tokens: int
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Epoch:
    """The random order of one epoch; a place is a position in its stream of documents."""

    document_order: Ids
    document_places: Ids  # where each document of the order begins
    window_places: Ids  # where each window begins, in the order of the samples


@dataclass(frozen=True, slots=True, eq=False)
class TokenData:
    """Tokenised documents, and the batches made of them. Opened by `TokenData.open`."""

    shards: Shards
    token_lengths_bytes_V: NDArray[np.int64]
    end_of_text_id: int | None
    # A cache, not state: what is in it changes how long a batch takes, never what it holds.
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
        """Tokens of all documents, ends of text included."""
        return self.shards.manifest.num_tokens

    @property
    def num_bytes(self) -> int:
        """Bytes of the documents' text in UTF-8."""
        return self.shards.manifest.num_bytes

    @property
    def num_documents(self) -> int:
        return self.shards.manifest.num_documents

    def windows_per_epoch(self, context_length: int) -> int:
        """Samples in an epoch: the windows that fit whichever of T offsets is drawn, and one at least.

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
        """Inputs (B, T), and targets (B, T), one token on, of `count` samples from `first_sample` on.

        A sample is a function of the key and of its own number only, so any rank can make any part
        of a batch. The first sample of an epoch costs the set-up of its order.

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
        """The tokens there. UserError if they are none of the tokenizer's: the disk has lost them."""
        tokens = self.shards.tokens(positions)
        if tokens.max() >= len(self.token_lengths_bytes_V):
            raise UserError(
                f"expected tokens in 0 .. {len(self.token_lengths_bytes_V) - 1}, got {tokens.max()}, "
                "as the shards are damaged: tokenise the text again"
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
        # Between one and two contexts there is one window, which begins wherever it fits.
        offsets = min(context_length, self.num_tokens - windows * context_length)
        offset = int(offset_key.integers(0, offsets))
        window_places = offset + context_length * windows_key.permutation(windows)
        while len(self._epochs) >= _CACHED_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
        made = _Epoch(document_order, np.cumsum(lengths) - lengths, window_places)
        self._epochs[key, epoch, context_length] = made
        return made

    def sequential_windows(
        self, context_length: int, batch_size: int, *, stride: int | None = None
    ) -> Iterator[EvalBatch]:
        """The data in order, every token predicted exactly once: for evaluation.

        An end of text stands before the first token, so that it is predicted too; without an
        end-of-text id (characters) it is not. With a `stride` below `context_length`, windows
        overlap and only the last `stride` targets of each are scored, with more context. Every
        batch has the shape (batch_size, context_length); what fills up the last is not scored.
        """
        stride = context_length if stride is None else stride
        if not 1 <= stride <= context_length:
            raise UserError(f"expected a stride in 1 .. {context_length}, the context, got {stride}: lower it")
        lead = [] if self.end_of_text_id is None else [self.end_of_text_id]
        # Places count in the stream that `lead` begins; its targets are at 1 .. num_places - 1.
        num_places = len(lead) + self.num_tokens
        if num_places < 2:
            raise UserError("expected a text of at least 2 tokens to evaluate, got 1: give more text")
        num_windows = 1 + max(0, -(-(num_places - 1 - context_length) // stride))
        for first in range(0, num_windows, batch_size):
            window_B1 = np.arange(first, first + batch_size)[:, None]
            places_BT = window_B1 * stride + np.arange(context_length + 1)
            tokens_BT = self._tokens(np.clip(places_BT - len(lead), 0, self.num_tokens - 1))
            if first == 0:
                tokens_BT[0, : len(lead)] = lead
            is_new_BT = (window_B1 == 0) | (np.arange(context_length) >= context_length - stride)
            is_scored_BT = is_new_BT & (places_BT[:, 1:] < num_places) & (window_B1 < num_windows)
            targets_BT = np.where(is_scored_BT, tokens_BT[:, 1:], IGNORED_TARGET)
            num_bytes = int(self.token_lengths_bytes_V[targets_BT[is_scored_BT]].sum())
            yield EvalBatch(tokens_BT[:, :-1], targets_BT, int(is_scored_BT.sum()), num_bytes)
