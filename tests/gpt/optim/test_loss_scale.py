"""Loss scaling, against its rule written out with Python numbers, and in an update with a planted overflow."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad
from gpt.config import OptimConfig
from gpt.optim import AdamW, loss_scale
from gpt.optim.loss_scale import update_scale
from tensorgrad import Key


def test_the_scale_follows_its_rule(monkeypatch):
    monkeypatch.setattr(loss_scale, "_PATIENCE", 3)
    monkeypatch.setattr(loss_scale, "_LARGEST", 2.0**18)
    state = np.array([2.0**16, 0.0])
    norms = [1.0, 2.0, 3.0, np.inf, 1.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    scale, count, expected = 2.0**16, 0, []
    for norm in norms:
        if not np.isfinite(norm):
            scale, count = max(1.0, scale / 2), 0
        elif count == 2:
            scale, count = min(2.0**18, scale * 2), 0
        else:
            count += 1
        expected.append((scale, count))
        update_scale(state, np.asarray(norm))
        assert tuple(state) == expected[-1]
    assert max(expected)[0] == 2.0**18


def test_the_scale_never_falls_below_one():
    state = np.array([2.0, 0.0])
    for _ in range(3):
        update_scale(state, np.asarray(np.inf))
    assert tuple(state) == (1.0, 0.0)


def test_a_scaled_update_is_the_update():
    """The factor is a power of two: parameters, moments and norm equal the plain update's, bit for bit."""
    results = []
    for is_scaled in (False, True):
        x = tensorgrad.tensor(Key(0).normal((5, 3), dtype="float64"), requires_grad=True)
        optimizer = AdamW([x], OptimConfig(clip_norm=0.5), is_loss_scaled=is_scaled)
        norms = []
        for number in (1, 2):
            optimizer.zero_gradients()
            (x * x).sum().backward(np.asarray(1.0 * optimizer.loss_scale))
            norms.append(float(optimizer.step(0.1, number)))
        results.append((norms, optimizer.parameters.tobytes(), optimizer.second_moment.tobytes()))
    assert results[0] == results[1]


def test_an_overflow_leaves_the_update_out_and_halves_the_scale():
    x = tensorgrad.tensor(np.ones(3), requires_grad=True)
    optimizer = AdamW([x], OptimConfig(), is_loss_scaled=True)
    optimizer.gradients[1] = np.inf
    assert optimizer.step(0.1, 1) == np.inf
    assert optimizer.loss_scale == 2.0**15
    np.testing.assert_array_equal(x.data, 1)
    assert not optimizer.first_moment.any()


def test_the_scale_is_saved_with_the_moments():
    def make() -> AdamW:
        return AdamW([tensorgrad.tensor(np.ones(3), requires_grad=True)], OptimConfig(), is_loss_scaled=True)

    optimizer, resumed = make(), make()
    optimizer.gradients[1] = np.nan
    optimizer.step(0.1, 1)
    resumed.load_state({name: a.copy() for name, a in optimizer.state().items()})
    assert resumed.loss_scale == optimizer.loss_scale == pytest.approx(2.0**15)
    assert "loss_scale" not in AdamW([tensorgrad.ones(2, requires_grad=True)], OptimConfig()).state()
