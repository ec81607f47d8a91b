"""The whole model: gradients of any order, dropout, recomputation, the cache, ties, refused input."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tensorgrad
from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.dropout import Dropout
from gpt.model.initializer import INIT_STD, Initializer
from gpt.model.linear import Linear
from gpt.model.precision import Precision
from tensorgrad import Key, Tensor
from tensorgrad.random import RowKeys
from tensorgrad.tree import map_tensors, named_tensors, replace_tensors

SIZE: dict[str, Any] = {"vocab_size": 13, "context_length": 8, "num_layers": 2, "num_heads": 4, "model_dim": 16}
CONFIGS = {
    "gpt2": ModelConfig(
        **SIZE, ffn_dim=24, positions="learned", norm="layer_norm", activation="gelu_tanh", has_bias=True
    ),
    "llama": ModelConfig(**SIZE, num_kv_heads=2, ffn_dim=24, is_head_tied=False),
    "mixed": ModelConfig(
        **SIZE,
        ffn_dim=24,
        positions="sinusoidal",
        norm="layer_norm",
        activation="gelu",
        qk_norm=True,
        logit_soft_cap=5.0,
    ),
    "qwen": ModelConfig(**SIZE, num_kv_heads=1, ffn_dim=24, qk_norm=True, has_bias=True),
    "squared": ModelConfig(**SIZE, ffn_dim=24, positions="learned", activation="relu_squared"),
    "ngrams": ModelConfig(**SIZE, ffn_dim=24, ngram_length=3, ngram_rows=11),
}
FAMILIES = ["gpt2", "llama"]

# Central difference of order 8: (distance, coefficient).
STENCIL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
STEP = 1e-2


def model_of(config: ModelConfig, *, scale: float = 5.0, dtype: str = "float64") -> GPT:
    """A model with random values in every parameter, biases and norms too, large enough to matter."""
    names = iter(range(1000))

    def randomised(x: Tensor) -> Tensor:
        noise = Key(9).fold_in(next(names)).normal(x.shape, dtype="float64")
        values = x.numpy() * scale if x.ndim > 1 else x.numpy() + 0.3 * noise
        if not values.any():  # tables of n-grams
            values = INIT_STD * scale * noise
        return tensorgrad.tensor(values, dtype=dtype, requires_grad=True)

    return map_tensors(randomised, GPT.init(config, Key(1), dtype=dtype))


def batch_of(config: ModelConfig, rows: int = 2) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    tokens = Key(2).integers(0, config.vocab_size, (rows, config.context_length + 1))
    targets = tokens[:, 1:].copy()
    targets[0, 2] = -100
    return tokens[:, :-1], targets


def gradients_of(model: GPT, loss: Tensor) -> dict[str, NDArray[np.float64]]:
    names = named_tensors(model)
    found = tensorgrad.grad(loss, list(names.values()))
    return {name: g.numpy() for name, g in zip(names, found, strict=True)}


def assert_same(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CONFIGS)
def test_gradient_of_every_parameter_equals_central_differences(family: str) -> None:
    config = CONFIGS[family]
    model = model_of(config)
    ids, targets = batch_of(config)
    gradients = gradients_of(model, model.loss(ids, targets))

    def slope(x: Tensor, direction: NDArray[np.float64]) -> float:
        """The loss's derivative along a direction in one parameter, from differences."""
        values, total = x.data, 0.0
        with tensorgrad.no_grad():
            for distance, coefficient in STENCIL:
                for sign in (1, -1):
                    x.data = values + sign * distance * STEP * direction
                    total += sign * coefficient * model.loss(ids, targets).item()
        x.data = values
        return total / STEP

    # The second derivative of relu squared jumps, which spoils differences of any order.
    tolerance = 1e-4 if family == "squared" else 1e-7
    for number, (name, x) in enumerate(named_tensors(model).items()):
        key, g = Key(3).fold_in(number), gradients[name]
        direction = key.normal(x.shape, dtype="float64")
        direction /= math.sqrt(float((direction**2).sum()))
        scale = math.sqrt(float((g**2).sum()))
        assert scale > 1e-6, f"{name} has no gradient to speak of: the test would show nothing"
        assert slope(x, direction) == pytest.approx(float((g * direction).sum()), abs=tolerance * scale), name
        for place in key.fold_in(1).integers(0, x.size, (2,)):
            one = np.zeros(x.size)
            one[place] = 1
            expected = float(g.reshape(-1)[place])
            assert slope(x, one.reshape(x.shape)) == pytest.approx(expected, abs=tolerance * scale), (name, place)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_parameters_together_to_the_second_order(family: str) -> None:
    model = model_of(CONFIGS[family])
    ids, targets = batch_of(CONFIGS[family])
    num_directions = 3

    def loss(steps: Tensor) -> Tensor:
        """The loss after steps along a few random directions in the space of all parameters."""
        moved = {}
        for number, (name, x) in enumerate(named_tensors(model).items()):
            directions = Key(6).fold_in(number).normal((x.size, num_directions), dtype="float64") / 50
            moved[name] = x.detach() + (Tensor(directions) @ steps).reshape(x.shape)
        return replace_tensors(model, moved).loss(ids, targets)

    tensorgrad.check_grads(loss, np.zeros(num_directions), order=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_hvp_equals_the_difference_of_gradients(family: str) -> None:
    config = CONFIGS[family]
    model = model_of(config)
    ids, targets = batch_of(config)
    mlp = "blocks.1.mlp.up.weight" if family == "gpt2" else "blocks.1.mlp.gate_up.weight"
    for name in ("embedding.tokens", "blocks.0.attention.qkv.weight", "blocks.0.attention_norm.weight", mlp):
        x = named_tensors(model)[name]
        v = Key(4).normal(x.shape, dtype="float64")

        def loss(x: Tensor, name: str = name) -> Tensor:
            return replace_tensors(model, {name: x}).loss(ids, targets)

        product = tensorgrad.hvp(loss, x, v).numpy()
        assert np.isfinite(product).all()
        numeric = np.zeros(x.shape)
        for distance, coefficient in STENCIL:
            for sign in (1, -1):
                moved = tensorgrad.tensor(x.numpy() + sign * distance * 3e-3 * v, requires_grad=True)
                numeric += sign * coefficient / 3e-3 * tensorgrad.grad(loss(moved), moved)[0].numpy()
        np.testing.assert_allclose(product, numeric, atol=1e-6 * np.abs(numeric).max())


def test_sum_over_micro_batches_is_the_mean_over_tokens() -> None:
    config = CONFIGS["llama"]
    model = model_of(config)
    ids, targets = batch_of(config, rows=4)
    targets[1:3, 3:] = -100
    count = int((targets != -100).sum())
    whole = gradients_of(model, model.loss(ids, targets))
    parts = [
        gradients_of(model, model.loss(ids[rows], targets[rows], reduction="sum") / count)
        for rows in (slice(0, 1), slice(1, 2), slice(2, 4))
    ]
    for name, expected in whole.items():
        np.testing.assert_allclose(sum(part[name] for part in parts), expected, atol=1e-13)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputation_gives_bit_identical_gradients(family: str, dropout: float) -> None:
    config = replace(CONFIGS[family], dropout=dropout)
    model = model_of(config, dtype="float32")
    ids, targets = batch_of(config)
    kept = gradients_of(model, model.loss(ids, targets, key=Key(5)))
    assert_same(gradients_of(model, model.loss(ids, targets, key=Key(5), recompute=True)), kept)


def test_recomputation_keeps_less() -> None:
    config = ModelConfig(vocab_size=16, context_length=64, num_layers=6, num_heads=4, model_dim=32)
    model = GPT.init(config, Key(0))
    ids, targets = batch_of(config)

    def peak_bytes(*, recompute: bool) -> int:
        tracemalloc.start()
        try:
            gradients_of(model, model.loss(ids, targets, recompute=recompute))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(recompute=True) < 0.6 * peak_bytes(recompute=False)


# --- what it computes --------------------------------------------------------------------------


@pytest.mark.parametrize("family", CONFIGS)
def test_parameters_are_those_that_the_configuration_counts(family: str) -> None:
    config = CONFIGS[family]
    tensors = named_tensors(GPT.init(config, Key(0))).values()
    assert sum(x.size for x in tensors) == config.num_parameters
    assert all(x.requires_grad and x.dtype == np.float32 for x in tensors)


@pytest.mark.parametrize("family", CONFIGS)
def test_no_token_sees_those_after_it(family: str) -> None:
    config = CONFIGS[family]
    model = model_of(config)
    ids, _ = batch_of(config)
    changed = ids.copy()
    changed[:, 5] = (changed[:, 5] + 1) % config.vocab_size
    before, after = model(ids).numpy(), model(changed).numpy()
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(axis=-1).all(), "every later token sees the change"


@pytest.mark.parametrize("family", CONFIGS)
def test_order_of_earlier_tokens_matters(family: str) -> None:
    model = model_of(CONFIGS[family])
    last = [model([ids]).numpy()[0, -1] for ids in ([1, 2, 3, 4], [2, 1, 3, 4])]
    assert np.abs(last[0] - last[1]).max() > 1e-3


def test_loss_is_the_mean_of_minus_log_probabilities() -> None:
    config = CONFIGS["gpt2"]
    model = model_of(config)
    ids, targets = batch_of(config)
    logits = model(ids).numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    rows, places = np.nonzero(targets != -100)
    expected = -log_probabilities[rows, places, targets[rows, places]]
    assert model.loss(ids, targets).item() == pytest.approx(expected.mean(), rel=1e-12)
    assert model.loss(ids, Tensor(targets), reduction="sum").item() == pytest.approx(expected.sum(), rel=1e-12)


def test_logits_stay_below_the_soft_cap() -> None:
    config = CONFIGS["mixed"]
    capped = model_of(config, scale=50.0)
    free = replace(capped, config=replace(config, logit_soft_cap=0.0))
    ids, _ = batch_of(config)
    assert np.abs(free(ids).numpy()).max() > 5
    np.testing.assert_allclose(capped(ids).numpy(), 5 * np.tanh(free(ids).numpy() / 5), rtol=1e-12)


def test_initial_loss_is_that_of_guessing() -> None:
    config = replace(CONFIGS["llama"], vocab_size=500)
    ids, targets = batch_of(config)
    assert GPT.init(config, Key(0)).loss(ids, targets).item() == pytest.approx(math.log(500), abs=0.05)


def test_initialisation() -> None:
    config = replace(CONFIGS["gpt2"], model_dim=128, num_layers=8, vocab_size=300)
    first = {name: x.numpy() for name, x in named_tensors(GPT.init(config, Key(0))).items()}
    again = {name: x.numpy() for name, x in named_tensors(GPT.init(config, Key(0))).items()}
    assert_same(first, again)
    for name, values in first.items():
        if values.ndim == 2:
            is_residual = name.endswith((".out.weight", ".down.weight"))
            expected = INIT_STD / math.sqrt(16) if is_residual else INIT_STD
            assert values.std() == pytest.approx(expected, rel=0.05), name
        else:
            assert (values == (0 if name.endswith("bias") else 1)).all(), name
    matrices = [values.reshape(-1)[:500] for values in first.values() if values.ndim == 2]
    correlations = np.corrcoef(matrices) - np.eye(len(matrices))
    assert np.abs(correlations).max() < 0.25, "every place has numbers of its own"
    other = named_tensors(GPT.init(config, Key(1)))
    assert (other["embedding.tokens"].numpy() != first["embedding.tokens"]).mean() > 0.99


def test_a_layer_begins_alike_whatever_layers_there_are() -> None:
    shallow, deep = (GPT.init(replace(CONFIGS["llama"], num_layers=n), Key(0)) for n in (1, 3))
    a, b = (model.blocks[0].attention.qkv.weight.numpy() for model in (shallow, deep))
    np.testing.assert_array_equal(a, b)


def test_float64_initialisation_is_the_float32_one_before_rounding() -> None:
    narrow, wide = (named_tensors(GPT.init(CONFIGS["llama"], Key(0), dtype=dtype)) for dtype in ("float32", "float64"))
    for name, x in wide.items():
        assert x.dtype == np.float64
        np.testing.assert_array_equal(x.numpy().astype(np.float32), narrow[name].numpy())


@pytest.mark.parametrize("family", CONFIGS)
def test_parameters_may_be_wider_than_the_computation(family: str) -> None:
    config = CONFIGS[family]
    ids, targets = batch_of(config)
    mixed = GPT.init(config, Key(0), dtype=Precision("float64", "float32"))
    assert mixed(ids).dtype == mixed.loss(ids, targets).dtype == np.float32
    assert mixed(ids, cache=mixed.empty_cache(2)).dtype == np.float32
    found = gradients_of(mixed, mixed.loss(ids, targets))
    narrow = GPT.init(config, Key(0))
    for name, expected in gradients_of(narrow, narrow.loss(ids, targets)).items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], expected, atol=1e-5 * np.abs(expected).max())


