"""check_grads accepts right gradients and refuses each kind of wrong one: the other tests rest on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

X = np.array([[0.7, -1.2, 0.4], [1.1, 0.3, -0.8]])
Y = np.array([0.9, 1.4, -0.6])


def times(vjp_x: Callable[..., Any], vjp_y: Callable[..., Any] | None = None) -> Callable[..., tg.Tensor]:
    """x * y with planted gradients."""

    def planted(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        right_y = lambda g: tg.sum(g * x, axis=0)  # noqa: E731
        back = right_y if vjp_y is None else lambda g: vjp_y(g, x, y)
        return tg.record(x.data * y.data, (x, lambda g: vjp_x(g, x, y)), (y, back))

    return planted


def right(g: Any, x: Any, y: Any) -> Any:
    return g * y


def test_accepts_the_right_gradient() -> None:
    tg.check_grads(times(right), X, Y, order=3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g, x, y: -g * y,
        lambda g, x, y: g * y * (1 + 1e-6),
        lambda g, x, y: g * x,
        lambda g, x, y: g * y + 1e-6,
        lambda g, x, y: g,
        lambda g, x, y: g * tg.flip(y),
        lambda g, x, y: tg.zeros_like(x).data * g,
    ],
    ids=["sign", "factor", "swapped operand", "offset", "forgotten factor", "order of elements", "zero"],
)
def test_refuses_a_wrong_first_order(wrong: Callable[..., Any]) -> None:
    with pytest.raises(tg.GradientError, match="order 1"):
        tg.check_grads(times(wrong), X, Y, order=1)


def test_refuses_a_missing_sum_over_broadcast_axes() -> None:
    with pytest.raises(tg.ShapeError, match=r"vjp of times.*\(3,\).*\(2, 3\)"):
        tg.check_grads(times(right, lambda g, x, y: g * x), X, Y)
    # The right shape, but the gradient of only one of the repeated rows.
    with pytest.raises(tg.GradientError, match="order 1"):
        tg.check_grads(times(right, lambda g, x, y: (g * x)[0]), X, Y)


def test_refuses_a_second_order_that_alone_is_wrong() -> None:
    def square(factor: float, x: tg.Tensor) -> tg.Tensor:
        def slope(x: Any) -> Any:
            return tg.record(2 * tg.tape.data(x), (x, lambda g: g * (2 * factor)))

        return tg.record(x.data * x.data, (x, lambda g: g * slope(x)))

    tg.check_grads(lambda x: square(1.0, x), X, order=2)
    tg.check_grads(lambda x: square(1.001, x), X, order=1)
    for factor in (1 + 1e-5, -1.0, 0.0):
        with pytest.raises(tg.GradientError, match="order 2"):
            tg.check_grads(lambda x, factor=factor: square(factor, x), X, order=2)


def test_refuses_a_vjp_that_drops_its_history() -> None:
    detached = times(lambda g, x, y: g * y.data)
    tg.check_grads(detached, X, Y, order=1)
    with pytest.raises(tg.GradientError, match="order 2"):
        tg.check_grads(detached, X, Y, order=2)


def test_refuses_two_ways_of_backward_that_differ() -> None:
    wrong_when_recorded = times(lambda g, x, y: g * y * (1.5 if type(g) is tg.Tensor else 1.0))
    with pytest.raises(tg.GradientError, match="with create_graph as without"):
        tg.check_grads(wrong_when_recorded, X, Y, order=1)


def test_refuses_a_gradient_that_is_not_a_number() -> None:
    with pytest.raises(tg.GradientError):
        tg.check_grads(times(lambda g, x, y: g * np.nan), X, Y, order=1)


def test_says_how_far_off() -> None:
    with pytest.raises(tg.GradientError, match=r"relative error 1e-0?3\b|relative error 0\.00\d"):
        tg.check_grads(lambda x: times(lambda g, x, y: g * y * 1.001)(x, tg.tensor(Y)), X, order=1)


def test_a_looser_tolerance_passes_what_a_tighter_refuses() -> None:
    off = times(lambda g, x, y: g * y * (1 + 1e-5), lambda g, x, y: tg.sum(g * x, axis=0) * (1 + 1e-5))
    tg.check_grads(off, X, Y, order=1, tolerance=1e-4)
    with pytest.raises(tg.GradientError):
        tg.check_grads(off, X, Y, order=1, tolerance=1e-6)


def test_the_key_chooses_the_directions_and_inputs_stay_as_they_were() -> None:
    x = tg.tensor(X.astype(np.float32), requires_grad=True)
    before = x.numpy().copy()
    tg.check_grads(lambda x: tg.sin(x), x, key=tg.Key(5))
    np.testing.assert_array_equal(x.numpy(), before)
    assert x.grad is None
    assert x.dtype == np.float32


def test_constants_and_unused_inputs_have_gradient_zero() -> None:
    tg.check_grads(lambda x: tg.tensor(Y), X)
    tg.check_grads(lambda x, y: tg.exp(y), X, Y)
    tg.check_grads(lambda x: tg.zeros((0,), dtype="float64") * x.sum(), X)


def test_refuses_a_function_that_returns_no_tensor() -> None:
    with pytest.raises(tg.GraphError, match=r"returns one Tensor, got \(Tensor"):
        tg.check_grads(lambda x: (x, x), X)
