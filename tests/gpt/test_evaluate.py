"""Evaluation: each token once, the right bytes, and the numbers that follow from the loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorgrad
from gpt.config import ModelConfig
from gpt.data import TokenData, write_shards
from gpt.data.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from gpt.errors import UserError
from gpt.evaluate import Evaluation, evaluate_text, evaluate_tokens
from gpt.model import GPT
from tensorgrad import Key
from tensorgrad.tree import map_tensors

CONTEXT = 8
BYTES = byte_tokenizer()
LETTERS = character_tokenizer(["abcdé"])


def model_of(tokenizer: Tokenizer, context_length: int = CONTEXT) -> GPT:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=context_length, num_layers=1, num_heads=2, model_dim=8
    )
    model = GPT.init(config, Key(0), dtype="float64")
    return map_tensors(lambda x: tensorgrad.tensor(x.numpy() * 10, requires_grad=True), model)


def losses_of(model: GPT, ids: list[int], starts: list[int]) -> list[float]:
    """-ln p of ids[1:], each ids[i] given ids[starts[i - 1] : i]."""
    found = []
    for i, start in enumerate(starts, start=1):
        logits = model([ids[start:i]]).numpy()[0, -1]
        found.append(float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[i]]))
    return found


@pytest.mark.parametrize("tokenizer", [BYTES, LETTERS], ids=["bytes", "letters"])
@settings(max_examples=25)
@given(text=st.text("abcdé", min_size=2, max_size=40))
def test_text_is_scored_token_by_token_with_half_a_context_at_least(tokenizer: Tokenizer, text: str) -> None:
    model = model_of(tokenizer)
    lead = [] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]
    ids = lead + tokenizer.encode(text)
    half = CONTEXT // 2
    # Except in the first window, target i is in the last half of its window.
    starts = [0 if i <= CONTEXT else half * -(-(i - CONTEXT) // half) for i in range(1, len(ids))]
    assert all(i - start > half or start == 0 for i, start in enumerate(starts, start=1))
    expected = losses_of(model, ids, starts)
    found = evaluate_text(model, tokenizer, text)
    assert found.num_tokens == len(ids) - 1
    assert found.loss == pytest.approx(sum(expected) / len(expected), rel=1e-10)
    unscored = text if lead else text[1:]
    assert found.num_bytes == len(unscored.encode())


def test_a_long_text_takes_several_batches() -> None:
    model = model_of(LETTERS)
    text = "".join("abcdé"[i] for i in Key(1).integers(0, 5, (300,)))
    half = CONTEXT // 2
    starts = [0 if i <= CONTEXT else half * -(-(i - CONTEXT) // half) for i in range(1, 300)]
    expected = losses_of(model, LETTERS.encode(text), starts)
    assert evaluate_text(model, LETTERS, text).loss == pytest.approx(sum(expected) / 299, rel=1e-10)


@pytest.mark.parametrize(("most_tokens", "windows"), [(1000, 8), (16, 2), (4, 1)])
def test_a_long_context_takes_fewer_windows_at_once(most_tokens: int, windows: int, monkeypatch: Any) -> None:
    """The logits of a call are bounded by its tokens, whatever the context."""
    model = model_of(LETTERS)
    text = "".join("abcdé"[i] for i in Key(1).integers(0, 5, (300,)))
    expected = evaluate_text(model, LETTERS, text)
    sizes, loss = [], GPT.loss

    def counted(self: GPT, ids_BT: Any, targets_BT: Any, **keywords: Any) -> Any:
        sizes.append(len(ids_BT))
        return loss(self, ids_BT, targets_BT, **keywords)

    monkeypatch.setattr(GPT, "loss", counted)
    monkeypatch.setattr("gpt.evaluate._MAX_TEXT_TOKENS", most_tokens)
    found = evaluate_text(model, LETTERS, text)
    assert max(sizes) == windows
    assert found.num_tokens == expected.num_tokens
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)


def test_a_context_of_one_token() -> None:
    model = model_of(LETTERS, context_length=1)
    ids = LETTERS.encode("abcdab")
    expected = losses_of(model, ids, list(range(5)))
    assert evaluate_text(model, LETTERS, "abcdab").loss == pytest.approx(sum(expected) / 5, rel=1e-10)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_tokens_are_each_scored_once(batch_size: int, tmp_path: Path) -> None:
    texts = ["abc" * 7, "é€", "x"]
    write_shards(texts, BYTES, tmp_path, "heldout")
    data = TokenData.open(tmp_path, "heldout", BYTES)
    model = model_of(BYTES)
    end = BYTES.end_of_text_id
    assert end is not None
    ids = [end, *(i for text in texts for i in [*BYTES.encode(text), end])]
    starts = [(i - 1) // CONTEXT * CONTEXT for i in range(1, len(ids))]
    expected = losses_of(model, ids, starts)
    found = evaluate_tokens(model, data, batch_size)
    assert (found.num_tokens, found.num_bytes) == (len(expected), sum(len(text.encode()) for text in texts))
    assert found.loss == pytest.approx(sum(expected) / len(expected), rel=1e-10)
    first = evaluate_tokens(model, data, 1, max_batches=2)
    assert first.num_tokens == 2 * CONTEXT
    assert first.loss == pytest.approx(sum(expected[: 2 * CONTEXT]) / (2 * CONTEXT), rel=1e-10)


def test_derived_numbers() -> None:
    result = Evaluation(loss=math.log(8), num_tokens=10, num_bytes=15)
    assert result.perplexity == pytest.approx(8)
    assert result.bits_per_byte == pytest.approx(2.0)
    assert Evaluation(loss=1.0, num_tokens=1, num_bytes=0).bits_per_byte == math.inf


def test_a_model_of_equal_guesses_has_the_entropy_of_its_vocabulary() -> None:
    model = GPT.zeros(ModelConfig(vocab_size=257, context_length=4, num_layers=1, num_heads=1, model_dim=4))
    result = evaluate_text(model, BYTES, "any text")
    assert result.perplexity == pytest.approx(257, rel=1e-6)
    assert result.bits_per_byte == pytest.approx(math.log2(257), rel=1e-6)


@pytest.mark.parametrize(
    ("tokenizer", "text", "message"),
    [
        (BYTES, "", r"at least 1 tokens to evaluate, got ''"),
        (LETTERS, "a", r"at least 2 tokens to evaluate, got 'a'"),
        (LETTERS, "xyz", r"got 'x'"),
        (None, "abc", r"expected a model with a tokenizer"),
    ],
)
def test_text_that_cannot_be_evaluated(tokenizer: Any, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_text(model_of(tokenizer or BYTES), tokenizer, text)


def test_nothing_is_recorded() -> None:
    model = model_of(BYTES)
    evaluate_text(model, BYTES, "abc")
    assert tensorgrad.is_recording()
    assert all(x.grad is None for x in tensorgrad.tree.named_tensors(model).values())


def test_perplexity() -> None:
    assert Evaluation(math.log(65), 1, 1).perplexity == pytest.approx(65, rel=1e-12)
    assert Evaluation(1e4, 1, 1).perplexity == math.inf


def test_bits_per_byte_of_uniform_bytes_is_8() -> None:
    assert Evaluation(math.log(256), 100, 100).bits_per_byte == pytest.approx(8, rel=1e-12)
    # One token of 4 bytes at 4 bits: a bit per byte, whatever the tokenizer.
    assert Evaluation(4 * math.log(2), 1, 4).bits_per_byte == pytest.approx(1, rel=1e-12)