def test_tied_weights_stay_tied() -> None:
    model = GPT.init(CONFIGS["gpt2"], Key(0))
    assert model.head.weight is model.embedding.tokens
    assert "head.weight" not in named_tensors(model)
    doubled = map_tensors(lambda x: tensorgrad.tensor(x.numpy() * 2, requires_grad=True), model)
    assert doubled.head.weight is doubled.embedding.tokens
    new = tensorgrad.zeros((13, 16), requires_grad=True)
    replaced = replace_tensors(model, {"embedding.tokens": new})
    assert replaced.head.weight is new
    untied = GPT.init(CONFIGS["llama"], Key(0))
    assert untied.head.weight is not untied.embedding.tokens


def test_zeros_is_the_same_tree_to_be_filled() -> None:
    config = CONFIGS["qwen"]
    names, zeros = named_tensors(GPT.init(config, Key(0))), named_tensors(GPT.zeros(config))
    assert {n: x.shape for n, x in names.items()} == {n: x.shape for n, x in zeros.items()}
    assert not any(x.numpy().any() for x in zeros.values() if x.ndim == 2)


def test_linear_is_the_affine_map() -> None:
    linear = Linear.init(3, 2, Initializer(Key(0), "float64"), has_bias=True)
    linear = replace(linear, bias=tensorgrad.tensor([1.0, -1.0], dtype="float64"))
    x = Key(1).normal((4, 3), dtype="float64")
    expected = x @ linear.weight.numpy().T + [1.0, -1.0]
    np.testing.assert_allclose(linear(Tensor(x)).numpy(), expected, rtol=1e-12)


