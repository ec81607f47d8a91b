"""Choosing ops at ties, at bounds and at nan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes

nan = math.nan


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.maximum, [1.5, 1.5], [0.5, 0.5]),
        (tg.minimum, [1.5, 1.5], [0.5, 0.5]),
        (tg.maximum, [0.0, -0.0], [0.5, 0.5]),
        (tg.minimum, [math.inf, math.inf], [0.5, 0.5]),
        (tg.maximum, [2.0, 1.0], [1.0, 0.0]),
        (tg.minimum, [2.0, 1.0], [0.0, 1.0]),
        (tg.maximum, [nan, 1.0], [1.0, 1.0]),
        (tg.minimum, [1.0, nan], [1.0, 1.0]),
        (lambda x: tg.maximum(x, 0), [0.0], [0.5]),
        (lambda x: tg.clip(x, -1.0, 1.0), [1.0], [1.0]),
        (lambda x: tg.clip(x, -1.0, 1.0), [-1.0], [1.0]),
        (lambda x: tg.clip(x, -1.0, 1.0), [1.0000001], [0.0]),
        (lambda x: tg.clip(x, 1.0, -1.0), [0.0], [0.0]),
        (lambda x: tg.clip(x, 1.0, -1.0), [-1.0], [0.0]),
        (lambda x: tg.clip(x, max=1.0), [nan], [0.0]),
        (tg.nan_to_num, [nan], [0.0]),
        (tg.nan_to_num, [math.inf], [0.0]),
        (tg.nan_to_num, [2.0], [1.0]),
    ],
)
def test_conventions(f: Any, at: list[float], expected: Any, create_graph: bool) -> None:
    np.testing.assert_array_equal(slopes(f, *at, create_graph=create_graph), expected)


@pytest.mark.parametrize(
    ("x", "low", "high", "value", "expected"),
    [
        (0.0, -1.0, 1.0, 0.0, [1, 0, 0]),
        (1.0, -1.0, 1.0, 1.0, [1, 0, 0]),
        (-1.0, -1.0, 1.0, -1.0, [1, 0, 0]),
        (2.0, -1.0, 1.0, 1.0, [0, 0, 1]),
        (-2.0, -1.0, 1.0, -1.0, [0, 1, 0]),
        (0.0, 1.0, -1.0, -1.0, [0, 0, 1]),  # the bounds the wrong way round: the upper one holds
        (-2.0, 1.0, -1.0, -1.0, [0, 0, 1]),
        (0.0, 1.0, 1.0, 1.0, [0, 0, 0]),
        (2.0, 1.0, 1.0, 1.0, [0, 0, 1]),
        (nan, -1.0, 1.0, nan, [0, 0, 0]),
        (0.0, nan, 1.0, nan, [0, 0, 0]),
    ],
)
def test_clip_between_tensors_is_torch_clamp(x: float, low: float, high: float, value: float, expected: Any) -> None:
    np.testing.assert_array_equal(tg.clip(np.float64(x), np.float64(low), np.float64(high)), value)
    np.testing.assert_array_equal(slopes(tg.clip, x, low, high), expected)


def test_clip_broadcasts_and_checks_its_bounds() -> None:
    x, low = tg.tensor(np.zeros((2, 1))), tg.tensor([-1.0, 0.0, 1.0], dtype="float64", requires_grad=True)
    out = tg.clip(x, low)
    np.testing.assert_array_equal(out.numpy(), [[0, 0, 1]] * 2)
    np.testing.assert_array_equal(tg.grad(out.sum(), low)[0].numpy(), [0, 0, 2])
    assert tg.clip(tg.tensor([1, 5], dtype="int8"), 2, 3).dtype == np.int8
    for wrong, message in (
        ((tg.tensor([1, 5]), 0.5), "clip: expected an integer"),
        ((tg.tensor([1, 5], dtype="uint8"), -1), "clip: expected values that the dtype can combine"),
        ((tg.tensor([1.0]), "low"), "clip: expected Tensors, arrays or Python numbers, got str"),
    ):
        with pytest.raises(tg.DTypeError, match=message):
            tg.clip(*wrong)
    with pytest.raises(tg.ShapeError, match="clip"):
        tg.clip(tg.zeros(2), tg.zeros(3))


def test_where_keeps_the_branch_not_taken_out_of_the_gradient() -> None:
    x = tg.tensor([0.0, 4.0], dtype="float64", requires_grad=True)
    safe = tg.where(x > 0, x, 1.0)
    (dx,) = tg.grad(tg.where(x > 0, tg.sqrt(safe), 0.0).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), [0.0, 0.25])
    assert type(tg.where(tg.tensor([True]), np.ones(1), np.zeros(1))) is tg.Tensor


def test_nan_to_num_s_numbers() -> None:
    x = tg.tensor([nan, math.inf, -math.inf, 1.0])
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(tg.nan_to_num(x).numpy(), [0, largest, -largest, 1])
    np.testing.assert_array_equal(tg.nan_to_num(x, nan=2.0, posinf=3.0, neginf=4.0).numpy(), [2, 3, 4, 1])
    np.testing.assert_array_equal(tg.nan_to_num(tg.tensor([1, 2])).numpy(), [1, 2])


def test_clip_at_a_bound_that_is_a_tensor() -> None:
    x, low, high = (
        tg.tensor(np.array(v), requires_grad=True) for v in ([1.0, 2.0, 3.0], [1.0, 0.0, 0.0], [5.0, 2.0, 1.0])
    )
    gradients = tg.grad(tg.clip(x, low, high).sum(), [x, low, high])
    np.testing.assert_array_equal([g.numpy() for g in gradients], [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_clip_at_the_only_bound_passes_the_gradient_to_x() -> None:
    for bound in ("min", "max"):
        x, limit = (tg.tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
        gradients = tg.grad(tg.clip(x, **{bound: limit}).sum(), [x, limit])
        np.testing.assert_array_equal([g.numpy() for g in gradients], [[1.0, 1.0], [0.0, 0.0]])
