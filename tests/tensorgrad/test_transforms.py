"""jvp, vjp, hvp, jacobian, hessian against closed forms and each other; recompute against the plain function."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

A = np.random.default_rng(0).normal(size=(4, 3))
X = np.array([0.3, -0.7, 1.1])
V = np.array([1.0, 2.0, -0.5])


def curve(x: tg.Tensor) -> tg.Tensor:
    """R^3 -> R^4 with a closed-form Jacobian: tanh(A x)."""
    return tg.tanh(tg.tensor(A) @ x)


def curve_jacobian(x: np.ndarray) -> np.ndarray:
    return (1 - np.tanh(A @ x) ** 2)[:, None] * A


def cubic(x: tg.Tensor) -> tg.Tensor:
    """A scalar with gradient 3 x^2 + M x and Hessian diag(6 x) + M, M = A^T A."""
    return (x**3).sum() + 0.5 * tg.square(tg.tensor(A) @ x).sum()


CUBIC_GRADIENT = 3 * X**2 + A.T @ A @ X
CUBIC_HESSIAN = np.diag(6 * X) + A.T @ A


def assert_close(got: tg.Tensor, expected: Any, relative: float = 1e-12) -> None:
    np.testing.assert_allclose(got.numpy(), expected, rtol=relative, atol=relative)


def test_value_and_grad() -> None:
    value, (gradient,) = tg.value_and_grad(cubic)(X)
    assert_close(value, (X**3).sum() + 0.5 * ((A @ X) ** 2).sum())
    assert_close(gradient, CUBIC_GRADIENT)
    assert not value.requires_grad
    two = tg.value_and_grad(lambda x, y: (x * y).sum())(X, V)[1]
    assert_close(two[0], V)
    assert_close(two[1], X)


def test_value_and_grad_leaves_grad_and_history_alone() -> None:
    x = tg.tensor(X, requires_grad=True)
    tg.value_and_grad(cubic)(x * 2.0)
    tg.hvp(cubic, x, V)
    tg.jacobian(curve, x)
    assert x.grad is None


def test_vjp_may_be_called_again() -> None:
    out, pullback = tg.vjp(curve, X)
    assert_close(out, np.tanh(A @ X))
    for seed in range(3):
        g = np.random.default_rng(seed).normal(size=4)
        assert_close(pullback(g)[0], g @ curve_jacobian(X))


def test_jvp() -> None:
    out, tangent = tg.jvp(curve, [X], [V])
    assert_close(out, np.tanh(A @ X))
    assert_close(tangent, curve_jacobian(X) @ V)
    _, tangent = tg.jvp(lambda x, y: x * y, [X, V], [V, X])
    assert_close(tangent, V * V + X * X)


def test_jvp_of_linear_and_constant_functions() -> None:
    _, tangent = tg.jvp(lambda x: tg.tensor(A) @ x, [X], [V])
    assert_close(tangent, A @ V)
    _, tangent = tg.jvp(lambda x: tg.tensor(V), [X], [V])
    assert_close(tangent, np.zeros(3))
    _, tangent = tg.jvp(lambda x, y: y * 1.0, [X, V], [V, X])
    assert_close(tangent, X)


def test_hvp_and_hessian() -> None:
    assert_close(tg.hvp(cubic, X, V), CUBIC_HESSIAN @ V)
    assert_close(tg.hessian(cubic, X), CUBIC_HESSIAN)
    np.testing.assert_allclose(tg.hessian(cubic, X).numpy(), tg.hessian(cubic, X).numpy().T, rtol=1e-13)


@pytest.mark.parametrize(
    "f", [lambda x: (x * V).sum(), lambda x: tg.tensor(1.5, dtype="float64")], ids=["linear", "constant"]
)
def test_second_derivatives_of_linear_functions_are_zero(f: Callable[..., tg.Tensor]) -> None:
    assert_close(tg.hvp(f, X, V), np.zeros(3))
    assert_close(tg.hessian(f, X), np.zeros((3, 3)))


def test_jacobian() -> None:
    assert_close(tg.jacobian(curve, X), curve_jacobian(X))
    assert tg.jacobian(lambda x: x.reshape(1, 3) * tg.ones((2, 1), dtype="float64"), X).shape == (2, 3, 3)
    assert tg.jacobian(lambda x: x[:0], X).shape == (0, 3)
    assert_close(tg.jacobian(lambda x: tg.tensor(V), X), np.zeros((3, 3)))


def test_forward_and_reverse_agree() -> None:
    for f, dims in ((curve, 4), (lambda x: tg.softmax(x), 3), (lambda x: tg.layer_norm(x, tg.tensor(V)), 3)):
        columns = [tg.jvp(f, [X], [e])[1].numpy() for e in np.eye(3)]
        rows = [tg.vjp(f, X)[1](e)[0].numpy() for e in np.eye(dims)]
        np.testing.assert_allclose(np.stack(columns, axis=1), np.stack(rows), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(tg.jacobian(f, X).numpy(), np.stack(rows), rtol=1e-13, atol=1e-15)


# --- recompute ---------------------------------------------------------------------------------

KEY = tg.Key(8)


def gradients(f: Callable[..., tg.Tensor], *xs: np.ndarray) -> list[np.ndarray]:
    leaves = [tg.tensor(x, requires_grad=True) for x in xs]
    f(*leaves).backward()
    return [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves]


def block(x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
    h = tg.gelu(tg.layer_norm(x, w[0]) @ w)
    return x + tg.dropout(h, KEY, rate=0.3)


def chain(wrap: Callable[..., Any], x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
    for _ in range(3):
        x = wrap(block)(x, w)
    return tg.square(x).sum()


def plain(f: Callable[..., tg.Tensor]) -> Callable[..., tg.Tensor]:
    return f


W = np.random.default_rng(3).normal(size=(5, 5)) / 2
ROWS = np.random.default_rng(4).normal(size=(6, 5))


def test_recompute_gives_bit_identical_gradients() -> None:
    """For a stack of blocks, each with its own weight: a weight that several blocks use would sum in another order."""

    def loss(wrap: Callable[..., Any], x: tg.Tensor, *weights: tg.Tensor) -> tg.Tensor:
        for gain, w in zip(weights[::2], weights[1::2], strict=True):
            x = wrap(lambda x, g, w: x + tg.dropout(tg.gelu(tg.layer_norm(x, g) @ w), KEY, rate=0.3))(x, gain, w)
        return tg.square(x).sum()

    rng = np.random.default_rng(5)
    arrays = [ROWS, *(rng.normal(size=shape) for shape in ((5,), (5, 5)) * 3)]
    recomputed = gradients(lambda *xs: loss(tg.recompute, *xs), *arrays)
    for got, expected in zip(recomputed, gradients(lambda *xs: loss(plain, *xs), *arrays), strict=True):
        assert np.abs(expected).max() > 0.01
        np.testing.assert_array_equal(got, expected)


def test_recompute_reaches_tensors_that_the_function_closes_over() -> None:
    def loss(wrap: Callable[..., Any], x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        doubled = w * 2.0  # not a leaf, and not an argument
        return wrap(lambda x: tg.tanh(x @ doubled) @ w)(x * 1.5).sum()

    for got, expected in zip(
        gradients(lambda x, w: loss(tg.recompute, x, w), ROWS, W),
        gradients(lambda x, w: loss(plain, x, w), ROWS, W),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)


def test_recompute_of_inputs_that_depend_on_each_other() -> None:
    def loss(wrap: Callable[..., Any], x: tg.Tensor) -> tg.Tensor:
        h = tg.exp(x)
        return wrap(lambda x, h, again: x * h + tg.square(again))(x, h, h).sum()

    (got,) = gradients(lambda x: loss(tg.recompute, x), X)
    np.testing.assert_allclose(got, np.exp(X) * (1 + X) + 2 * np.exp(2 * X), rtol=1e-13)
    tg.check_grads(lambda x: loss(tg.recompute, x), X, order=2)


def test_recompute_of_higher_order_and_nested() -> None:
    tg.check_grads(lambda x, w: chain(tg.recompute, x, w), ROWS[:2], W, order=2)
    nested = tg.recompute(lambda x, w: tg.recompute(block)(tg.recompute(block)(x, w), w))
    tg.check_grads(nested, ROWS[:2], W, order=2)


def test_recompute_runs_once_more_in_backward_and_not_at_all_without() -> None:
    calls = []

    def f(x: tg.Tensor) -> tg.Tensor:
        calls.append(1)
        return tg.exp(x)

    x = tg.tensor(X, requires_grad=True)
    y = tg.recompute(f)(x).sum()
    assert len(calls) == 1
    y.backward()
    assert len(calls) == 2
    with tg.no_grad():
        assert not tg.recompute(f)(x).requires_grad
    assert not tg.recompute(f)(tg.tensor(X)).requires_grad
    assert len(calls) == 4


def test_recompute_passes_other_arguments_and_edge_outputs_through() -> None:
    x = tg.tensor(X, requires_grad=True)
    tg.recompute(lambda x, n, name: x * n if name else x)(x, 3.0, "yes").sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 3.0))
    identity = tg.recompute(lambda x: x)(x * 2.0)
    np.testing.assert_array_equal(tg.grad(identity.sum(), x)[0].numpy(), np.full(3, 2.0))
    parameter = tg.recompute(lambda: x)()
    np.testing.assert_array_equal(tg.grad(parameter.sum(), x)[0].numpy(), np.ones(3))


def test_recompute_holds_less_memory() -> None:
    steps, size = 20, 20_000

    def held_bytes(wrap: Callable[..., Any]) -> int:
        x = tg.tensor(np.full(size, 0.1), requires_grad=True)

        def body(x: tg.Tensor) -> tg.Tensor:
            for _ in range(steps):
                x = tg.sin(x)
            return x

        tracemalloc.start()
        out = wrap(body)(x).sum()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        out.backward()
        return held

    array_bytes = size * 8
    assert held_bytes(plain) > (steps - 2) * array_bytes
    assert held_bytes(tg.recompute) < 3 * array_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    weight: tg.Tensor
    bias: tg.Tensor
    name: str = "layer"

    def __call__(self, x: Any) -> tg.Tensor:
        return tg.tanh(tg.linear(x, self.weight, self.bias))


def layer() -> Layer:
    rng = np.random.default_rng(3)
    return Layer(tg.tensor(rng.normal(size=(2, 3))), tg.tensor(rng.normal(size=2)))


def flat_layer(flat: tg.Tensor) -> tg.Tensor:
    """The same layer at X of one vector: six weights and two biases."""
    return tg.tanh(tg.linear(tg.tensor(X), tg.reshape(flat[:6], (2, 3)), flat[6:]))


def flat_of(tree: Any) -> np.ndarray:
    return np.concatenate([tree.weight.numpy().reshape(-1), tree.bias.numpy().reshape(-1)])


def test_every_transform_takes_a_model_and_returns_trees_like_it() -> None:
    model, flat = layer(), flat_of(layer())
    direction = Layer(tg.tensor(np.arange(6.0).reshape(2, 3)), tg.tensor(np.array([1.0, -1.0])))
    flat_direction = flat_of(direction)

    value, (gradient,) = tg.value_and_grad(lambda m: m(X).sum())(model)
    assert type(gradient) is Layer
    assert gradient.name == "layer"
    expected_value, (expected,) = tg.value_and_grad(lambda v: flat_layer(v).sum())(flat)
    assert_close(value, expected_value.numpy())
    np.testing.assert_allclose(flat_of(gradient), expected.numpy(), rtol=1e-12)

    out, pullback = tg.vjp(lambda m: {"y": m(X), "twice": [m(X) * 2.0]}, model)
    (pulled,) = pullback({"y": tg.tensor(np.ones(2)), "twice": [tg.tensor(np.array([0.5, 0.25]))]})
    (expected,) = tg.vjp(flat_layer, flat)[1](np.array([2.0, 1.5]))
    np.testing.assert_allclose(flat_of(pulled), expected.numpy(), rtol=1e-12)
    assert_close(out["twice"][0], 2 * out["y"].numpy())

    out, tangent = tg.jvp(lambda m: (m(X), m.bias), [model], [direction])
    assert_close(tangent[0], tg.jvp(flat_layer, [flat], [flat_direction])[1].numpy())
    assert_close(tangent[1], [1.0, -1.0])
    assert not out[0].requires_grad

    product = tg.hvp(lambda m: tg.square(m(X)).sum(), model, direction)
    expected = tg.hvp(lambda v: tg.square(flat_layer(v)).sum(), flat, flat_direction)
    np.testing.assert_allclose(flat_of(product), expected.numpy(), rtol=1e-12)

    jacobian = tg.jacobian(lambda m: {"y": m(X)}, model)
    expected = tg.jacobian(flat_layer, flat).numpy()
    assert jacobian["y"].weight.shape == (2, 2, 3)
    np.testing.assert_allclose(jacobian["y"].weight.numpy().reshape(2, 6), expected[:, :6], rtol=1e-12)
    np.testing.assert_allclose(jacobian["y"].bias.numpy(), expected[:, 6:], rtol=1e-12)

    hessian = tg.hessian(lambda m: tg.square(m(X)).sum(), model)
    expected = tg.hessian(lambda v: tg.square(flat_layer(v)).sum(), flat).numpy()
    np.testing.assert_allclose(hessian.weight.bias.numpy().reshape(6, 2), expected[:6, 6:], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(hessian.bias.bias.numpy(), expected[6:, 6:], rtol=1e-11, atol=1e-14)


def test_a_tensor_at_two_places_is_one_variable_and_integers_are_constants() -> None:
    shared, ids = tg.tensor(X), tg.tensor([0, 2])
    tree = {"a": shared, "b": [shared], "ids": ids}
    _, (gradient,) = tg.value_and_grad(lambda t: (t["a"] * t["b"][0])[t["ids"]].sum())(tree)
    assert gradient["ids"] is None
    assert gradient["a"] is gradient["b"][0]
    assert_close(gradient["a"], [2 * X[0], 0.0, 2 * X[2]])


def test_wrong_trees_are_refused() -> None:
    with pytest.raises(tg.DTypeError, match=r"vjp: expected a float Tensor.* got \[1.0, 2.0\]"):
        tg.vjp(lambda t: t, [1.0, 2.0])
    with pytest.raises(tg.GraphError, match=r"vjp: expected a cotangent for each Tensor.* none for 'b'"):
        tg.vjp(lambda x: {"a": x, "b": x * 2.0}, X)[1]({"a": tg.tensor(V)})
    with pytest.raises(tg.GraphError, match=r"value_and_grad: expected a function that returns one Tensor, got \("):
        tg.value_and_grad(lambda x: (x, x))(X)
    with pytest.raises(tg.GraphError, match=r"hessian: expected a function that returns one Tensor, got \["):
        tg.hessian(lambda x: [x], X)


def test_transforms_nest() -> None:
    def quartic(x: tg.Tensor) -> tg.Tensor:
        return (x**4).sum() + x[0] * x[1] * x[2]

    third = tg.jacobian(lambda x: tg.hessian(quartic, x), X).numpy()
    expected = np.zeros((3, 3, 3))
    for i in range(3):
        expected[i, i, i] = 24 * X[i]
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        expected[order] = 1.0
    np.testing.assert_allclose(third, expected, rtol=1e-12, atol=1e-12)

    def by_hvp(x: tg.Tensor) -> tg.Tensor:
        return (tg.hvp(quartic, x, V) * V).sum()

    (gradient,) = tg.value_and_grad(by_hvp)(X)[1]
    np.testing.assert_allclose(gradient.numpy(), np.einsum("ijk,j,k->i", expected, V, V), rtol=1e-12)

    def by_vjp(x: tg.Tensor) -> tg.Tensor:
        value, pullback = tg.vjp(quartic, x * 1.0)
        return value * 2.0 + (pullback(tg.tensor(1.0, dtype="float64"))[0] * V).sum()

    slope = 4 * X**3 + np.prod(X) / X
    curvature = np.diag(12 * X**2) + (np.prod(X) / np.outer(X, X)) * (1 - np.eye(3))
    np.testing.assert_allclose(tg.jacobian(by_vjp, X).numpy(), 2 * slope + curvature @ V, rtol=1e-12)

    def by_jvp(x: tg.Tensor) -> tg.Tensor:
        return tg.jvp(lambda y: tg.value_and_grad(quartic)(y)[1][0], [x], [V])[1]

    np.testing.assert_allclose(tg.jacobian(by_jvp, X).numpy(), np.einsum("ijk,j->ik", expected, V), rtol=1e-12)
    # A transform records nothing unless another one is around it.
    assert not tg.hvp(quartic, tg.tensor(X, requires_grad=True), V).requires_grad


def test_what_does_not_depend_on_its_input_has_no_derivative() -> None:
    x = tg.ones((2, 2), dtype="float64")
    value, pullback = tg.vjp(lambda y: tg.ones((3,)), x)
    assert value.shape == (3,)
    np.testing.assert_array_equal(pullback(tg.ones((3,)))[0].numpy(), np.zeros((2, 2)))
    # Recorded, but with a gradient that no cotangent changes.
    value, tangent = tg.jvp(lambda y: tg.matrix_power(y, 0), [x], [x])
    np.testing.assert_array_equal(value.numpy(), np.eye(2))
    np.testing.assert_array_equal(tangent.numpy(), np.zeros((2, 2)))
