"""Muon: its orthogonalisation against the singular values, its update written out per parameter, its state."""

from __future__ import annotations

import time

import numpy as np
import pytest

import tensorgrad
from gpt.config import ModelConfig, OptimConfig
from gpt.errors import UserError
from gpt.model import GPT
from gpt.optim import AdamW, make_optimizer
from gpt.optim.muon import Muon, orthogonalized
from tensorgrad import Key, threads
from tensorgrad.array import cuda_module, to_device
from tensorgrad.errors import DeviceError
from tensorgrad.tree import named_tensors

CONFIG = OptimConfig(optimizer="muon", clip_norm=0.5, weight_decay=0.3, muon_learning_rate=0.05, muon_momentum=0.8)
MODEL = ModelConfig(vocab_size=20, context_length=8, num_layers=2, num_heads=4, num_kv_heads=2, model_dim=16)
# The rows of maps that one product computes: queries, keys and values; gate and up.
MAPS = {"attention.qkv": [16, 24], "mlp.gate_up": [64]}


@pytest.mark.parametrize("shape", [(24, 24), (8, 40), (40, 8), (1, 5)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    x = Key(1).normal(shape, dtype="float64")
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    values = np.diag(u.T @ orthogonalized(x) @ vt.T)
    is_counted = s / np.linalg.norm(x) > 0.005
    assert is_counted.sum() >= len(s) - 1
    assert values[is_counted].min() > 0.65
    assert values.max() < 1.25
    np.testing.assert_allclose(u.T @ orthogonalized(x) @ vt.T, np.diag(values), atol=1e-12)


def test_the_scale_of_a_matrix_does_not_matter_and_zeros_stay_zeros():
    x = Key(2).normal((6, 9), dtype="float64")
    np.testing.assert_allclose(orthogonalized(x * 1e-9), orthogonalized(x), rtol=1e-9, atol=1e-12)
    assert not orthogonalized(np.zeros((3, 2))).any()


def test_float32_stays_float32_and_near():
    x = Key(3).normal((48, 32), dtype="float64")
    result = orthogonalized(x.astype(np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, orthogonalized(x), atol=1e-4)


def gradients_of(model, step):
    return {name: Key(9).fold_in(step).normal(x.shape, dtype="float64") for name, x in named_tensors(model).items()}


def set_gradients(model, step):
    for name, gradient in gradients_of(model, step).items():
        named_tensors(model)[name].grad.data[...] = gradient


def test_steps_equal_the_algorithm_written_out():
    """Jordan et al. 2024 for each of the blocks' matrices, and AdamW's steps for the other parameters."""
    model, twin = (GPT.init(MODEL, Key(0), dtype="float64") for _ in range(2))
    optimizer, adamw = Muon(model, CONFIG), AdamW(twin, CONFIG)
    tensors, twins = named_tensors(model), named_tensors(twin)
    expected = {name: x.data.copy() for name, x in tensors.items()}
    momentum = {name: np.zeros(x.shape) for name, x in tensors.items()}
    is_hidden = {name: name.startswith("blocks.") and x.ndim == 2 for name, x in tensors.items()}
    assert sum(is_hidden.values()) == 8
    assert not is_hidden["embedding.tokens"]
    for step, rate in enumerate([1e-3, 5e-4, 2e-3], start=1):
        set_gradients(model, step)
        set_gradients(twin, step)
        norm = optimizer.step(rate, step)
        assert adamw.step(rate, step) == pytest.approx(norm, rel=1e-12)
        muon_rate = rate / CONFIG.learning_rate * 0.05
        for name, gradient in gradients_of(model, step).items():
            if is_hidden[name]:
                g = gradient * (0.5 / (norm + 1e-6))
                momentum[name] = 0.8 * momentum[name] + 0.2 * g
                cuts = next((cuts for part, cuts in MAPS.items() if part in name), [])
                updates = [
                    max(1, u.shape[0] / u.shape[1]) ** 0.5 * orthogonalized(u)
                    for u in np.split(0.8 * momentum[name] + 0.2 * g, cuts)
                ]
                expected[name] = expected[name] * (1 - muon_rate * 0.3) - muon_rate * np.concatenate(updates)
    for name, x in tensors.items():
        np.testing.assert_allclose(x.data, expected[name] if is_hidden[name] else twins[name].data, rtol=1e-9)


def test_the_configuration_names_the_optimizer():
    model = GPT.init(MODEL, Key(0))
    assert type(make_optimizer(model, OptimConfig())) is AdamW
    assert type(make_optimizer(model, CONFIG)) is Muon


def test_a_gradient_that_is_not_finite_changes_nothing():
    model = GPT.init(MODEL, Key(0))
    optimizer = Muon(model, CONFIG)
    optimizer.gradients[3] = np.nan
    before = optimizer.parameters.copy()
    assert np.isnan(optimizer.step(0.1, 1))
    np.testing.assert_array_equal(optimizer.parameters, before)
    assert not any(buffer.any() for buffer in optimizer.state().values())


def test_state_continues_exactly_on_any_number_of_threads():
    def run(model, optimizer, steps):
        for step in steps:
            set_gradients(model, step)
            optimizer.step(1e-3, step)

    model = GPT.init(MODEL, Key(0))
    optimizer = Muon(model, CONFIG)
    run(model, optimizer, [1, 2])
    twin = tensorgrad.tree.map_tensors(lambda x: tensorgrad.tensor(x.data, requires_grad=True), model)
    resumed = Muon(twin, CONFIG)
    resumed.load_state({name: buffer.copy() for name, buffer in optimizer.state().items()})
    run(model, optimizer, [3, 4])
    with threads(2):
        run(twin, resumed, [3, 4])
    np.testing.assert_array_equal(resumed.parameters, optimizer.parameters)


def on_the_device(cupy, monkeypatch):
    """Three updates on a stream, on two threads: the parameters, and the stream on which each matrix moved."""
    model = GPT.init(MODEL, Key(0), dtype="float64").to("cuda")
    optimizer = Muon(model, CONFIG)
    seen, move = [], Muon._move

    def watched(self, *arrays):
        seen.append(cupy.cuda.get_current_stream().ptr)
        time.sleep(0.002)  # long enough for any other thread to take the next matrix
        move(self, *arrays)

    monkeypatch.setattr(Muon, "_move", watched)
    with threads(2), cupy.cuda.Stream(non_blocking=True) as stream:
        for step in range(1, 4):
            for name, gradient in gradients_of(model, step).items():
                named_tensors(model)[name].grad.data[...] = to_device(gradient, "cuda")
            optimizer.step(1e-3, step)
        stream.synchronize()
    assert len(seen) == 3 * len(optimizer._matrices)
    assert set(seen) == {stream.ptr}
    return optimizer.parameters.get()


def on_the_host():
    model = GPT.init(MODEL, Key(0), dtype="float64")
    optimizer = Muon(model, CONFIG)
    for step in range(1, 4):
        set_gradients(model, step)
        optimizer.step(1e-3, step)
    return optimizer.parameters


def test_on_a_device_every_matrix_moves_on_the_current_stream(cupy, monkeypatch):
    """A thread of the pool has a current stream of its own: its work would not follow the gradients."""
    np.testing.assert_allclose(on_the_device(cupy, monkeypatch), on_the_host(), rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_on_a_gpu_every_matrix_moves_on_the_current_stream(monkeypatch):
    try:
        cupy = cuda_module()
    except DeviceError as problem:
        pytest.skip(str(problem))
    np.testing.assert_allclose(on_the_device(cupy, monkeypatch), on_the_host(), rtol=1e-9, atol=1e-12)


def test_adamws_state_is_refused():
    state = AdamW(GPT.init(MODEL, Key(0)), OptimConfig()).state()
    with pytest.raises(UserError, match="optimizer state: expected first_moment"):
        Muon(GPT.init(MODEL, Key(0)), CONFIG).load_state(state)
