"""Batches: a pure function of key and step, over every window of the data once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data import IGNORED_TARGET, EvalBatch, TokenData, write_shards
from gpt.data.batches import scored_windows
from gpt.data.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from gpt.errors import UserError
from tensorgrad.random import Key

BYTES = byte_tokenizer()
# Every character occurs once, so a window's tokens show its place.
DISTINCT = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
CHARACTERS = character_tokenizer([DISTINCT])
SHAKESPEARE = Path(__file__).parents[4] / "shared" / "data" / "tinyshakespeare.txt"


def data_of(texts: Sequence[str], tokenizer: Tokenizer = CHARACTERS, shard_tokens: int = 64) -> TokenData:
    with TemporaryDirectory() as folder:  # the memory maps outlive the names of their files
        write_shards(texts, tokenizer, folder, "train", shard_tokens=shard_tokens)
        return TokenData.open(folder, "train", tokenizer)


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """DISTINCT, or a beginning of it, cut into documents of any length; some are empty."""
    lengths = draw(st.lists(st.integers(0, 60), min_size=1, max_size=12))
    ends = np.cumsum([0, *lengths]).tolist()
    return [DISTINCT[a:b] for a, b in pairwise(ends)]


few_examples = settings(max_examples=50, deadline=None)  # each writes files


@few_examples
@given(texts=documents(), context=st.integers(1, 20), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_an_epoch_is_every_window_of_the_shuffled_documents_once(
    texts: list[str], context: int, seed: int, epoch: int
) -> None:
    num_tokens = sum(map(len, texts))
    if num_tokens < context + 1:
        return
    data = data_of(texts)
    windows = data.windows_per_epoch(context)
    assert windows == max(1, (num_tokens - context) // context)
    ids, targets = data.samples(Key(seed), epoch * windows, windows, context)
    assert ids.shape == targets.shape == (windows, context)
    assert ids.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
    # Joined end to end, the windows are one stretch of a stream of whole documents in some order.
    following = {int(row[0]): (*row.tolist(), int(end)) for row, end in zip(ids, targets[:, -1], strict=True)}
    assert len(following) == windows
    (start,) = set(following) - {row[-1] for row in following.values()}
    stretch = [start]
    while stretch[-1] in following:
        stretch += following.pop(stretch[-1])[1:]
    assert not following
    assert len(stretch) == windows * context + 1
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - [len(text) for text in texts]
    for before, after in pairwise(stretch):
        assert after == before + 1 or (before + 1 in ends and after in starts)
    assert len(set(stretch)) == len(stretch)


@few_examples
@given(texts=documents(), context=st.integers(1, 9), first=st.integers(0, 200), cuts=st.lists(st.integers(0, 24)))
def test_samples_do_not_depend_on_how_they_are_batched(
    texts: list[str], context: int, first: int, cuts: list[int]
) -> None:
    if sum(map(len, texts)) < context + 1:
        return
    whole = data_of(texts).samples(Key(1), first, 24, context)
    data = data_of(texts)
    bounds = sorted({0, 24, *cuts})
    parts = [data.samples(Key(1), first + a, b - a, context) for a, b in reversed(list(pairwise(bounds)))]
    for of_whole, of_parts in zip(whole, zip(*reversed(parts), strict=True), strict=True):
        np.testing.assert_array_equal(of_whole, np.concatenate(of_parts))


def test_a_step_is_its_micro_batches_in_any_order() -> None:
    data = data_of([DISTINCT[:700], DISTINCT[700:]])
    ids, targets = data.batch(Key(3), 5, 32, 16)
    for rank in (3, 1, 0, 2):
        micro_ids, micro_targets = data.samples(Key(3), 5 * 32 + 8 * rank, 8, 16)
        np.testing.assert_array_equal(micro_ids, ids[8 * rank : 8 * rank + 8])
        np.testing.assert_array_equal(micro_targets, targets[8 * rank : 8 * rank + 8])


def test_the_number_of_shards_changes_nothing() -> None:
    texts = [DISTINCT[i : i + 37] for i in range(0, 2000, 37)]
    batches = [data_of(texts, shard_tokens=size).batch(Key(0), 2, 16, 33)[0] for size in (2000, 100, 7)]
    np.testing.assert_array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[0], batches[2])


def test_epochs_keys_and_offsets_differ() -> None:
    data = data_of([DISTINCT])
    windows = data.windows_per_epoch(16)
    epochs = [data.samples(Key(0), e * windows, windows, 16)[0] for e in range(12)]
    assert len({epoch.tobytes() for epoch in epochs}) == 12
    assert len({int(epoch.min()) for epoch in epochs}) > 5  # one document: the smallest id is the offset
    assert not np.array_equal(epochs[0], data.samples(Key(1), 0, windows, 16)[0])
    assert not np.array_equal(epochs[0], np.sort(epochs[0], axis=0))


def test_documents_are_shuffled_anew_each_epoch() -> None:
    texts = [DISTINCT[i : i + 16] for i in range(0, 2000, 16)]
    data = data_of(texts)
    windows = data.windows_per_epoch(16)

    def followers(epoch: int) -> set[tuple[int, int]]:
        """Last token of a document and first of the next, where both are in one window."""
        ids, targets = data.samples(Key(0), epoch * windows, windows, 16)
        return {(int(a), int(b)) for a, b in zip(ids.ravel(), targets.ravel(), strict=True) if b != a + 1}

    assert len(followers(0)) > 100
    assert len(followers(0) & followers(1)) < 10


def test_data_of_one_context_exactly_has_one_window() -> None:
    data = data_of([DISTINCT[:17]])
    assert data.windows_per_epoch(16) == 1
    ids, targets = data.batch(Key(0), 7, 3, 16)
    assert ids.tolist() == [list(range(16))] * 3
    assert targets.tolist() == [list(range(1, 17))] * 3


def test_data_shorter_than_one_context_are_refused_with_both_numbers() -> None:
    data = data_of([DISTINCT[:16]])
    with pytest.raises(UserError, match=r"at least 17 tokens.*got 16, shorter than one context"):
        data.batch(Key(0), 0, 1, 16)


def test_counts_of_the_data() -> None:
    data = data_of(["éa", "b"], BYTES)
    assert (data.num_tokens, data.num_bytes, data.num_documents) == (6, 4, 2)


def test_ends_of_text_are_between_documents() -> None:
    data = data_of(["aa", "bb"] * 50, BYTES)
    ids, targets = data.samples(Key(0), 0, data.windows_per_epoch(10), 10)
    assert set(targets[ids == 256].tolist()) == {ord("a"), ord("b")}
    assert set(ids.ravel().tolist()) == {256, ord("a"), ord("b")}


# In order, for evaluation


@few_examples
@given(texts=documents(), context=st.integers(1, 20), batch_size=st.integers(1, 5), is_bytes=st.booleans())
def test_every_token_is_predicted_exactly_once(texts: list[str], context: int, batch_size: int, is_bytes: bool) -> None:
    tokenizer = BYTES if is_bytes else CHARACTERS
    end = [256] if is_bytes else []
    stream = end + [token for text in texts for token in (*tokenizer.encode(text), *end)]
    if len(stream) < 2:
        return
    data = data_of(texts, tokenizer)
    batches = list(data.sequential_windows(context, batch_size))
    assert {batch.ids_BT.shape for batch in batches} == {(batch_size, context)}
    check_windows(batches, stream, context, stride=context)
    unpredicted = 0 if is_bytes else len(tokenizer.token_bytes(stream[0]))
    assert sum(batch.num_bytes for batch in batches) == data.num_bytes - unpredicted


@few_examples
@given(
    num_tokens=st.integers(2, 100),
    context=st.integers(1, 20),
    batch_size=st.integers(1, 5),
    overlap=st.integers(0, 19),
    is_padded=st.booleans(),
)
def test_overlapping_windows_predict_every_token_exactly_once(
    num_tokens: int, context: int, batch_size: int, overlap: int, is_padded: bool
) -> None:
    stream = Key(num_tokens).integers(0, 99, (num_tokens,))
    options = {"stride": max(1, context - overlap), "batch_size": batch_size, "is_padded": is_padded}
    lengths = np.arange(99)
    batches = list(scored_windows(stream.__getitem__, num_tokens, lengths, context_length=context, **options))
    if is_padded:
        assert {batch.ids_BT.shape for batch in batches} == {(batch_size, context)}
    check_windows(batches, stream.tolist(), context, stride=options["stride"])
    assert sum(batch.num_bytes for batch in batches) == lengths[stream[1:]].sum()


def check_windows(batches: list[EvalBatch], stream: list[int], context: int, stride: int) -> None:
    predicted: list[int] = []
    for batch in batches:
        assert batch.ids_BT.shape == batch.targets_BT.shape
        assert batch.num_tokens == (batch.targets_BT != IGNORED_TARGET).sum() > 0
        for ids, targets in zip(batch.ids_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            for position in range(len(ids)):
                if targets[position] != IGNORED_TARGET:
                    known = stream[: len(predicted) + 1]
                    assert ids[: position + 1] == known[-position - 1 :]
                    assert min(context - stride, len(predicted)) <= position
                    predicted.append(targets[position])
    assert predicted == stream[1:]
    assert sum(batch.num_tokens for batch in batches) == len(stream) - 1


def test_sequential_windows_by_hand() -> None:
    data = data_of(["abcd", "e"], BYTES)
    first, second = data.sequential_windows(3, 2)
    a, b, c, d, e, end = *b"abcde", 256
    assert first.ids_BT.tolist() == [[end, a, b], [c, d, end]]
    assert first.targets_BT.tolist() == [[a, b, c], [d, end, e]]
    assert (first.num_tokens, first.num_bytes) == (6, 5)
    assert second.ids_BT[0, 0] == e
    assert second.targets_BT.tolist() == [[end, -100, -100], [-100] * 3]
    assert (second.num_tokens, second.num_bytes) == (1, 0)


def test_tokens_that_no_tokenizer_made_are_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    write_shards(["some text to read"], tokenizer, tmp_path, "train")
    shard = tmp_path / "train-00000.npy"
    tokens = np.load(shard)
    tokens[5] = 60_000
    np.save(shard, tokens)
    data = TokenData.open(tmp_path, "train", tokenizer)
    with pytest.raises(UserError, match=r"expected tokens in 0 \.\. 256, got 60000 .*: tokenise the text again"):
        next(data.sequential_windows(8, 2))
    with pytest.raises(UserError, match="got 60000"):
        data.samples(Key(0), 0, 2, 8)


def test_a_text_of_one_token_cannot_be_evaluated() -> None:
    with pytest.raises(UserError, match="at least 2 tokens"):
        next(data_of([DISTINCT[0]]).sequential_windows(4, 1))


def test_tiny_shakespeare() -> None:
    if not SHAKESPEARE.exists():
        pytest.skip("the text is not here")
    text = SHAKESPEARE.read_text()
    tokenizer = character_tokenizer([text])
    data = data_of([text], tokenizer, shard_tokens=1 << 25)
    ids, targets = data.batch(Key(0), 10**6, 4, 64)
    for row, last in zip(ids, targets[:, -1], strict=True):
        assert tokenizer.decode([*row, last]) in text
