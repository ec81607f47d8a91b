"""Attention over lengths that do not fit the kernel's blocks; masks; rope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.reference.attention import QUERY_BLOCK as BLOCK
from tensorgrad.ops.nn.attention import attention_definition
from tensorgrad.random import RowKeys, as_pairs


def inputs(
    queries: int, keys: int, heads: int = 2, kv_heads: int = 1, batch: int = 2, dtype: str = "float64"
) -> list[tg.Tensor]:
    rng = np.random.default_rng([queries, keys])
    shapes = ((batch, heads, queries, 4), (batch, kv_heads, keys, 4), (batch, kv_heads, keys, 3))
    return [tg.tensor(rng.normal(size=shape).astype(dtype), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("mask_kind", [None, "bool", "float", "row", "column"])
@pytest.mark.parametrize(
    ("queries", "keys"), [(BLOCK + 3, BLOCK + 3), (2 * BLOCK, 5), (3, BLOCK + 9), (BLOCK + 1, BLOCK - 1)]
)
def test_blocks_of_queries_agree_with_the_definition(
    queries: int, keys: int, mask_kind: str | None, is_causal: bool
) -> None:
    xs = inputs(queries, keys)
    rng = np.random.default_rng(1)
    mask: Any = {
        None: None,
        "bool": rng.random((2, 2, queries, keys)) < 0.5,
        "float": rng.normal(size=(queries, keys)),
        "row": rng.random((1, 1, 1, keys)) < 0.5,
        "column": rng.normal(size=(2, 1, queries, 1)),
    }[mask_kind]
    padded = None if mask is None else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    out = tg.scaled_dot_product_attention(*xs, mask=mask, is_causal=is_causal)
    expected = attention_definition(*xs, padded, Attending(is_causal=is_causal, scale=0.5))
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-12, atol=1e-13)
    g = rng.normal(size=out.shape)
    for got, want in zip(tg.grad(out, xs, g), tg.grad(expected, xs, g), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-10, atol=1e-12)


def test_a_causal_query_does_not_depend_on_later_keys() -> None:
    length = BLOCK + 5
    q, k, v = inputs(length, length)
    before = tg.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    for changed in (k, v):
        changed.data[:, :, -1] = 1e6
    after = tg.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    np.testing.assert_array_equal(after[:, :, :-1], before[:, :, :-1])
    assert (after[:, :, -1] != before[:, :, -1]).any()


def test_a_query_that_may_see_no_key_gets_zeros_and_no_gradient() -> None:
    q, k, v = inputs(3, 3)
    for mask in (np.array([[True] * 3, [False] * 3, [True] * 3]), np.array([[0.0] * 3, [-np.inf] * 3, [0.0] * 3])):
        for create_graph in (False, True):
            out = tg.scaled_dot_product_attention(q, k, v, mask=mask)
            np.testing.assert_array_equal(out.numpy()[:, :, 1], 0)
            dq, dk, dv = tg.grad(out.sum(), [q, k, v], create_graph=create_graph)
            np.testing.assert_array_equal(dq.numpy()[:, :, 1], 0)
            assert all(np.isfinite(d.numpy()).all() for d in (dq, dk, dv))


def test_grouped_heads_are_repeated_key_heads() -> None:
    q, k, v = inputs(5, 6, heads=6, kv_heads=2)
    wide = [tg.tensor(np.repeat(x.numpy(), 3, axis=1), requires_grad=True) for x in (k, v)]
    out, repeated = tg.scaled_dot_product_attention(q, k, v), tg.scaled_dot_product_attention(q, *wide)
    np.testing.assert_allclose(out.numpy(), repeated.numpy(), rtol=1e-13)
    g = np.random.default_rng(0).normal(size=out.shape)
    for got, want in zip(tg.grad(out, [k, v], g), tg.grad(repeated, wide, g), strict=True):
        summed = want.numpy().reshape(2, 2, 3, *want.shape[2:]).sum(axis=2)
        np.testing.assert_allclose(got.numpy(), summed, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(BLOCK + 3, BLOCK + 6), (3, 5), (4, 0)])
def test_dropout_of_blocks_is_dropout_of_all_the_weights(queries: int, keys: int, is_causal: bool) -> None:
    xs = inputs(queries, keys, heads=4, kv_heads=2)
    for key in (tg.Key(1), RowKeys((tg.Key(2), tg.Key(3)))):
        out = tg.scaled_dot_product_attention(*xs, is_causal=is_causal, dropout_rate=0.3, key=key)
        attending = Attending(is_causal=is_causal, scale=0.5, dropout=(as_pairs(key, "cpu"), 0.3))
        expected = attention_definition(*xs, None, attending)
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-12, atol=1e-13)
        g = np.random.default_rng(1).normal(size=out.shape)
        for got, want in zip(tg.grad(out, xs, g), tg.grad(expected, xs, g), strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-10, atol=1e-12)


def test_dropout_is_a_function_of_the_key_alone() -> None:
    q, k, v = inputs(5, 5)
    first, second = (tg.scaled_dot_product_attention(q, k, v, dropout_rate=0.5, key=tg.Key(1)) for _ in range(2))
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    g = np.ones(first.shape)
    for one, other in zip(tg.grad(first, (q, k, v), g), tg.grad(second, (q, k, v), g), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    plain = tg.scaled_dot_product_attention(q, k, v)
    np.testing.assert_array_equal(tg.scaled_dot_product_attention(q, k, v, key=tg.Key(1)).numpy(), plain.numpy())
    # A sample's weights are dropped by its own key, whichever samples stand beside it.
    keys = (tg.Key(1), tg.Key(2))
    both = tg.scaled_dot_product_attention(q, k, v, dropout_rate=0.5, key=RowKeys(keys)).numpy()
    for i in range(2):
        alone = tg.scaled_dot_product_attention(
            *(x[i : i + 1] for x in (q, k, v)), dropout_rate=0.5, key=RowKeys(keys[i : i + 1])
        )
        np.testing.assert_array_equal(alone.numpy()[0], both[i])


def test_dropout_needs_a_key_and_a_rate_below_one() -> None:
    q, k, v = inputs(3, 3)
    with pytest.raises(tg.DTypeError, match=r"attention: expected a Key, got NoneType"):
        tg.scaled_dot_product_attention(q, k, v, dropout_rate=0.5)
    with pytest.raises(tg.DTypeError, match=r"attention: expected a Key, got int"):
        tg.scaled_dot_product_attention(q, k, v, key=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"attention: expected 0 <= rate < 1, got 1.0"):
        tg.scaled_dot_product_attention(q, k, v, dropout_rate=1.0, key=tg.Key(1))
    with pytest.raises(tg.ShapeError, match=r"attention: expected a key for each of 2 samples, got 1"):
        tg.scaled_dot_product_attention(q, k, v, dropout_rate=0.5, key=RowKeys((tg.Key(1),)))


@pytest.mark.parametrize("eps", [None, 0.3])
def test_self_attention_of_turned_heads_is_attention_of_what_rope_turned(eps: float | None) -> None:
    qkv = tg.tensor(np.random.default_rng(0).normal(size=(2, 5, 8, 6)).astype("float32"), requires_grad=True)
    angles = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    cos, sin = np.cos(angles), np.sin(angles)
    got = tg.self_attention(qkv, num_heads=4, is_causal=True, qk_norm_eps=eps, rotation=(cos, sin))
    q, k, v = (qkv[:, :, part].permute_dims(0, 2, 1, 3) for part in (slice(0, 4), slice(4, 6), slice(6, 8)))
    if eps is not None:
        q, k = tg.rms_norm(q, eps=eps), tg.rms_norm(k, eps=eps)
    turned = tg.rope(q, cos, sin), tg.rope(k, cos, sin), v
    expected = tg.scaled_dot_product_attention(*turned, is_causal=True).permute_dims(0, 2, 1, 3)
    np.testing.assert_array_equal(got.numpy(), expected.numpy())
    g = np.random.default_rng(2).normal(size=got.shape).astype("float32")
    (d_got,), (d_expected,) = tg.grad(got, qkv, g), tg.grad(expected, qkv, g)
    np.testing.assert_allclose(d_got.numpy(), d_expected.numpy(), rtol=0, atol=1e-6)


def test_a_rotation_is_two_tables() -> None:
    qkv, table = np.ones((1, 5, 3, 4)), np.ones((5, 2))
    with pytest.raises(tg.ArgumentError, match=r"self_attention: expected rotation to be \(cos, sin\), got .*give two"):
        tg.self_attention(qkv, num_heads=1, rotation=table)  # type: ignore[arg-type]
    with pytest.raises(tg.ShapeError, match=r"self_attention: expected x .* cos, sin \(T, D / 2\), got .*\(4, 2\)"):
        tg.self_attention(qkv, num_heads=1, rotation=(table, table[:4]))


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_mask_that_needs_a_gradient_changes_no_other(is_causal: bool) -> None:
    xs, bias = inputs(5, 7), np.random.default_rng(2).normal(size=(2, 1, 7))
    bias[0, 0, 3] = -np.inf
    mask = tg.tensor(bias, requires_grad=True)
    out = tg.scaled_dot_product_attention(*xs, mask=mask, is_causal=is_causal)
    expected = tg.scaled_dot_product_attention(*xs, mask=bias, is_causal=is_causal)
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-13)
    g = np.random.default_rng(3).normal(size=out.shape)
    *others, dmask = tg.grad(out, [*xs, mask], g)
    for got, want in zip(others, tg.grad(expected, xs, g), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-10, atol=1e-13)
    assert dmask.numpy()[0, 0, 3] == 0
    np.testing.assert_allclose(dmask.numpy().sum(axis=-1), 0, atol=1e-13)  # a constant added to all scores


def test_large_scores_do_not_overflow() -> None:
    q, k, v = inputs(4, 4)
    out = tg.scaled_dot_product_attention(q * 1e6, k * 1e6, v)
    assert np.isfinite(out.numpy()).all()
    assert all(np.isfinite(d.numpy()).all() for d in tg.grad(out.sum(), [q, k, v]))


def test_rope_turns_and_turns_back() -> None:
    rng = np.random.default_rng(0)
    angles = rng.normal(size=(5, 3))
    cos, sin = np.cos(angles), np.sin(angles)
    x = tg.tensor(rng.normal(size=(2, 3, 5, 6)), requires_grad=True)
    y = tg.rope(x, cos, sin)
    np.testing.assert_allclose(tg.rope(y, cos, -sin).numpy(), x.numpy(), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(y.numpy(), axis=-1), np.linalg.norm(x.numpy(), axis=-1), rtol=1e-13)
    # Orthogonal: the gradient of <y, g> is g turned back.
    g = rng.normal(size=x.shape)
    np.testing.assert_allclose(tg.grad(y, x, g)[0].numpy(), tg.rope(g, cos, -sin), rtol=1e-13)


@pytest.mark.parametrize("shape", [(2, 3, 0, 4), (0, 3, 4), (2, 0, 3, 4), (2, 2, 2, 3, 4), (3, 4)])
def test_rope_of_any_number_of_leading_axes(shape: tuple[int, ...]) -> None:
    angles = np.ones((shape[-2], 2))
    x = np.random.default_rng(0).normal(size=shape)
    turned = (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * angles)
    out = tg.rope(x, np.cos(angles), np.sin(angles))
    np.testing.assert_allclose(out, np.concatenate([turned.real, turned.imag], axis=-1), rtol=1e-13)
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -2, 0)), 0, -2)  # the same values, other strides
    np.testing.assert_array_equal(tg.rope(moved, np.cos(angles), np.sin(angles)), out)


@pytest.mark.parametrize(
    "mask_shape", [(1, 1, 300, 300), (6, 1, 300, 300), (6, 1, 1, 300), (1, 1, 300, 1), (6, 1, 300, 1)]
)
def test_masks_over_many_blocks(mask_shape: tuple[int, ...]) -> None:
    """Samples and queries are computed in blocks: each block finds its own part of the mask."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(6, 1, 300, 2)) for _ in range(3))
    mask = rng.random(mask_shape) < 0.7
    out = tg.scaled_dot_product_attention(tg.tensor(q), tg.tensor(k), tg.tensor(v), mask=mask).numpy()
    for sample in range(6):
        seen = np.broadcast_to(mask, (6, 1, 300, 300))[sample, 0]
        weights = np.exp(q[sample, 0] @ k[sample, 0].T / np.sqrt(2)) * seen
        total = weights.sum(axis=-1, keepdims=True)
        expected = np.divide(weights @ v[sample, 0], total, out=np.zeros((300, 2)), where=total > 0)
        np.testing.assert_allclose(out[sample, 0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 700])
def test_a_mask_of_one_or_of_each_of_many_samples(samples: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(700, 1, 2, 64)) for _ in range(3))
    mask = rng.normal(size=(samples, 1, 2, 2))
    out = tg.scaled_dot_product_attention(tg.tensor(q), tg.tensor(k), tg.tensor(v), mask=mask).numpy()
    weights = np.exp(q @ k.swapaxes(-1, -2) / 8 + mask)
    np.testing.assert_allclose(out, weights / weights.sum(axis=-1, keepdims=True) @ v, rtol=1e-10)
