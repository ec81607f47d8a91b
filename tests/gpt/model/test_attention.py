"""Attention against the textbook, one head and one query at a time."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad
from gpt.config import ModelConfig
from gpt.model.attention import Attention
from gpt.model.dropout import Dropout
from gpt.model.initializer import Initializer
from tensorgrad import Key, Tensor
from tensorgrad.random import RowKeys


def make(num_kv_heads: int, *, has_qk_norm: bool = False) -> Attention:
    config = ModelConfig(num_heads=4, num_kv_heads=num_kv_heads, model_dim=24, has_bias=True, qk_norm=has_qk_norm)
    attention = Attention.init(config, Initializer(Key(0), "float64"))
    assert attention.qkv.bias is not None
    attention.qkv.weight.data *= 20
    attention.out.weight.data *= 20
    attention.qkv.bias.data += Key(1).normal(attention.qkv.bias.shape, dtype="float64")
    return attention


def textbook(
    attention: Attention, x: np.ndarray, *, has_qk_norm: bool = False, factors_BHTT: np.ndarray | None = None
) -> np.ndarray:
    """Attention for one head and query at a time: query head h reads key head h // group."""
    heads, kv_heads, width = attention.num_heads, attention.num_kv_heads, 6
    assert attention.qkv.bias is not None
    qkv = x @ attention.qkv.weight.numpy().T + attention.qkv.bias.numpy()
    out = np.zeros(x.shape)
    for b in range(x.shape[0]):
        for h in range(heads):
            kv = h // (heads // kv_heads)
            q = qkv[b, :, h * width :][:, :width]
            k = qkv[b, :, (heads + kv) * width :][:, :width]
            v = qkv[b, :, (heads + kv_heads + kv) * width :][:, :width]
            if has_qk_norm:
                q, k = (a / np.sqrt((a**2).mean(axis=-1, keepdims=True) + attention.norm_eps) for a in (q, k))
            for t in range(x.shape[1]):
                scores = np.exp(k[: t + 1] @ q[t] / np.sqrt(width))
                weights = scores / scores.sum()
                if factors_BHTT is not None:
                    weights *= factors_BHTT[b, h, t, : t + 1]
                out[b, t, h * width : (h + 1) * width] = weights @ v[: t + 1]
    return out @ attention.out.weight.numpy().T


@pytest.mark.parametrize("num_kv_heads", [0, 1, 2])
@pytest.mark.parametrize("has_qk_norm", [False, True])
def test_against_the_textbook(num_kv_heads: int, has_qk_norm: bool) -> None:
    attention = make(num_kv_heads, has_qk_norm=has_qk_norm)
    x = Key(2).normal((2, 5, 24), dtype="float64")
    expected = textbook(attention, x, has_qk_norm=has_qk_norm)
    np.testing.assert_allclose(attention(Tensor(x)).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_kv_heads", [0, 1, 2])
def test_dropping_nothing_changes_nothing(num_kv_heads: int) -> None:
    attention = make(num_kv_heads)
    x = Tensor(Key(2).normal((2, 5, 24), dtype="float64"))
    dropped = attention(x, None, None, Dropout(0.0, Key(3)))
    np.testing.assert_allclose(dropped.numpy(), attention(x).numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_kv_heads", [0, 1, 2])
@pytest.mark.parametrize("has_qk_norm", [False, True])
def test_dropped_are_those_that_the_op_drops_of_all_weights(num_kv_heads: int, has_qk_norm: bool) -> None:
    attention = make(num_kv_heads, has_qk_norm=has_qk_norm)
    x = Key(2).normal((2, 5, 24), dtype="float64")
    for key in (Key(3), RowKeys(Key(4).split(2))):
        factors = tensorgrad.dropout(np.ones((2, 4, 5, 5)), key, rate=0.25)
        expected = textbook(attention, x, has_qk_norm=has_qk_norm, factors_BHTT=factors)
        dropped = attention(Tensor(x), None, None, Dropout(0.25, key)).numpy()
        np.testing.assert_allclose(dropped, expected, rtol=1e-10, atol=1e-12)


def test_what_is_dropped_are_weights_of_keys() -> None:
    """With a single key its weight is 1: each query's head is kept and scaled, or dropped."""
    attention = make(0)
    assert attention.qkv.bias is not None
    identity = np.eye(24)
    attention.out.weight.data = identity
    x = Key(2).normal((50, 1, 24), dtype="float64")
    kept = attention(Tensor(x)).numpy().reshape(50, 4, 6)
    dropped = attention(Tensor(x), None, None, Dropout(0.25, Key(3))).numpy().reshape(50, 4, 6)
    is_zero = (dropped == 0).all(axis=-1)
    np.testing.assert_allclose(dropped[~is_zero], kept[~is_zero] / 0.75, rtol=1e-12)
    assert 0.15 < is_zero.mean() < 0.35
