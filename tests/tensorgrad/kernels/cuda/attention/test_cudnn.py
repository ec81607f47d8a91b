"""cuDNN's provider: its graphs are valid to cuDNN itself, and its calls give a stand-in the right addresses."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import address_of
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import cudnn
from tensorgrad.kernels.cuda.attention.heads import Unsupported
from tensorgrad.kernels.packing import element_strides
from tests.tensorgrad.kernels.cuda.attention import fake_cudnn

CAUSAL = Attending(is_causal=True, scale=1)


class FakeCuPy:
    """NumPy in place of CuPy, as far as the provider uses it; new memory is nan."""

    free_bytes = kept_bytes = 1 << 33  # on the device, and by the pool
    cuda = types.SimpleNamespace(
        Device=lambda: types.SimpleNamespace(id=0),
        get_current_stream=lambda: types.SimpleNamespace(ptr=77),
        runtime=types.SimpleNamespace(memGetInfo=lambda: (FakeCuPy.free_bytes, 1 << 34)),
    )
    ascontiguousarray = staticmethod(np.ascontiguousarray)

    @staticmethod
    def get_default_memory_pool() -> Any:
        return types.SimpleNamespace(free_bytes=lambda: FakeCuPy.kept_bytes, get_limit=lambda: 0)

    @staticmethod
    def empty(shape: Any, dtype: Any) -> np.ndarray:
        return np.full(shape, np.nan, dtype) if np.dtype(dtype).kind == "f" else np.empty(shape, dtype)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> cudnn.CuDNN:
    monkeypatch.setitem(sys.modules, "cudnn", fake_cudnn)
    fake_cudnn.forget()
    return cudnn.CuDNN(FakeCuPy)


def case(normal: Any, *, heads: int = 4, kv_heads: int = 4, queries: int = 9, keys: int = 9) -> list[np.ndarray]:
    """g, q, k, v in float16: views of one projection's output if lengths agree."""
    if queries == keys:
        qkv = normal(2, queries, heads + 2 * kv_heads, 16).astype(np.float16).transpose(0, 2, 1, 3)
        parts = [qkv[:, :heads], qkv[:, heads : heads + kv_heads], qkv[:, heads + kv_heads :]]
    else:
        shapes = [(2, n, length, 16) for n, length in ((heads, queries), (kv_heads, keys), (kv_heads, keys))]
        parts = [normal(*shape, seed=i).astype(np.float16) for i, shape in enumerate(shapes)]
    g = normal(2, queries, heads, 16, seed=9).astype(np.float16).transpose(0, 2, 1, 3)
    return [g, *parts]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("kv_heads", "keys"), [(4, 9), (2, 9), (1, 12)])
def test_both_directions_by_addresses_and_strides(
    provider: cudnn.CuDNN, normal: Any, kv_heads: int, keys: int, is_causal: bool
) -> None:
    g, q, k, v = case(normal, kv_heads=kv_heads, keys=keys)
    wide = [x.astype(np.float64) for x in (g, q, k, v)]
    attending = Attending(is_causal=is_causal, scale=0.3)
    expected, expected_stats = reference.attention(*wide[1:], attending)
    out, stats = provider.attention(q, k, v, attending)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(stats, expected_stats, rtol=1e-5)
    assert out.transpose(0, 2, 1, 3).flags.c_contiguous
    gradients = provider.attention_gradient(g, q, k, v, out, stats, attending)
    expected_gradients = reference.attention_gradient(*wide, expected, expected_stats, attending)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=4e-3, atol=4e-3)
    assert all(plan.is_deterministic for plan in fake_cudnn.plans[1:])
    assert {execution["stream"] for execution in fake_cudnn.executions} == {77}


def test_views_of_one_projection_are_read_and_their_gradients_written_without_a_copy(
    provider: cudnn.CuDNN, normal: Any
) -> None:
    g, q, k, v = case(normal, kv_heads=2)
    out, stats = provider.attention(q, k, v, CAUSAL)
    dq, dk, dv = provider.attention_gradient(g, q, k, v, out, stats, CAUSAL)
    backward = fake_cudnn.plans[1]
    for name, x in (("q", q), ("k", k), ("v", v), ("g", g), ("out", out)):
        assert tuple(backward.inputs[name].stride) == element_strides(x)
    for gradient, x in ((dq, q), (dk, k), (dv, v)):
        assert element_strides(gradient) == element_strides(x)
        assert address_of(gradient) - address_of(dq) == address_of(x) - address_of(q)


def test_a_plan_is_made_once_for_all_that_it_depends_on(provider: cudnn.CuDNN, normal: Any) -> None:
    _, q, k, v = case(normal)
    for _ in range(3):
        provider.attention(q, k, v, CAUSAL)
    assert len(fake_cudnn.plans) == 1
    provider.attention(q, k, v, Attending(is_causal=False, scale=1))
    provider.attention(q, k, v, Attending(is_causal=True, scale=2))
    provider.attention(np.ascontiguousarray(q), k, v, CAUSAL)
    provider.attention(q[:1], k[:1], v[:1], CAUSAL)
    assert len(fake_cudnn.plans) == 5
    assert len(fake_cudnn.executions) == 7


