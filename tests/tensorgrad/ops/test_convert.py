"""Conversions carry gradients back in the source's dtype."""

from __future__ import annotations

import numpy as np

import tensorgrad as tg


def test_astype_carries_the_gradient_back_in_the_source_s_dtype() -> None:
    x = tg.tensor([1.5, 2.5], requires_grad=True)
    y = x.astype("float64") * 2.0
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
    assert not x.astype("int64").requires_grad
    np.testing.assert_array_equal(x.to("int64").numpy(), [1, 2])


def test_astype_copies_unless_told_not_to() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    assert tg.astype(x, "float32", copy=False) is x
    assert tg.astype(x, "float32", copy=False, device="cpu") is x
    assert not np.shares_memory(tg.astype(x, "float32").numpy(), x.numpy())
    assert tg.astype(x, "float64", copy=False).dtype == np.float64
    assert tg.astype(x, "float64", device="cpu").device == "cpu"
    a = np.ones(2)
    assert tg.astype(a, "float64", copy=False) is a
    assert tg.astype(tg.tensor([True, False]), "float32").dtype == np.float32
