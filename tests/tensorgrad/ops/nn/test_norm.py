"""Norms: which axes, the defaults, rows without spread, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg

X = np.random.default_rng(0).normal(size=(2, 3, 4))


def test_the_axes_are_those_of_what_is_given() -> None:
    ones = np.ones((3, 4))
    expected = tg.layer_norm(X.reshape(2, 12)).reshape(X.shape)
    for options in ({"weight": ones}, {"bias": 0 * ones}, {"normalized_shape": [3, 4]}):
        np.testing.assert_array_equal(tg.layer_norm(X, **options), expected)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tg.layer_norm(X), tg.layer_norm(X, ones[0]))
    np.testing.assert_array_equal(tg.rms_norm(X), tg.rms_norm(X, ones[0]))
    np.testing.assert_array_equal(tg.rms_norm(X, ones), tg.rms_norm(X.reshape(2, 12)).reshape(X.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rms_norm_s_default_eps_is_the_dtype_s(dtype: str) -> None:
    x = X.astype(dtype)
    np.testing.assert_array_equal(tg.rms_norm(x), tg.rms_norm(x, eps=float(np.finfo(dtype).eps)))


def test_a_constant_row_becomes_the_bias() -> None:
    x = tg.tensor(np.full((2, 4), 3.0), requires_grad=True)
    out = tg.layer_norm(x, np.ones(4), np.arange(4.0))
    np.testing.assert_array_equal(out.numpy(), [np.arange(4.0)] * 2)
    assert np.isfinite(tg.grad(out, x, np.ones((2, 4)))[0].numpy()).all()


def test_group_norm_is_layer_norm_or_each_channel_s_at_its_ends() -> None:
    weight = np.arange(1.0, 4.0)
    whole = tg.layer_norm(X.reshape(2, 12)).reshape(X.shape)
    np.testing.assert_array_equal(tg.group_norm(X, 1), whole)
    np.testing.assert_array_equal(tg.group_norm(X, 3, weight), tg.layer_norm(X) * weight[:, None])
    assert tg.group_norm(X[:0], 3).shape == (0, 3, 4)


def test_refusals() -> None:
    with pytest.raises(tg.ShapeError, match=r"layer_norm: .*\(2, 3, 4\) and \(2, 3\)"):
        tg.layer_norm(X, normalized_shape=(2, 3))
    with pytest.raises(tg.ShapeError, match=r"layer_norm: expected weight of shape \(3, 4\), got \(4,\)"):
        tg.layer_norm(X, np.ones(4), normalized_shape=(3, 4))
    with pytest.raises(tg.ShapeError, match=r"rms_norm: .*C > 0, got \(2, 3, 4\) and \(\)"):
        tg.rms_norm(X, 1.0)
    with pytest.raises(tg.ShapeError, match="rms_norm: expected a shape"):
        tg.rms_norm(X, normalized_shape=4)  # type: ignore[arg-type]
    for x, groups in ((X, 2), (X, 0), (X[0, 0], 1), (X[:, :0], 1), (X[..., :0], 1)):
        with pytest.raises(tg.ShapeError, match=r"group_norm: expected x .* groups"):
            tg.group_norm(x, groups)
    with pytest.raises(tg.ShapeError, match=r"group_norm: expected bias of shape \(3,\), got \(4,\)"):
        tg.group_norm(X, 3, None, np.ones(4))
    with pytest.raises(tg.DTypeError, match=r"group_norm: .*float32"):
        tg.group_norm(X, 3, np.ones(3, np.float32))


def test_equal_numbers_have_no_variance() -> None:
    rows = np.full((5, 1000), 0.1, np.float32) * np.array([[1], [3], [7], [1e4], [1e-4]], np.float32)
    np.testing.assert_array_equal(tg.layer_norm(tg.tensor(rows)).numpy(), 0.0)
