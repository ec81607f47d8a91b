"""Whole models on shapes: their work equals the formula, their memory that of a real run."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from gpt.config import ModelConfig, OptimConfig
from gpt.model import GPT
from gpt.optim import AdamW
from tensorgrad import kernels
from tensorgrad.tree import named_tensors

GPT2 = ModelConfig(
    num_layers=2,
    num_heads=4,
    model_dim=128,
    context_length=96,
    vocab_size=512,
    positions="learned",
    norm="layer_norm",
    activation="gelu_tanh",
    has_bias=True,
)
LLAMA = ModelConfig(
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    model_dim=128,
    context_length=128,
    vocab_size=512,
    is_head_tied=False,
)
WIDER = {"num_layers": 2, "num_heads": 8, "model_dim": 192, "context_length": 160, "vocab_size": 1500}
MODELS = {
    "gpt2": GPT2,
    "gpt2-wider": replace(GPT2, **WIDER),
    "llama": LLAMA,
    "llama-wider": replace(LLAMA, **WIDER),
    "n-grams": replace(LLAMA, ngram_length=3, ngram_rows=500),
    "sinusoidal": replace(LLAMA, positions="sinusoidal", qk_norm=True, logit_soft_cap=30.0, activation="relu_squared"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {"key": tg.Key(1)},
    "recompute": {"recompute": True},
}


def steps(config: ModelConfig, batch: int, options: dict[str, Any]) -> Iterator[None]:
    """A model, then a training step's forward and backward; pauses after each."""
    if "key" in options:
        config = replace(config, dropout=0.1)
    model = GPT.init(config, tg.Key(0))
    ids = np.arange(batch * config.context_length).reshape(batch, -1) % config.vocab_size
    yield
    model.loss(ids, ids, **options).backward()
    yield


