"""conv1d: what it does to a pulse, a transpose that is one, gradients of order three, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def test_a_pulse_gives_the_kernel_backwards() -> None:
    x = np.zeros((1, 1, 7))
    x[..., 3] = 1
    out = tg.conv1d(x, np.array([[[1.0, 2.0, 3.0]]]), padding="same")
    np.testing.assert_array_equal(out, [[[0, 0, 3, 2, 1, 0, 0]]])


def test_one_sample_is_a_batch_of_one() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(4, 9)), rng.normal(size=(6, 2, 3)), rng.normal(size=6)
    options: dict[str, Any] = {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}
    np.testing.assert_array_equal(tg.conv1d(x, w, b, **options), tg.conv1d(x[None], w, b, **options)[0])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_gradient_of_x_is_the_transpose(stride: int, dilation: int) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(2, 3, 11)), rng.normal(size=(4, 3, 3))
    leaf = tg.tensor(x, requires_grad=True)
    out = tg.conv1d(leaf, w, stride=stride, dilation=dilation, padding=1)
    g = rng.normal(size=out.shape)
    (dx,) = tg.grad(out, leaf, g)
    np.testing.assert_allclose((dx.numpy() * x).sum(), (out.numpy() * g).sum(), rtol=1e-12)


def test_gradients_of_order_three() -> None:
    x, w = (np.random.default_rng(2).normal(size=shape) for shape in ((1, 2, 4), (2, 2, 2)))
    tg.check_grads(lambda x, w: tg.sin(tg.conv1d(x, w, stride=2, padding=1)), x, w, order=3)


def test_refusals() -> None:
    x, w = np.ones((2, 4, 5)), np.ones((6, 4, 3))
    for shapes, groups in ((((4,), (6, 4, 3)), 1), (((2, 4, 5), (6, 4)), 1), (((2, 3, 5), (6, 4, 3)), 1)):
        with pytest.raises(tg.ShapeError, match=r"conv1d: expected x \(N, C, L\) .* groups"):
            tg.conv1d(*map(np.ones, shapes), groups=groups)  # type: ignore[arg-type]
    for weight, groups in ((w, 2), (w[:, :2], 3), (w[:5, :2], 2), (w, 0), (w[..., :0], 1)):
        with pytest.raises(tg.ShapeError, match=r"conv1d: .*\(2, 4, 5\), .* groups"):
            tg.conv1d(x, weight, groups=groups)
    with pytest.raises(tg.ShapeError, match=r"conv1d: expected bias of shape \(6,\), got \(4,\)"):
        tg.conv1d(x, w, np.ones(4))
    with pytest.raises(tg.ShapeError, match=r"conv1d: expected stride and dilation >= 1, got 0 and 1"):
        tg.conv1d(x, w, stride=0)
    with pytest.raises(tg.ShapeError, match=r'conv1d: expected stride 1 with padding "same", got 2'):
        tg.conv1d(x, w, stride=2, padding="same")
    with pytest.raises(
        tg.ArgumentError, match=r"conv1d: expected padding to be one of \"same\", \"valid\", got .full."
    ):
        tg.conv1d(x, w, padding="full")
    with pytest.raises(tg.ShapeError, match=r"conv1d: .*at least as long as the kernel, got padding 0, 5 and 7"):
        tg.conv1d(x, w, dilation=3)
    with pytest.raises(tg.ShapeError, match=r"conv1d: expected padding >= 0.*got padding -1"):
        tg.conv1d(x, w, padding=-1)
    with pytest.raises(tg.DTypeError, match="conv1d"):
        tg.conv1d(x, w.astype(np.float32))
    with pytest.raises(tg.DTypeError, match=r"conv1d: .*int64"):
        tg.conv1d(x.astype(int), w.astype(int))


def test_the_third_order() -> None:
    rng = np.random.default_rng(0)
    tg.check_grads(lambda x, w: tg.conv1d(x, w) ** 3, rng.normal(size=(1, 2, 4)), rng.normal(size=(1, 2, 2)), order=3)
