"""One update rounds each parameter once, however the batch is split."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpt.config import OptimConfig
from gpt.model import GPT
from gpt.optim import AdamW
from gpt.train.step import train_step
from tensorgrad import Key
from tensorgrad.kernels import kernels_for
from tests.gpt import models


@pytest.mark.parametrize("config", [models.GPT2, models.LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("is_recomputed", [False, True])
def test_parameters_are_rounded_once(config: Any, is_recomputed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cast serves every micro-batch; updates equal those that round each parameter at each use."""
    config = replace(config, vocab_size=37)
    ids = np.random.default_rng(0).integers(0, 37, (6, config.context_length + 1))
    kernels: Any = kernels_for(ids)
    cast, narrowed = kernels.cast, Counter[int]()

    def counted(x: np.ndarray, dtype: Any, out: Any = None) -> np.ndarray:
        narrowed[x.size] += x.dtype == np.float32
        return cast(x, dtype, out)

    def updated() -> np.ndarray:
        model = GPT.init(config, Key(0), dtype="fp16")
        optimizer = AdamW(model, OptimConfig(), is_loss_scaled=True)
        narrowed.clear()
        for number in (1, 2):
            train_step(
                model,
                optimizer,
                ids[:, :-1],
                ids[:, 1:],
                micro_batch_size=2,
                learning_rate=1e-3,
                number=number,
                is_recomputed=is_recomputed,
            )
        return optimizer.parameters

    monkeypatch.setattr(kernels, "cast", counted)
    parameters = updated()
    activations = 2 * config.context_length * config.model_dim
    # Only before the first step: its update also writes the copy for the second.
    assert {size: count for size, count in narrowed.items() if count} == {parameters.size: 1, activations: 6}
    monkeypatch.setattr(AdamW, "rounding", lambda *given: nullcontext())
    np.testing.assert_array_equal(updated(), parameters)
    assert sum(narrowed.values()) > 6 * 10
