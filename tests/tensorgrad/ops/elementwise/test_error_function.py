"""erf and erfc at infinities, and their derivatives of higher order."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes


def test_special_values() -> None:
    x = tg.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e300, -1e300], dtype="float64")
    np.testing.assert_array_equal(tg.erf(x).numpy(), [1, -1, math.nan, 0, 0, 1, -1])
    np.testing.assert_array_equal(np.signbit(tg.erf(x).numpy()[3:5]), [False, True])
    np.testing.assert_array_equal(tg.erfc(x).numpy(), [0, 2, math.nan, 1, 1, 0, 2])


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.floats(-26, 26)))
def test_they_are_python_s(a: np.ndarray) -> None:
    for ours, theirs, relative in ((tg.erf, math.erf, 4e-16), (tg.erfc, math.erfc, 2e-15)):
        expected = np.array([theirs(v) for v in a.ravel()]).reshape(a.shape)
        np.testing.assert_allclose(ours(tg.tensor(a)).numpy(), expected, rtol=relative, atol=0)


@pytest.mark.parametrize("at", [math.inf, -math.inf, 1e200, -30.0])
def test_the_derivative_far_out_is_0_without_overflow(at: float) -> None:
    for f in (tg.erf, tg.erfc):
        assert slopes(f, at) == [0.0]
        assert slopes(f, at, create_graph=True) == [0.0]


def test_the_derivative_s_derivative_is_right_in_the_tail() -> None:
    x = tg.tensor(np.float64(20.0), requires_grad=True)
    (first,) = tg.grad(tg.erfc(x), x, create_graph=True)
    (second,) = tg.grad(first, x)
    bell = 2 / math.sqrt(math.pi) * math.exp(-400)
    np.testing.assert_allclose([first.item(), second.item()], [-bell, 40 * bell], rtol=1e-14)