# --- dropout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_a_function_of_the_key_and_off_without_one(family: str) -> None:
    config = replace(CONFIGS[family], dropout=0.3)
    model = model_of(config)
    ids, _ = batch_of(config)
    np.testing.assert_array_equal(model(ids, key=Key(5)).numpy(), model(ids, key=Key(5)).numpy())
    assert np.abs(model(ids, key=Key(5)).numpy() - model(ids, key=Key(6)).numpy()).max() > 1e-3
    without = replace(model, config=replace(config, dropout=0.0))
    np.testing.assert_array_equal(model(ids).numpy(), without(ids, key=Key(5)).numpy())
    assert np.abs(model(ids, key=Key(5)).numpy() - model(ids).numpy()).max() > 1e-3


def test_gradients_under_dropout_equal_differences() -> None:
    config = replace(CONFIGS["llama"], dropout=0.3, context_length=4)
    model = model_of(config, scale=3.0)
    ids, targets = batch_of(config)
    name = "blocks.0.attention.qkv.weight"

    def loss(x: Tensor) -> Tensor:
        return replace_tensors(model, {name: x}).loss(ids, targets, key=Key(5))

    tensorgrad.check_grads(loss, named_tensors(model)[name], order=2)


def test_dropout_of_a_sample_does_not_depend_on_its_batch() -> None:
    config = replace(CONFIGS["llama"], dropout=0.3)
    model = model_of(config)
    ids, _ = batch_of(config, rows=4)
    keys = tuple(Key(7).fold_in(sample) for sample in range(4))
    whole = model(ids, key=RowKeys(keys)).numpy()
    parts = [model(ids[rows], key=RowKeys(keys[rows])).numpy() for rows in (slice(0, 1), slice(1, 4))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12)