@pytest.mark.parametrize(
    ("name", "options"), [(name, "plain") for name in MODELS] + [(n, o) for n in ("gpt2", "llama") for o in OPTIONS]
)
def test_peak_memory(name: str, options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 3 % of what NumPy allocates with the reference kernels, Python's own objects included."""
    monkeypatch.setattr(kernels, "cpu_kernels", lambda: (kernels.reference, ""))
    run = steps(MODELS[name], 4, OPTIONS.get(options, {}))
    with tg.abstract() as meter:
        next(run)
        meter.reset_peak()
        next(run)
        live = meter.live_bytes
        del run
    for _ in steps(
        replace(MODELS[name], num_layers=1), 1, OPTIONS.get(options, {})
    ):  # for what is cached and imported once
        pass
    tracemalloc.start()
    try:
        run = steps(MODELS[name], 4, OPTIONS.get(options, {}))
        next(run)
        gc.collect()
        tracemalloc.reset_peak()
        next(run)
        real_live, real_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.97 * real_peak <= meter.peak_bytes <= 1.01 * real_peak
    assert 0.95 * real_live <= live <= 1.01 * real_live


@pytest.mark.parametrize("name", ["gpt2", "gpt2-wider", "llama", "llama-wider"])
def test_work(name: str) -> None:
    """Every term, by hand: 6 N per token for the N weights in products, attention, and the rest per element."""
    config, batch = MODELS[name], 3
    with tg.abstract() as meter:
        model = GPT.init(config, tg.Key(0))
        ids = np.zeros((batch, config.context_length), int)
        model.loss(ids, ids).backward()
        cost = meter.by_op()
    tokens, width, layers = batch * config.context_length, config.model_dim, config.num_layers
    time_, heads, head_dim = config.context_length, config.num_heads, config.head_dim
    pairs = layers * batch * heads * time_ * (time_ + 1) // 2
    queries = layers * batch * heads * time_ * head_dim
    tensors = named_tensors(model)
    products = {key: x for key, x in tensors.items() if x.ndim == 2 and "embedding" not in key}
    if config.is_head_tied:
        products["head"] = model.head.weight
    weights = sum(x.size for x in products.values())
    bias_sizes = sum(x.size for key, x in tensors.items() if key.endswith("bias") and "norm" not in key)

    head, of_head = cost["linear_cross_entropy"], tokens * width * config.vocab_size
    linear, mlp, activated = cost["linear"], cost["mlp"], layers * tokens * config.ffn_width
    is_gated = config.activation == "swiglu"
    products_flops = tokens * (2 * weights + bias_sizes) - 2 * of_head
    assert linear.forward_flops + mlp.forward_flops == products_flops + 5 * activated
    assert mlp.forward_flops >= 2 * (3 if is_gated else 2) * activated * width + 5 * activated
    # The activation is made again, of what its gradient has at hand.
    products_flops = tokens * (4 * weights + bias_sizes) - 4 * of_head
    assert linear.backward_flops + mlp.backward_flops == products_flops + (10 if is_gated else 12) * activated
    turned = layers * tokens * (heads + config.kv_heads) * head_dim if config.positions == "rope" else 0
    attention = cost["self_attention"]
    assert attention.forward_flops == pairs * (4 * head_dim + 5) + queries + 3 * turned
    assert attention.backward_flops == pairs * (10 * head_dim + 6) + 2 * queries + 3 * turned
    # The usual estimate counts attention whole, where half is masked, and not that backward makes scores again.
    assert tokens * config.flops_per_token() == 6 * tokens * weights + 12 * layers * width * time_ * tokens

    norms = (2 * layers + 1) * tokens * width
    if config.norm == "layer_norm":
        assert cost["layer_norm"].flops == norms * (7 + 12)
        # Two residual sums a layer and the positions, whose gradient is summed over the batch.
        assert cost["add"].forward_flops == tokens * width * (2 * layers + 1)
        assert cost["add"].backward_flops == tokens * width
    else:
        assert cost["rms_norm"].flops == norms * (4 + 9)
        assert cost["add"].flops == tokens * width * 2 * layers
    # Of each logit; of each token's loss a few more operations.
    logits = tokens * config.vocab_size
    assert 0 <= head.forward_flops - 2 * of_head - 4 * logits < 20 * tokens
    assert 0 <= head.backward_flops - 4 * of_head - 3 * logits < 20 * tokens
    assert meter.flops == sum(one.flops for one in cost.values())
    assert set(cost) <= {
        *("add", "embedding", "gradients", "layer_norm", "linear", "linear_cross_entropy", "mlp", "other"),
        *("rms_norm", "self_attention"),
    }


def test_a_training_step() -> None:
    """The optimizer too: its buffers are made, its work counted, and nothing but them and the model stays."""
    config = replace(LLAMA, dropout=0.1)
    with tg.abstract() as meter:
        model = GPT.init(config, tg.Key(0))
        size = sum(x.size for x in named_tensors(model).values())
        optimizer = AdamW(model, OptimConfig())
        ids = np.zeros((2, 16), int)
        for number in (1, 2):
            optimizer.zero_gradients()
            model.loss(ids, ids, key=tg.Key(3)).backward()
            optimizer.step(1e-3, number)
        assert 4 * 4 * size <= meter.live_bytes <= 4 * 4 * size * 1.05
        assert meter.by_op()["other"].forward_flops >= 2 * 14 * size


@pytest.mark.untraced
def test_a_large_model_takes_seconds() -> None:
    config = replace(GPT2, num_layers=48, num_heads=25, model_dim=1600, context_length=1024, vocab_size=50257)
    before = time.process_time()
    with tg.abstract() as meter:
        model = GPT.init(config, tg.Key(0))
        meter.reset_peak()
        ids = np.zeros((8, 1024), int)
        loss = model.loss(ids, ids)
        at_turn = meter.live_bytes
        loss.backward()
    assert time.process_time() - before < 30  # 4 on an idle core
    assert meter.live_bytes == pytest.approx(2 * 4 * 1.558e9, rel=0.001)  # the weights and their gradients
    assert 30e9 < at_turn < meter.peak_bytes < 60e9
    assert meter.flops == pytest.approx(8 * 1024 * config.flops_per_token(), rel=0.05)  # whose attention is whole


def test_a_large_model_takes_no_memory() -> None:
    config = replace(GPT2, num_heads=25, model_dim=1600, context_length=1024, vocab_size=50257)
    tracemalloc.start()
    try:
        with tg.abstract() as meter:
            ids = np.zeros((8, 1024), int)
            GPT.init(config, tg.Key(0)).loss(ids, ids).backward()
        assert tracemalloc.get_traced_memory()[1] < 1e-3 * meter.peak_bytes
    finally:
        tracemalloc.stop()


def test_a_second_gradient_is_added_to_the_first() -> None:
    with tg.abstract() as meter:
        x, weight = tg.ones((5, 4), dtype="float32"), tg.ones((3, 4), dtype="float32", requires_grad=True)
        flops = []
        for _ in range(2):
            before = meter.flops
            tg.linear(x, weight).sum().backward()
            flops.append(meter.flops - before)
        assert weight.grad.shape == (3, 4)
        assert flops[1] - flops[0] == 3 * 4  # the sum with what is there