def test_gradients_are_summed_in_any_order_only_where_it_is_allowed(provider: cudnn.CuDNN, normal: Any) -> None:
    """Each way has a backward plan of its own; the forward's serves both."""
    g, q, k, v = case(normal)

    def backward() -> list[bool | None]:
        """The plans so far, after one more call in each direction."""
        out, stats = provider.attention(q, k, v, CAUSAL)
        provider.attention_gradient(g, q, k, v, out, stats, CAUSAL)
        return [getattr(plan, "is_deterministic", None) for plan in fake_cudnn.plans]

    assert backward() == [None, True]
    with tg.allow_unordered():
        assert backward() == backward() == [None, True, False]
        assert not fake_cudnn.executions[-1]["graph"].is_deterministic
    assert backward() == [None, True, False]
    assert fake_cudnn.executions[-1]["graph"].is_deterministic


def test_a_cotangent_with_other_strides_is_copied(provider: cudnn.CuDNN, normal: Any) -> None:
    g, q, k, v = case(normal)
    out, stats = provider.attention(q, k, v, CAUSAL)
    dense = provider.attention_gradient(g, q, k, v, out, stats, CAUSAL)
    for other in (
        g.swapaxes(-1, -2).copy().swapaxes(-1, -2),
        np.concatenate([g, g], -1)[..., :16],
        g[:, ::-1][:, ::-1],
    ):
        again = provider.attention_gradient(other, q, k, v, out, stats, CAUSAL)
        for a, b in zip(dense, again, strict=True):
            np.testing.assert_array_equal(a, b)
    constant = np.broadcast_to(np.float16(0.5), g.shape)
    again = provider.attention_gradient(constant, q, k, v, out, stats, CAUSAL)
    wanted = provider.attention_gradient(constant.copy(), q, k, v, out, stats, CAUSAL)
    np.testing.assert_array_equal(again[0], wanted[0])


def test_what_it_does_not_take(provider: cudnn.CuDNN, normal: Any) -> None:
    g, q, k, v = case(normal)
    out, stats = provider.attention(q, k, v, CAUSAL)
    wide = np.ones((1, 1, 1, 256), np.float16)
    for arrays, said in (
        ((g, q, k, v[..., :8]), "values of width 8, keys of width 16"),
        ([x[..., :12] for x in (g, q, k, v)], "heads of width 12"),
        ((wide, wide, wide, wide), "heads of width 256"),
    ):
        with pytest.raises(Unsupported, match=said):
            provider.attention(*arrays[1:], CAUSAL)
        with pytest.raises(Unsupported, match=said):
            provider.attention_gradient(*arrays, out, stats, CAUSAL)


def test_what_cudnn_has_no_plan_for_is_asked_once(provider: cudnn.CuDNN, normal: Any) -> None:
    _, q, k, v = case(normal)
    provider.attention(q, k, v, CAUSAL)
    for _ in range(2):
        with pytest.raises(Unsupported, match="cuDNN has no plan: no engine for scale 13"):
            provider.attention(q, k, v, Attending(is_causal=True, scale=13))
    assert len(fake_cudnn.plans) == 1
    assert fake_cudnn.refused == [13]


def test_a_failure_in_planning_is_no_plan(provider: cudnn.CuDNN, normal: Any) -> None:
    """The frontend raises RuntimeError if cuDNN's heuristics find no engine, or no plan can be built."""
    _, q, k, v = case(normal)
    fake_cudnn.failed.append("heuristics found nothing")
    with pytest.raises(Unsupported, match="cuDNN has no plan: heuristics found nothing"):
        provider.attention(q, k, v, CAUSAL)


