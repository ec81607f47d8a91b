"""Precisions by name, on each kind of device; a float16 run with overflowing gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpt import checkpoint, train
from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.model.precision import Precision
from gpt.optim import loss_scale
from gpt.train.metrics import read_metrics
from tensorgrad.dtype import accumulation_dtype, as_dtype

CONFIG = TrainConfig(
    steps=8,
    batch_size=4,
    micro_batch_size=2,
    eval_interval_steps=0,
    checkpoint_interval_steps=4,
    keep_checkpoints=0,
    log_interval_steps=1,
    precision="fp16",
    model=ModelConfig(context_length=8, num_layers=1, num_heads=2, model_dim=16),
    tokenizer=TokenizerConfig(kind="bytes"),
    optim=OptimConfig(warmup_steps=2),
)


def test_fp16_is_float16_activations_under_float32_parameters():
    assert Precision.of("fp16") == Precision("float32", compute="float16")
    assert accumulation_dtype(as_dtype(Precision.of("fp16", "cuda").compute)) == np.float32
    assert [Precision.of(name).is_loss_scaled for name in ("float32", "float64", "fp16")] == [False, False, True]


def test_bf16_on_a_gpu_is_bfloat16_activations():
    pytest.importorskip("ml_dtypes")
    assert Precision.of("bf16", "cuda:1") == Precision("float32", compute="bfloat16")
    assert not Precision.of("bf16", "cuda").is_loss_scaled


def test_fp16_learns_what_float32_learns(text, tmp_path):
    losses = {}
    for precision in ("fp16", "float32"):
        train.train(replace(CONFIG, precision=precision), [str(text)], tmp_path / precision)
        records = read_metrics(tmp_path / precision / "metrics.jsonl")
        losses[precision] = [r["loss"] for r in records if "loss" in r]
    np.testing.assert_allclose(losses["fp16"], losses["float32"], rtol=2e-3)
    assert losses["fp16"] != losses["float32"]


def test_an_overflow_is_survived_and_resumed_after(text, tmp_path, monkeypatch, capsys):
    """The loss scale is so large that the first gradients overflow. A resumed run continues scale and count."""
    monkeypatch.setattr("gpt.optim.adamw.FIRST", 2.0**30)
    monkeypatch.setattr(loss_scale, "_PATIENCE", 3)
    monkeypatch.setattr("gpt.train.run._MAX_BAD_STEPS", 2)  # steps that are skipped while the scale falls do not count
    whole = train.train(replace(CONFIG, steps=20), [str(text)], tmp_path / "whole")
    printed = capsys.readouterr().out
    overflows = [n for n in range(1, 21) if f"step {n}: the gradient overflowed" in printed]
    assert overflows[:3] == [1, 2, 3]
    assert len(overflows) < 18
    state = checkpoint.load_training_state(tmp_path / "whole").arrays["loss_scale"]
    assert state[0] < 2.0**30
    norms = [r["grad_norm"] for r in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss" in r]
    assert [n + 1 for n, norm in enumerate(norms) if not np.isfinite(norm)] == overflows
    for step in (4, 16):
        folder = tmp_path / f"resumed-{step}"
        (tmp_path / "whole").rename(folder)
        for later in checkpoint.checkpoints(folder):
            if later.name > f"step-{step:08d}":
                later.rename(tmp_path / f"{step}-{later.name}")
        resumed = train.resume(folder)
        again = checkpoint.load_training_state(folder).arrays
        np.testing.assert_array_equal(again["loss_scale"], state)
        assert resumed.evaluation == whole.evaluation
        folder.rename(tmp_path / "whole")