def test_dropout_keeps_the_expected_output() -> None:
    """Attention's output with dropped weights, averaged over many keys, is the output without dropout."""
    config = replace(CONFIGS["llama"], num_layers=1, dropout=0.2)
    model = model_of(config, scale=1.0)
    ids, _ = batch_of(config, rows=1)
    attention, x = model.blocks[0].attention, model.embedding(ids, slice(0, 8))
    samples = [attention(x, None, None, Dropout(0.2, Key(8).fold_in(i))).numpy() for i in range(400)]
    expected = attention(x).numpy()
    error = np.abs(np.mean(samples, axis=0) - expected)
    allowed = 5 * np.std(samples, axis=0) / math.sqrt(400) + 1e-12
    assert (error < allowed).all()


# --- the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(cuts=st.sets(st.integers(1, 7)))
def test_cached_logits_equal_uncached_in_any_portions(family: str, cuts: set[int]) -> None:
    model = model_of(CONFIGS[family], dtype="float32", scale=5.0)
    ids, _ = batch_of(CONFIGS[family])
    cache = model.empty_cache(2)
    ends = [0, *sorted(cuts), 8]
    parts = [model(ids[:, i:j], cache=cache) for i, j in pairwise(ends)]
    assert not any(part.requires_grad for part in parts)
    assert cache.lengths_B.tolist() == [8, 8]
    np.testing.assert_allclose(np.concatenate([p.numpy() for p in parts], axis=1), model(ids).numpy(), atol=1e-5)


