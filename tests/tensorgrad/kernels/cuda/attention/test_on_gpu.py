"""Attention's providers on a GPU, each against the definition in float64, computed on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import cuda_module, to_device, to_numpy
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import providers, reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import tiled
from tensorgrad.kernels.cuda.attention.choice import provider_for
from tensorgrad.kernels.cuda.attention.cudnn import CuDNN
from tensorgrad.kernels.packing import packed
from tensorgrad.random import Key, RowKeys, as_pairs

pytestmark = pytest.mark.gpu

CAUSAL = Attending(is_causal=True, scale=0.2)
# Largest error relative to the largest value: a few roundings of the dtype.
TOLERANCES = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 4e-6, "float64": 1e-13}
SHAPES = [  # heads, key heads, queries, keys, width
    (4, 4, 256, 256, 64),
    (4, 2, 200, 200, 128),
    (2, 1, 130, 333, 64),
    (2, 2, 333, 130, 32),
]


@pytest.fixture
def cupy() -> Iterator[Any]:
    try:
        yield cuda_module()
    except DeviceError as problem:
        pytest.skip(str(problem))


@pytest.fixture(params=["cudnn", "own"])
def provider(request: Any, cupy: Any) -> Any:
    if request.param == "own":
        return tiled
    pytest.importorskip("cudnn")
    return CuDNN(cupy)


def arrays_of(dtype: str, heads: int, kv_heads: int, queries: int, keys: int, width: int) -> list[Any]:
    """g, q, k, v for two samples on the device, views of one projection if lengths agree."""
    random = np.random.default_rng([heads, queries, keys, width])

    def normal(count: int, length: int) -> Any:
        x = to_device(random.standard_normal((2, length, count, width), np.float32), "cuda")
        return x.astype(dtype).transpose(0, 2, 1, 3)

    g = normal(heads, queries)
    if queries != keys:
        return [g, normal(heads, queries), normal(kv_heads, keys), normal(kv_heads, keys)]
    whole = normal(heads + 2 * kv_heads, queries)
    return [g, whole[:, :heads], whole[:, heads : heads + kv_heads], whole[:, heads + kv_heads :]]


def both(provider: Any, arrays: list[Any], attending: Attending) -> list[np.ndarray]:
    g, q, k, v = arrays
    out, logsumexp = provider.attention(q, k, v, attending)
    gradients = provider.attention_gradient(g, q, k, v, out, logsumexp, attending)
    return [to_numpy(x.astype(np.float64)) for x in (out, logsumexp, *gradients)]


def check(
    provider: Any,
    dtype: str,
    shape: tuple[int, ...],
    is_causal: bool,
    mask: Any = None,
    key: Key | RowKeys | None = None,
) -> None:
    arrays = arrays_of(dtype, *shape)
    g, q, k, v = (to_numpy(x.astype(np.float64)) for x in arrays)
    exact_mask = None if mask is None else to_numpy(mask if mask.dtype == bool else mask.astype(np.float64))
    attending, exact = (
        Attending(is_causal=is_causal, scale=0.2, mask=m, dropout=None if key is None else (as_pairs(key, device), 0.2))
        for device, m in (("cuda", mask), ("cpu", exact_mask))
    )
    forward = reference.attention(q, k, v, exact)
    gradients = reference.attention_gradient(g, q, k, v, *forward, exact)
    for got, wanted in zip(both(provider, arrays, attending), (*forward, *gradients), strict=True):
        is_finite = np.isfinite(wanted)  # the log-sum-exp of nothing is not
        difference = np.abs(got[is_finite] - wanted[is_finite])
        assert difference.max() <= TOLERANCES[dtype] * np.abs(wanted[is_finite]).max()


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_floats(provider: Any, dtype: str, shape: tuple[int, ...], is_causal: bool) -> None:
    check(provider, dtype, shape, is_causal)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 1, 50, 70, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_floats(cupy: Any, dtype: str, shape: tuple[int, ...], is_causal: bool) -> None:
    check(tiled, dtype, shape, is_causal)


@pytest.mark.parametrize("key", [None, Key(3), RowKeys(Key(4).split(2))], ids=str)
@pytest.mark.parametrize("kind", [None, "bool", "float"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 1, 70, 65, 16)])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_masks_and_dropout(cupy: Any, dtype: str, shape: tuple[int, ...], kind: Any, key: Any) -> None:
    heads, _, queries, keys, _ = shape
    random = np.random.default_rng([queries, keys])
    mask = None
    if kind == "bool":
        mask = to_device(random.random((2, 1, queries, keys)) < 0.8, "cuda")
    elif kind == "float":
        mask = to_device(random.standard_normal((1, heads, queries, keys), np.float32), "cuda").astype(dtype)
    check(tiled, dtype, shape, True, mask, key)


def test_the_same_bits_on_every_run(provider: Any) -> None:
    arrays = arrays_of("bfloat16", 12, 12, 1024, 1024, 64)
    first = both(provider, arrays, CAUSAL)
    for _ in range(5):
        for a, b in zip(first, both(provider, arrays, CAUSAL), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_in_any_order_are_right(provider: Any, shape: tuple[int, ...]) -> None:
    with tg.allow_unordered():
        check(provider, "bfloat16", shape, True)


def test_gradients_of_one_projection_are_views_of_one_buffer(provider: Any) -> None:
    g, q, k, v = arrays_of("bfloat16", 4, 2, 96, 96, 64)
    out, logsumexp = provider.attention(q, k, v, CAUSAL)
    parts = provider.attention_gradient(g, q, k, v, out, logsumexp, CAUSAL)
    whole: Any = packed(parts)
    assert whole.shape == (2, 96, 8, 64)
    first: Any = parts[0]
    assert whole.data.ptr == first.data.ptr


def test_the_first_choice_works(cupy: Any) -> None:
    pytest.importorskip("cudnn")
    providers.forget()
    with providers.requiring_fast():
        assert isinstance(provider_for(cupy.ones(1, "float16")), CuDNN)
        assert provider_for(cupy.ones(1, "float32")) is tiled