def test_large_backwards_are_to_work_in_little_memory(
    provider: cudnn.CuDNN, normal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If cuDNN has such a plan, their scores take over half of the memory, and the environment sets no limit."""
    g, q, k, v = case(normal)
    out, stats = provider.attention(q, k, v, CAUSAL)
    small = provider.attention_gradient(g, q, k, v, out, stats, CAUSAL)
    assert fake_cudnn.limits == [None]
    scores_bytes = 2 * 2 * 4 * 9 * 9
    monkeypatch.setattr(FakeCuPy, "free_bytes", scores_bytes)
    monkeypatch.setattr(FakeCuPy, "kept_bytes", scores_bytes)
    cudnn.CuDNN(FakeCuPy).attention_gradient(g, q, k, v, out, stats, CAUSAL)
    assert fake_cudnn.limits == [None, None]
    monkeypatch.setattr(FakeCuPy, "kept_bytes", scores_bytes - 2)
    for has_it, expected in ((True, ["1295"]), (False, ["1295", "-1"])):
        fake_cudnn.limits.clear()
        fake_cudnn.has_no_linear_backward[:] = [] if has_it else [True]
        large = cudnn.CuDNN(FakeCuPy).attention_gradient(g, q, k, v, out, stats, CAUSAL)
        np.testing.assert_array_equal(large[0], small[0])
        assert fake_cudnn.limits == expected
        assert cudnn._LIMIT not in os.environ
    fake_cudnn.limits.clear()
    any_order = cudnn.CuDNN(FakeCuPy, is_deterministic=False)
    any_order.attention_gradient(g, q, k, v, out, stats, CAUSAL)
    with tg.allow_unordered():
        cudnn.CuDNN(FakeCuPy).attention_gradient(g, q, k, v, out, stats, CAUSAL)
    monkeypatch.setenv(cudnn._LIMIT, "7")
    fake_cudnn.has_no_linear_backward.clear()
    cudnn.CuDNN(FakeCuPy).attention_gradient(g, q, k, v, out, stats, CAUSAL)
    assert fake_cudnn.limits == [None, None, "7"]
    assert os.environ[cudnn._LIMIT] == "7"


def test_the_scores_of_gpt2_for_64_samples_fit_a_large_device() -> None:
    views = tuple(((64, 12, 1024, 64), (786432, 64, 768, 1)) for _ in range(8))
    problem = cudnn.Problem(views, "bfloat16", True, 0.125, True)
    assert cudnn._limits(problem, int(cudnn.SCORES_SHARE * (80 << 30))) == ("",)
    assert cudnn._limits(problem, int(cudnn.SCORES_SHARE * (2 << 30))) == (str(1 << 30), "-1")


def test_a_plan_that_needs_more_memory_than_there_is_is_not_used(
    provider: cudnn.CuDNN, normal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a cuDNN that ignores the limit."""
    g, q, k, v = case(normal)
    out, stats = provider.attention(q, k, v, CAUSAL)
    monkeypatch.setattr(FakeCuPy, "free_bytes", fake_cudnn.WORKSPACE_BYTES - 1)
    monkeypatch.setattr(FakeCuPy, "kept_bytes", 0)
    with pytest.raises(Unsupported, match="cuDNN's plan needs 640 bytes, 639 bytes are available"):
        provider.attention_gradient(g, q, k, v, out, stats, CAUSAL)
    monkeypatch.setattr(FakeCuPy, "kept_bytes", 1)
    cudnn.CuDNN(FakeCuPy).attention_gradient(g, q, k, v, out, stats, CAUSAL)


@pytest.mark.parametrize("version", ["1.25.0", "1.29.0", "2.0.0"])
def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", types.SimpleNamespace(__version__=version))
    with pytest.raises(DeviceError, match=rf"expected nvidia-cudnn-frontend >= 1\.26, < 1\.29, got {version}"):
        cudnn.load()


# --- cuDNN itself validates graphs without a device ---------------------------------------------


def views(heads: int, kv_heads: int, queries: int, keys: int, width: int) -> tuple[cudnn.View, ...]:
    """q, k, v, out, g, dq, dk, dv: out and g (B, T, H, D), the others views of one (B, T, H + 2 K, D), or dense."""

    def heads_last(count: int, length: int, whole: int) -> cudnn.View:
        return (3, count, length, width), (length * whole * width, width, whole * width, 1)

    whole = heads + 2 * kv_heads if queries == keys else 0
    q = heads_last(heads, queries, whole or heads)
    k = heads_last(kv_heads, keys, whole or kv_heads)
    out = heads_last(heads, queries, heads)
    return q, k, k, out, out, q, k, k


@pytest.fixture(scope="module")
def library() -> Any:
    library = pytest.importorskip("cudnn", reason="needs nvidia-cudnn-frontend")
    try:
        library.backend_version()
    except RuntimeError as problem:
        pytest.skip(f"needs the library of cuDNN as well: {problem}")
    return library


def validate(graph: Any) -> None:
    graph.validate()
    if hasattr(graph, "_lower_to_cpp"):  # 1.27 and later hand the graph to cuDNN, which validates it, only here
        graph._lower_to_cpp()


@pytest.mark.parametrize("sm", [80, 90, 100])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "queries", "keys", "width"),
    [(12, 12, 1024, 1024, 64), (8, 2, 77, 77, 128), (4, 4, 64, 100, 32)],
)
def test_graphs_are_valid(
    library: Any, sm: int, dtype: str, heads: int, kv_heads: int, queries: int, keys: int, width: int
) -> None:
    tensors = views(heads, kv_heads, queries, keys, width)
    for is_causal in (False, True):
        for make, count in ((cudnn.forward_graph, 4), (cudnn.backward_graph, 8)):
            problem = cudnn.Problem(tensors[:count], dtype, is_causal, 0.125, True)
            validate(make(library, problem, sm_count=132, sm_version=sm))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "said"), [(12, 5, 64, "number of heads"), (12, 12, 60, "multiple of 8")]
)
def test_graphs_that_are_not_are_refused(library: Any, heads: int, kv_heads: int, width: int, said: str) -> None:
    tensors = views(heads, kv_heads, 64, 64, width)
    for make, count in ((cudnn.forward_graph, 4), (cudnn.backward_graph, 8)):
        problem = cudnn.Problem(tensors[:count], "bfloat16", True, 0.125, True)
        with pytest.raises(library.cudnnGraphNotSupportedError, match=said):
            validate(make(library, problem, sm_count=132, sm_version=90))