def test_long_portions_after_others() -> None:
    config = ModelConfig(vocab_size=13, context_length=300, num_layers=1, num_heads=2, model_dim=8)
    model = model_of(config, dtype="float32")
    ids, _ = batch_of(config)
    cache = model.empty_cache(2)
    parts = [model(ids[:, i:j], cache=cache).numpy() for i, j in pairwise([0, 40, 300])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), model(ids).numpy(), atol=1e-5)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("num_new", [1, 2])
def test_sequences_of_different_lengths_share_a_cache(family: str, num_new: int) -> None:
    model = model_of(CONFIGS[family], dtype="float32")
    ids, _ = batch_of(CONFIGS[family], rows=3)
    lengths = [5, 2, 4]
    cache = model.empty_cache(3)
    for row, length in enumerate(lengths):
        model(ids[row : row + 1, :length], cache=cache.row(row))
    new = np.stack([ids[row, length : length + num_new] for row, length in enumerate(lengths)])
    logits = model(new, cache=cache).numpy()
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, : length + num_new]).numpy()[0, length:]
        np.testing.assert_allclose(logits[row], alone, atol=1e-5)
    assert cache.lengths_B.tolist() == [length + num_new for length in lengths]


def test_a_cache_is_refused_where_it_does_not_fit() -> None:
    model = GPT.init(CONFIGS["llama"], Key(0))
    cache = model.empty_cache(2)
    with pytest.raises(UserError, match=r"cache: expected ids of 2 sequences, got 1"):
        model([[1]], cache=cache)
    with pytest.raises(UserError, match=r"cache: expected neither dropout"):
        model([[1], [2]], cache=cache, key=Key(0))
    model([[1] * 6] * 2, cache=cache)
    with pytest.raises(UserError, match=r"cache: expected at most 8 tokens .* got 9"):
        model([[1] * 3] * 2, cache=cache)
    assert cache.lengths_B.tolist() == [6, 6], "nothing was written"


# --- refused input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 13]], r"ids: expected 0 \.\. 12 \(the vocabulary\), got 13: use the tokenizer"),
        (np.array([[-1, 2]]), r"ids: expected 0 \.\. 12 .* got -1"),
        ([[0] * 9], r"ids: expected at most 8 tokens \(the context length\), got 9"),
        ([1, 2], r"ids: expected integers of shape \(B, T\), got int64 of shape \(2,\)"),
        ([[1.5]], r"ids: expected integers .* got float64"),
        ([[]], r"ids: expected integers of shape \(B, T\)"),
        ([[1, 2], [3]], r"ids: expected rows of one length"),
    ],
)
def test_ids_that_cannot_be(ids: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GPT.init(CONFIGS["gpt2"], Key(0))(ids)


def test_ids_may_be_lists_arrays_or_tensors() -> None:
    model = GPT.init(CONFIGS["gpt2"], Key(0))
    expected = model([[1, 2, 3]]).numpy()
    for ids in (np.array([[1, 2, 3]], np.uint16), tensorgrad.tensor([[1, 2, 3]])):
        np.testing.assert_array_equal(model(ids).numpy(), expected)


def test_a_vocabulary_must_be_known() -> None:
    with pytest.raises(UserError, match=r"model\.vocab_size.*with_vocabulary"):
        GPT.init(replace(CONFIGS["gpt2"], vocab_size=0), Key(0))


def test_precision_is_of_floats() -> None:
    with pytest.raises(UserError, match=r"precision: expected float dtypes, got int64"):
        Precision("int64")
