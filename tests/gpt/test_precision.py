"""bf16 on the CPU: float32 but for the operands of products, close to float32, and refused where it gains nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tensorgrad
from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.errors import UserError
from gpt.model import GPT
from gpt.optim import AdamW
from gpt.precision import Precision
from gpt.train import resume, train, train_step
from tensorgrad import Key
from tensorgrad.kernels import gemm
from tensorgrad.tree import named_tensors

needs_bf16 = pytest.mark.skipif(not gemm.has_fast_bfloat16(), reason="no fast products of bfloat16")
LLAMA = ModelConfig(vocab_size=61, context_length=32, num_layers=2, num_heads=4, num_kv_heads=2, model_dim=64)
GPT2 = replace(LLAMA, positions="learned", norm="layer_norm", activation="gelu_tanh", has_bias=True, num_kv_heads=0)


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences that repeat with a period, so that there is something to learn."""
    starts = Key(number).integers(0, 61, (8, 1))
    ids = (starts + np.arange(33) % 7 * 5) % 61
    return ids[:, :-1], ids[:, 1:]


@needs_bf16
@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_gradients_are_float32_s_to_bfloat16_s_precision(config: ModelConfig) -> None:
    found = []
    for precision in ("float32", "bf16"):
        model = GPT.init(config, Key(0), dtype=precision)
        loss = model.loss(*batch(0))
        loss.backward()
        assert loss.dtype == model.compute_dtype == np.float32
        found.append((loss.item(), {name: x.grad.numpy() for name, x in named_tensors(model).items()}))
    (loss, gradients), (rounded_loss, rounded) = found
    assert rounded_loss == pytest.approx(loss, rel=1e-3)
    assert rounded_loss != loss
    for name, g in gradients.items():
        assert np.linalg.norm(rounded[name] - g) < 0.02 * np.linalg.norm(g), name


@needs_bf16
def test_fifty_steps_stay_close_to_float32_s() -> None:
    curves = []
    with tensorgrad.threads(2):
        for precision in ("float32", "bf16"):
            model = GPT.init(LLAMA, Key(0), dtype=precision)
            optimizer = AdamW(model, OptimConfig(learning_rate=2e-3))
            step = {"micro_batch_size": 8, "learning_rate": 2e-3}
            losses = [train_step(model, optimizer, *batch(n), number=n + 1, **step)[0] for n in range(50)]
            assert all(x.dtype == np.float32 for x in named_tensors(model).values())
            curves.append(np.array(losses))
    assert curves[0][-1] < 0.6 * curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.02)


@needs_bf16
def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six seven eight nine ten\n" * 60)
    config = TrainConfig(
        steps=6,
        batch_size=4,
        checkpoint_interval_steps=3,
        eval_interval_steps=0,
        precision="bf16",
        model=replace(LLAMA, vocab_size=0, context_length=16),
        tokenizer=TokenizerConfig(kind="bytes"),
        optim=OptimConfig(schedule="constant"),
    )
    whole = train(config, [str(text)], tmp_path / "whole")
    stopped = tmp_path / "stopped"
    train(replace(config, steps=3), [str(text)], stopped)
    toml = stopped / "config.toml"
    assert 'precision = "bf16"' in toml.read_text()
    toml.write_text(toml.read_text().replace("steps = 3\n", "steps = 6\n", 1))
    resumed = resume(stopped)
    for name, x in named_tensors(whole.model).items():
        np.testing.assert_array_equal(named_tensors(resumed.model)[name].numpy(), x.numpy(), err_msg=name)


@pytest.mark.parametrize("reason", ["not installed (package x)", ""])
def test_it_is_refused_before_anything_is_written(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(gemm, "bfloat16_problem", lambda: reason)
    with pytest.raises(UserError, match=r"precision: expected oneDNN .* got (not installed|a processor with neither)"):
        train(TrainConfig(precision="bf16"), [], tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_only_bfloat16_products() -> None:
    with pytest.raises(UserError, match="expected product to be bfloat16 or None, got float16"):
        Precision(product="float16")
