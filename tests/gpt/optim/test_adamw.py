"""AdamW over flat buffers, against the algorithm written out per parameter."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad
from gpt.config import OptimConfig
from gpt.errors import UserError
from gpt.optim import AdamW
from gpt.optim.muon import Muon
from tensorgrad import Key
from tensorgrad.kernels import kernels_for
from tensorgrad.rounding import rounded
from tensorgrad.tree import named_tensors

SHAPES = {"matrix": (5, 3), "vector": (7,), "cube": (2, 3, 4), "scalar": ()}


def make_model(seed: int = 0) -> dict[str, tensorgrad.Tensor]:
    return {
        name: tensorgrad.tensor(Key(seed).fold_in(i).normal(shape, dtype="float64"), requires_grad=True)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def textbook_adamw(parameters, gradients, config, learning_rates):
    """Loshchilov and Hutter 2019, algorithm 2, one parameter at a time, with PyTorch's clipping."""
    parameters = {name: p.copy() for name, p in parameters.items()}
    first = {name: np.zeros_like(p) for name, p in parameters.items()}
    second = {name: np.zeros_like(p) for name, p in parameters.items()}
    for t, rate in enumerate(learning_rates, start=1):
        norm = np.sqrt(sum(np.sum(gradients[t - 1][name] ** 2) for name in parameters))
        scale = min(1.0, config.clip_norm / (norm + 1e-6)) if config.clip_norm else 1.0
        for name, p in parameters.items():
            g = gradients[t - 1][name] * scale
            first[name] = config.beta1 * first[name] + (1 - config.beta1) * g
            second[name] = config.beta2 * second[name] + (1 - config.beta2) * g * g
            first_hat = first[name] / (1 - config.beta1**t)
            second_hat = second[name] / (1 - config.beta2**t)
            decay = config.weight_decay if p.ndim >= 2 else 0.0
            parameters[name] = p - rate * (first_hat / (np.sqrt(second_hat) + config.eps) + decay * p)
    return parameters


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 100.0])
def test_steps_equal_the_algorithm_written_out(clip_norm):
    config = OptimConfig(clip_norm=clip_norm, weight_decay=0.3, beta1=0.8, beta2=0.95)
    model = make_model()
    start = {name: x.data.copy() for name, x in model.items()}
    optimizer = AdamW(model, config)
    rates = [0.1, 0.05, 0.2]
    gradients = [
        {name: Key(9).fold_in(t).fold_in(i).normal(s, dtype="float64") for i, (name, s) in enumerate(SHAPES.items())}
        for t in range(3)
    ]
    for t, rate in enumerate(rates):
        optimizer.zero_gradients()
        for name, x in model.items():
            (x * gradients[t][name]).sum().backward()
        norm = optimizer.step(rate, t + 1)
        assert norm == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in gradients[t].values())), rel=1e-12)
    expected = textbook_adamw(start, gradients, config, rates)
    for name, x in model.items():
        np.testing.assert_allclose(x.data, expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.oracle
def test_steps_equal_pytorch():
    torch = pytest.importorskip("torch")
    config = OptimConfig(clip_norm=0.7, weight_decay=0.2, beta2=0.98)
    model = make_model(3)
    twins = {name: torch.tensor(x.data.copy(), requires_grad=True) for name, x in model.items()}
    groups = [
        {"params": [p for p in twins.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in twins.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    peer = torch.optim.AdamW(groups, lr=0.03, betas=(config.beta1, config.beta2), eps=config.eps)
    optimizer = AdamW(model, config)
    for number in range(1, 6):
        optimizer.zero_gradients()
        peer.zero_grad()
        for x in model.values():
            (x**3 + x).sum().backward()
        for p in twins.values():
            (p**3 + p).sum().backward()
        ours = optimizer.step(0.03, number)
        theirs = torch.nn.utils.clip_grad_norm_(list(twins.values()), config.clip_norm)
        peer.step()
        assert ours == pytest.approx(float(theirs), rel=1e-12)
    for name, x in model.items():
        np.testing.assert_allclose(x.data, twins[name].detach().numpy(), rtol=1e-12)


def test_parameters_and_gradients_are_views_of_the_buffers():
    model = make_model()
    before = {name: x.data.copy() for name, x in model.items()}
    optimizer = AdamW(model, OptimConfig())
    for name, x in model.items():
        np.testing.assert_array_equal(x.data, before[name])
        assert np.shares_memory(x.data, optimizer.parameters)
        assert np.shares_memory(x.grad.data, optimizer.gradients)
        assert x.data.ctypes.data % 8 == 0
        x.sum().backward()
        np.testing.assert_array_equal(x.grad.data, np.ones(x.shape))
        assert np.shares_memory(x.grad.data, optimizer.gradients)
    assert optimizer.gradients.sum() == sum(x.size for x in model.values())


def test_a_tied_parameter_is_one_parameter():
    shared = tensorgrad.ones((2, 2), requires_grad=True)
    optimizer = AdamW({"a": shared, "b": [shared]}, OptimConfig())
    assert optimizer.names == ("a",)


def test_a_gradient_that_is_not_finite_changes_nothing():
    model = make_model()
    optimizer = AdamW(model, OptimConfig())
    optimizer.gradients[3] = np.inf
    before = optimizer.parameters.copy()
    assert optimizer.step(0.1, 1) == np.inf
    np.testing.assert_array_equal(optimizer.parameters, before)
    assert not optimizer.first_moment.any()
    assert not optimizer.second_moment.any()


def test_state_continues_exactly():
    def run(model, optimizer, numbers):
        for number in numbers:
            optimizer.zero_gradients()
            for x in model.values():
                (x * x).sum().backward()
            optimizer.step(0.01, number)

    model = make_model()
    optimizer = AdamW(model, OptimConfig())
    run(model, optimizer, [1, 2])
    twin = {name: tensorgrad.tensor(x.data, requires_grad=True) for name, x in model.items()}
    resumed = AdamW(twin, OptimConfig())
    resumed.load_state({name: a.copy() for name, a in optimizer.state().items()})
    run(model, optimizer, [3, 4])
    run(twin, resumed, [3, 4])
    np.testing.assert_array_equal(resumed.parameters, optimizer.parameters)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"first_moment": np.zeros(3), "second_moment": np.zeros(3)},
        {"first_moment": np.zeros(256, np.float32), "second_moment": np.zeros(256, np.float32)},
    ],
)
def test_the_state_of_another_model_is_refused(state):
    optimizer = AdamW(make_model(), OptimConfig())
    with pytest.raises(UserError, match="optimizer state: expected first_moment of float64"):
        optimizer.load_state(state)


def test_a_gradient_of_a_graph_from_before_the_step_is_refused():
    model = make_model()
    optimizer = AdamW(model, OptimConfig())
    before = tensorgrad.square(model["matrix"]).sum()
    (tensorgrad.square(model["vector"]).sum()).backward()
    optimizer.step(1e-3, 1)
    with pytest.raises(tensorgrad.GraphError, match="values that square"):
        before.backward()


NARROW = np.dtype("float32")


def swap_and_back(optimizer, x):
    """As an evaluation with averaged weights does."""
    own = x.data
    x.data = own + 1
    with optimizer.rounding(NARROW):
        np.testing.assert_array_equal(rounded(x.array, NARROW), (own + 1).astype(NARROW))
    x.data = own
    own[0] = 4.0


CHANGES = {
    "nothing": lambda optimizer, x: None,
    "an assignment": lambda optimizer, x: x.detach().__setitem__((..., 1), 5.0),
    "a write into data": lambda optimizer, x: x.data.fill(5.0),
    "a write into numpy()": lambda optimizer, x: x.numpy().fill(5.0),
    "other data": lambda optimizer, x: setattr(x, "data", np.full(x.shape, 5.0)),
    "data in place": lambda optimizer, x: setattr(x, "data", np.multiply(x.data, 2, out=x.data)),
    "a write into all parameters": lambda optimizer, x: optimizer.parameters.fill(5.0),
    "other weights for a while": swap_and_back,
    "a state": lambda optimizer, x: optimizer.load_state({name: a + 1 for name, a in optimizer.state().items()}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_parameters_are_rounded_right_whatever_happened_to_them(change, kind, monkeypatch):
    model = {"matrix": make_model()["matrix"], "blocks.0": {"w": tensorgrad.tensor(np.eye(3, 70), requires_grad=True)}}
    optimizer, tensors = kind(model, OptimConfig()), list(named_tensors(model).values())
    casts, kernels = [], kernels_for(optimizer.gradients)
    cast = kernels.cast
    monkeypatch.setattr(kernels, "cast", lambda x, *args: casts.append(x.size) or cast(x, *args))

    def check():
        with optimizer.rounding(NARROW):
            for x in tensors:
                np.testing.assert_array_equal(rounded(x.array, NARROW), x.array.astype(NARROW))

    for number in range(1, 4):
        check()
        optimizer.gradients[...] = number
        if number == 3:
            optimizer.gradients[0] = np.inf
        optimizer.step(1e-2, number)
        if change is CHANGES["nothing"]:
            # One cast of everything before the first step; after each update Muon casts the matrices that it moved.
            assert casts == [optimizer.gradients.size] + [256] * min(number, 2) * (kind is Muon)
        check()
        change(optimizer, tensors[0])
        check()
        change(optimizer, tensors[1])
        check()


def test_a_write_through_what_was_once_handed_out_reaches_the_copy():
    model = make_model()
    optimizer = AdamW(model, OptimConfig())
    held, flat = model["matrix"].data, optimizer.parameters
    for number, array in enumerate((held, flat, held), start=1):
        optimizer.step(1e-2, number)
        array.fill(number)
        with optimizer.rounding(NARROW):
            copied = rounded(model["matrix"].array, NARROW)
            np.testing.assert_array_equal(copied, np.full((5, 3), number, NARROW))
            assert not np.shares_memory(copied, optimizer.parameters)
        with optimizer.rounding(np.dtype(np.float64)):
            assert rounded(model["matrix"].array, np.dtype(np.float64)) is model["matrix"].array


def test_a_gradient_of_a_graph_that_kept_the_copy_is_refused_after_the_step():
    model = make_model()
    optimizer = AdamW(model, OptimConfig())
    with optimizer.rounding(NARROW):
        out = tensorgrad.square(tensorgrad.astype(model["matrix"], NARROW, copy=False)).sum()
    optimizer.step(1e-3, 1)
    with pytest.raises(tensorgrad.GraphError, match="values that square"):
        out.backward()


def test_a_new_sum_of_gradients_is_written_over_the_last_one():
    shapes = {"used": (7,), "unused": (5,), "weight": (3, 4), "rows": (3, 2)}
    model = {name: tensorgrad.tensor(np.ones(shape), requires_grad=True) for name, shape in shapes.items()}
    optimizer = AdamW(model, OptimConfig())
    for number in (1, 2):
        for x in model.values():
            x.grad.data[...] = np.nan
        optimizer.zero_gradients()
        assert all(x.grad is None for x in model.values())
        for _ in range(number):
            (3 * model["used"].sum() + model["rows"][np.array([0, 0, 2])].sum()).backward()
            (tensorgrad.linear(np.ones((5, 4)), model["weight"]) * 2).sum().backward()
        assert model["used"].grad.array.base is not None  # a view of the buffer
        np.testing.assert_array_equal(model["used"].grad.numpy(), np.full(7, 3.0 * number))
        np.testing.assert_array_equal(model["weight"].grad.numpy(), np.full((3, 4), 10.0 * number))
        np.testing.assert_array_equal(model["rows"].grad.numpy()[:, 0], number * np.array([2.0, 0, 1]))
        assert model["unused"].grad is None
        assert optimizer.gradients.sum() == number * (21 + 120 + 6)  # zeros without a gradient
        model["unused"].grad = tensorgrad.tensor(np.full(5, 2.0))  # a gradient outside the buffer
        assert optimizer.gradients.sum() == number * (21 + 120 + 6) + 10
        assert np.shares_memory(model["unused"].grad.data, optimizer.gradients)
