"""Generation: equal to the uncached model, one seed per request, filters, stops, whole characters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad
from gpt.config import ModelConfig
from gpt.data.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer, train_bpe
from gpt.errors import UserError
from gpt.generate import Sampling, generate, generate_batch, generate_ids, sample_id
from gpt.model import GPT
from tensorgrad import Key, Tensor
from tensorgrad.tree import map_tensors, replace_tensors

SIZE: dict[str, Any] = {"context_length": 12, "num_layers": 2, "num_heads": 4, "model_dim": 16}
FAMILIES = {
    "gpt2": ModelConfig(**SIZE, positions="learned", norm="layer_norm", activation="gelu_tanh", has_bias=True),
    "llama": ModelConfig(**SIZE, num_kv_heads=2, is_head_tied=False),
}


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return character_tokenizer(["abcdefgh\n"])


def model_of(config: ModelConfig, vocab_size: int, scale: float = 10.0) -> GPT:
    """A model with large weights, so that its predictions are far from uniform."""
    model = GPT.init(config.with_vocabulary(vocab_size), Key(3))
    return map_tensors(lambda x: tensorgrad.tensor(x.numpy() * scale, requires_grad=True), model)


def continuing(vocab_size: int, cycle: list[int]) -> GPT:
    """A model that is certain of the id after each: cycle[i + 1] after cycle[i]."""
    config = ModelConfig(
        vocab_size=vocab_size, context_length=8, num_layers=1, num_heads=1, model_dim=2 * vocab_size, is_head_tied=False
    )
    model = GPT.zeros(config)
    tokens = np.zeros((vocab_size, 2 * vocab_size), np.float32)
    tokens[np.arange(vocab_size), np.arange(vocab_size)] = 1
    head = np.zeros_like(tokens)
    for before, after in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        head[after, before] = 20
    filled = {"embedding.tokens": tokens, "head.weight": head}
    return replace_tensors(model, {name: Tensor(x) for name, x in filled.items()})


def naive(model: GPT, ids: list[int], sampling: Sampling, seed: int, num_ids: int) -> list[int]:
    """`generate_ids` without a cache, one window at a time."""
    ids, start, new = list(ids), 0, []
    while len(new) < sampling.max_tokens:
        if len(ids) - start > model.config.context_length:
            start = len(ids) - model.config.context_length // 2
        logits = model([ids[start:]]).numpy()[0, -1, :num_ids]
        new.append(sample_id(logits, sampling, Key(seed).fold_in(len(ids))))
        ids.append(new[-1])
    return new


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_prompt", [1, 5, 12, 13, 30])
def test_equal_to_the_uncached_model_past_the_context(family: str, num_prompt: int) -> None:
    model = model_of(FAMILIES[family], 20)
    prompt = Key(4).integers(0, 20, (num_prompt,)).tolist()
    for sampling in (Sampling(max_tokens=40, temperature=0.0), Sampling(max_tokens=40, temperature=1.0, top_p=0.9)):
        found = list(generate_ids(model, prompt, sampling=sampling, seed=6))
        assert found == naive(model, prompt, sampling, 6, 20)
        assert len(set(found)) > 3, "it would be no test if it said the same all along"


def test_a_seed_is_a_continuation(characters: Tokenizer) -> None:
    model = model_of(FAMILIES["llama"], characters.vocab_size, scale=2.0)
    sampling = Sampling(max_tokens=30, temperature=1.0)
    texts = ["".join(generate(model, characters, "ab", sampling=sampling, seed=seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 30
    longer = replace(sampling, max_tokens=45)
    assert "".join(generate(model, characters, "ab", sampling=longer, seed=0)).startswith(texts[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_of_a_batch_do_not_depend_on_each_other(family: str) -> None:
    tokenizer = byte_tokenizer()
    model = model_of(FAMILIES[family], tokenizer.vocab_size, scale=3.0)
    prompts = ["a", "a", "a longer prompt than the context", "", "twelve bytes"]
    seeds = [1, 2, 3, 4, 5]
    sampling = Sampling(max_tokens=30, temperature=1.0, stop=("a", "é"))
    together = generate_batch(model, tokenizer, prompts, sampling=sampling, seeds=seeds)
    alone = [
        "".join(generate(model, tokenizer, p, sampling=sampling, seed=s)) for p, s in zip(prompts, seeds, strict=True)
    ]
    assert together == alone
    assert generate_batch(model, tokenizer, prompts[::-1], sampling=sampling, seeds=seeds[::-1]) == alone[::-1]
    assert len({len(text) for text in alone}) > 2, "requests end at different times"
    assert alone[0] != alone[1], "the seed counts"


def test_ends_before_the_end_of_text() -> None:
    tokenizer = byte_tokenizer()
    end = tokenizer.end_of_text_id
    assert end is not None
    model = continuing(257, [ord("a"), ord("b"), end])
    sampling = Sampling(max_tokens=50, temperature=0.0)
    assert list(generate(model, tokenizer, "a", sampling=sampling)) == ["b"]
    assert list(generate(model, tokenizer, "b", sampling=sampling)) == []
    assert list(generate(model, tokenizer, "", sampling=sampling)) == ["a", "b"], "begins after an end of text"
    assert generate_batch(model, tokenizer, ["a", "b", ""], sampling=sampling, seeds=[0, 0, 0]) == ["b", "", "ab"]
    assert list(generate_ids(model, [97], sampling=sampling, end_id=98)) == []
    assert len(list(generate_ids(model, [97], sampling=sampling))) == 50


def test_an_empty_prompt_without_an_end_of_text_is_an_empty_line(characters: Tokenizer) -> None:
    model = continuing(characters.vocab_size, characters.encode("\nabc"))
    sampling = Sampling(max_tokens=3, temperature=0.0)
    assert "".join(generate(model, characters, "", sampling=sampling)) == "abc"


def test_ids_that_only_pad_the_vocabulary_are_never_drawn(characters: Tokenizer) -> None:
    model = model_of(FAMILIES["gpt2"], characters.vocab_size + 20, scale=1.0)
    sampling = Sampling(max_tokens=100, temperature=1.0)
    text = "".join(generate(model, characters, "a", sampling=sampling))
    assert len(text) == 100


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (("d",), "bc"),
        (("cde",), "b"),
        (("cdx", "fg"), "bcde"),
        (("b",), ""),
        (("habc",), "bcdefg"),
        (("zzz",), "bcdefghabcdefghab"),
        (("abx",), "bcdefghabcdefghab"),
        (("efg", "de"), "bc"),
        (("cdef", "de"), "bc"),  # the stop text that is complete first
    ],
)
def test_stop_texts_are_not_shown(stop: tuple[str, ...], expected: str, characters: Tokenizer) -> None:
    model = continuing(characters.vocab_size, characters.encode("abcdefgh"))
    sampling = Sampling(max_tokens=17, temperature=0.0, stop=stop)
    pieces = list(generate(model, characters, "a", sampling=sampling))
    assert "".join(pieces) == expected
    assert "" not in pieces
    assert generate_batch(model, characters, ["a"], sampling=sampling, seeds=[0]) == [expected]


def test_a_stop_text_may_end_within_a_token() -> None:
    tokenizer = train_bpe(["hello world " * 50], 300)
    hello, world = tokenizer.encode("hello world")
    model = continuing(tokenizer.vocab_size, [hello, world])
    for stop, expected in (("wor", " "), ("o w", "hell"), ("ldh", " wor")):
        sampling = Sampling(max_tokens=4, temperature=0.0, stop=(stop,))
        prompt = [world] if expected == "hell" else [hello]
        assert "".join(generate(model, tokenizer, prompt, sampling=sampling)) == expected


def test_pieces_are_whole_characters() -> None:
    tokenizer = byte_tokenizer()
    text = "é€😀"
    model = continuing(257, [*text.encode(), ord("x")])
    sampling = Sampling(max_tokens=9, temperature=0.0)
    assert list(generate(model, tokenizer, "x", sampling=sampling)) == ["é", "€", "😀"]
    for max_tokens, expected in ((1, ""), (4, "é"), (8, "é€")):
        cut = replace(sampling, max_tokens=max_tokens)
        assert "".join(generate(model, tokenizer, "x", sampling=cut)) == expected
    stopped = replace(sampling, stop=("€",))
    assert "".join(generate(model, tokenizer, "x", sampling=stopped)) == "é"


def test_text_comes_as_it_is_made(characters: Tokenizer) -> None:
    model = continuing(characters.vocab_size, characters.encode("abc"))
    pieces = generate(model, characters, "a", sampling=Sampling(max_tokens=10**9, temperature=0.0))
    assert [next(pieces) for _ in range(4)] == ["b", "c", "a", "b"]
    assert tensorgrad.is_recording()


# --- choosing ----------------------------------------------------------------------------------


def drawn(logits: list[float], **options: Any) -> Counter[int]:
    sampling = Sampling(**{"temperature": 1.0} | options)
    return Counter(sample_id(np.array(logits, np.float32), sampling, Key(i)) for i in range(2000))


def test_draws_follow_the_probabilities() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    found = drawn(np.log(probabilities).tolist())
    for i, p in enumerate(probabilities):
        assert found[i] / 2000 == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 2000))


def test_temperature_sharpens() -> None:
    probabilities = np.array([0.6, 0.4])
    found = drawn(np.log(probabilities).tolist(), temperature=0.5)
    assert found[0] / 2000 == pytest.approx(0.36 / 0.52, abs=0.04)
    assert drawn([1.0, 3.0, 3.0], temperature=0.0) == {1: 2000}
    assert set(drawn([0.0, 1000.0, 999.0], temperature=1e-300)) == {1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.51}, {0, 1}),
        ({"top_p": 0.9}, {0, 1, 2}),
        ({"top_p": 1e-9}, {0}),
        ({"min_p": 0.5}, {0, 1}),
        ({"min_p": 1.0}, {0}),
        ({"top_k": 3, "top_p": 0.7}, {0, 1}),
        ({"top_p": 0.99, "min_p": 0.2}, {0, 1, 2}),
    ],
)
def test_filters_keep_what_they_say(options: dict[str, Any], expected: set[int]) -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05]) + 3
    assert set(drawn(logits.tolist(), **options)) == expected


@given(
    logits=st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=12),
    temperature=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_draw_is_one_of_the_likely_ids(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    found = sample_id(np.array(logits, np.float32), sampling, Key(seed))
    assert sum(x > logits[found] for x in logits) < (top_k or len(logits))
    if temperature == 0 or top_k == 1 or min_p == 1:
        assert logits[found] == max(logits)


def test_logits_that_are_not_finite() -> None:
    with pytest.raises(UserError, match="logits: expected finite numbers"):
        sample_id(np.array([0.0, np.nan]), Sampling(), Key(0))


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, r"max_tokens: expected 1 or more, got 0"),
        ({"temperature": -1.0}, r"temperature: .*got -1\.0"),
        ({"temperature": float("nan")}, r"temperature: .*got nan"),
        ({"temperature": float("inf")}, r"temperature: .*got inf"),
        ({"top_k": -1}, r"top_k: .*got -1"),
        ({"top_p": 0.0}, r"top_p: .*\(0, 1\], got 0\.0"),
        ({"top_p": 1.1}, r"top_p"),
        ({"min_p": -0.1}, r"min_p: .*\[0, 1\]"),
        ({"min_p": float("nan")}, r"min_p"),
        ({"stop": ("a", "")}, r"stop: expected texts that are not empty"),
        ({"stop": "abc"}, r"stop"),
    ],
)
def test_sampling_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampling(**options)


def test_prompts_that_cannot_be(characters: Tokenizer) -> None:
    model = model_of(FAMILIES["gpt2"], characters.vocab_size)
    sampling = Sampling(max_tokens=1)
    with pytest.raises(UserError, match=r"ids: expected 0 \.\. 8 \(the vocabulary\), got 9"):
        generate(model, characters, [1, 9], sampling=sampling)
    with pytest.raises(UserError, match=r"got 'z'"):
        generate(model, characters, "z", sampling=sampling)
    with pytest.raises(UserError, match="expected a model with a tokenizer"):
        generate(model, None, "a", sampling=sampling)
    with pytest.raises(UserError, match="at least one token"):
        generate_ids(model, [], sampling=sampling)
    with pytest.raises(UserError, match=r"ids: expected 0 \.\. 8 \(the vocabulary\), got -1"):
        generate_ids(model, [-1], sampling=sampling)
    with pytest.raises(UserError, match="seeds: expected one for each of 2 prompts, got 1"):
        generate_batch(model, characters, ["a", "b"], sampling=sampling, seeds=[0])
