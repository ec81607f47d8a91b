"""The compiled kernels against the reference: over ragged shapes, with infinities and NaN, on any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.bfloat16 import is_bfloat16, to_float32
from tensorgrad.kernels.packing import is_side_by_side
from tensorgrad.kernels.threads import threads
from tensorgrad.random import Key, RowKeys, as_pairs
from tests.tensorgrad.tolerances import TOLERANCES

compiled = pytest.importorskip("tensorgrad.kernels.compiled", exc_type=ImportError)
vector = pytest.importorskip("tensorgrad.kernels.compiled.vector", exc_type=ImportError)

DTYPES = ["float32", "float64"]


def normal(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def results(kernels: Any, rows: int, width: int, dtype: str) -> dict[str, Any]:
    """Every kernel over rows, applied to the same numbers."""
    x, g = normal((rows, width), dtype, 0), normal((rows, width), dtype, 1)
    weight, bias = normal((width,), dtype, 2), normal((width,), dtype, 3)
    found: dict[str, Any] = {}
    for name in ("silu", "softmax", "log_softmax"):
        found[name] = getattr(kernels, name)(x)
        operand = x if name == "silu" else found[name]
        found[f"{name}_gradient"] = getattr(kernels, f"{name}_gradient")(g, operand)
    for approximate in ("none", "tanh"):
        found[f"gelu {approximate}"] = kernels.gelu(x, approximate)
        found[f"gelu_gradient {approximate}"] = kernels.gelu_gradient(g, x, approximate)
    pairs = np.concatenate([x, g], axis=1)
    found["swiglu"], found["swiglu_gradient"] = kernels.swiglu(pairs), kernels.swiglu_gradient(g, pairs)
    for activation in ("gelu", "gelu_tanh", "relu_squared", "swiglu"):
        h, up = (pairs.copy(), np.concatenate([weight, bias])) if activation == "swiglu" else (x.copy(), weight)
        found[f"mlp {activation}"] = (kernels.mlp_activation(h, up, activation, False), h)
        found[f"mlp_gradient {activation}"] = kernels.mlp_activation_gradient(g.copy(), h, activation, False, True)
    found["layer_norm"] = kernels.layer_norm(x, weight, bias, 1e-2)
    found["layer_norm without bias"] = kernels.layer_norm(x, weight, None, 1e-2)
    found["layer_norm_gradient"] = kernels.layer_norm_gradient(g, x, weight, *found["layer_norm"][1:])
    found["rms_norm"] = kernels.rms_norm(x, weight, 1e-2)
    found["rms_norm_gradient"] = kernels.rms_norm_gradient(g, x, weight, found["rms_norm"][1])
    targets = np.random.default_rng(4).integers(0, width, rows).astype(np.int32)
    targets[::5] = -1
    of_rows = np.abs(normal((rows,), dtype, 5))
    for label, spread in (("", None), (" of smoothed labels", np.abs(bias))):
        _, _, *sums = found[f"cross_entropy{label}"] = kernels.cross_entropy(x, targets, spread)
        operands = (of_rows, of_rows, weight[0] * of_rows, x, targets, spread, *sums)
        found[f"cross_entropy_gradient{label}"] = kernels.cross_entropy_gradient(*operands)
    found["global_norm"] = kernels.global_norm(x.reshape(-1))
    state = [x.reshape(-1).copy(), g.reshape(-1), *(np.zeros(x.size, dtype) for _ in range(2))]
    kernels.adamw(*state, np.array([1e-2, 0.1, 0.05, 0.5]), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
    found["adamw"] = tuple(state)
    return found


def arrays(found: Any) -> list[np.ndarray]:
    return [a for a in (found if isinstance(found, tuple) else (found,)) if a is not None]


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(1, 200), st.sampled_from(DTYPES))
def test_rows_of_any_shape(rows: int, width: int, dtype: str) -> None:
    expected = results(reference, rows, width, dtype)
    for name, found in results(compiled, rows, width, dtype).items():
        for got, want in zip(arrays(found), arrays(expected[name]), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype), name
            error = np.abs(got - want).max(initial=0.0)
            # Sums over all rows, and of squares, are rounded in another order.
            units = 8 + np.sqrt(rows * width) / 20
            assert error <= units * TOLERANCES[dtype] * max(1.0, np.abs(want).max(initial=0.0)), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_the_same_on_any_number_of_threads_and_again(dtype: str) -> None:
    expected = results(compiled, 700, 150, dtype)
    for count in (1, 2, 3):
        with threads(count):
            for name, found in results(compiled, 700, 150, dtype).items():
                for got, want in zip(arrays(found), arrays(expected[name]), strict=True):
                    np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_to_be_seen(bad: float) -> None:
    x, g = normal((5, 70), "float32", 0), normal((5, 70), "float32", 1)
    x[2, 65] = bad
    targets = np.zeros(5, int)
    weight = np.ones(70, np.float32)
    rows: dict[str, Callable[[], Any]] = {
        "softmax": lambda: compiled.softmax(x),
        "log_softmax": lambda: compiled.log_softmax(x),
        "layer_norm": lambda: compiled.layer_norm(x, weight, None, 1e-5)[0],
        "rms_norm": lambda: compiled.rms_norm(x, weight, 1e-5)[0],
        "cross_entropy": lambda: compiled.cross_entropy(x, targets, None)[0],
        "gelu": lambda: compiled.gelu(x, "none"),
        "gelu tanh": lambda: compiled.gelu(x, "tanh"),
        "silu": lambda: compiled.silu(x),
        "silu_gradient": lambda: compiled.silu_gradient(x, g),
        "gelu_gradient": lambda: compiled.gelu_gradient(x, g, "none"),
    }
    for name, compute in rows.items():
        found = compute()
        is_row_finite = np.isfinite(found.reshape(5, -1)).all(axis=1)
        expected = [True, True, name.endswith("softmax") and bad == -np.inf, True, True]
        if name == "cross_entropy" and bad == -np.inf:  # an impossible class
            expected = [True] * 5
        if name == "log_softmax" and bad == -np.inf:  # its log-probability
            expected[2] = False
        assert is_row_finite.tolist() == expected, name
    assert np.isnan(compiled.global_norm(x.ravel())) == np.isnan(bad)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu_squared", "swiglu"])
def test_an_mlp_s_activation_and_gradient_rounded_to_bfloat16(activation: str) -> None:
    x, bias = normal((300, 130), "float32", 0), normal((130,), "float32", 1)
    x[:3, :2] = np.nan, np.inf
    g = normal((300, 65 if activation == "swiglu" else 130), "float32", 2)
    found = []
    for kernels in (compiled, reference):
        for is_rounded in (False, True):
            h = x.copy()
            with np.errstate(invalid="ignore"):
                y = kernels.mlp_activation(h, bias, activation, is_rounded)
                again, dx, dbias = kernels.mlp_activation_gradient(g.copy(), h, activation, is_rounded, True)
                assert kernels.mlp_activation_gradient(g.copy(), h, activation, is_rounded, False)[2] is None
            found.append([y, again, dx, dbias])
    for exact, rounded in (found[:2], found[2:]):
        for a, narrow in zip(exact[:3], rounded[:3], strict=True):
            assert is_bfloat16(narrow)
            b = to_float32(narrow)
            np.testing.assert_array_equal(np.isfinite(b), np.isfinite(a))
            a, b = a[np.isfinite(a)], b[np.isfinite(a)]
            assert (np.abs(b - a) <= 2.0**-8 * np.abs(a)).all()
        np.testing.assert_array_equal(rounded[3], exact[3])  # of what is not rounded
    for a, b in zip(found[0], found[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_bfloat16_is_the_nearest_and_ties_go_to_even() -> None:
    """Squares of numbers just right, against oneDNN where it is installed and against NumPy's own arithmetic."""
    x = np.sqrt(np.linspace(1, 2, 4099)).astype(np.float32)[None]
    exact = (x * x)[0].astype(np.float64)
    expected = np.round(np.ldexp(exact, 7)) / 2**7  # NumPy rounds ties to even
    for kernels in (compiled, reference):
        found = kernels.mlp_activation(x, None, "relu_squared", True)[0]
        np.testing.assert_array_equal(to_float32(found), expected)


def test_a_target_that_is_no_class_is_the_index_error_of_the_reference() -> None:
    logits, row = normal((2, 5), "float32", 0), np.ones(2, np.float32)
    for bad in (5, -6):
        targets = np.array([1, bad])
        with pytest.raises(IndexError):
            compiled.cross_entropy(logits, targets, None)
        with pytest.raises(IndexError):
            compiled.cross_entropy_gradient(row, row, row, logits, targets, None, row, row)


def test_operands_that_are_not_contiguous_are_taken_too() -> None:
    x, g = normal((6, 8), "float32", 0), normal((6, 8), "float32", 1)
    weight = normal((8,), "float32", 2)
    for kernels in (compiled, reference):
        out, mean, rstd = kernels.layer_norm(np.asfortranarray(x), weight, None, 1e-5)
        found = [out, *kernels.layer_norm_gradient(np.asfortranarray(g), x, weight, mean, rstd)]
        out, rstd = kernels.rms_norm(np.asfortranarray(x), weight, 1e-5)
        found += [
            out,
            *kernels.rms_norm_gradient(np.asfortranarray(g), x, weight, rstd),
            kernels.global_norm(x[0, ::2]),
        ]
        state = [np.array([1.0, 2.0, 3.0, 4.0], "float32")[::2] for _ in range(4)]
        kernels.adamw(*state, np.array([0.1, 0.1, 0.05, 1.0]), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
        found += state
        if kernels is compiled:
            expected = found
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, want)


# --- attention ---------------------------------------------------------------------------------

lengths = st.one_of(st.integers(1, 20), st.integers(60, 150))


@settings(max_examples=25)
@given(
    queries=lengths,
    keys=lengths,
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2)]),
    widths=st.sampled_from([(32, 32), (64, 64), (5, 40), (33, 1)]),
    is_causal=st.booleans(),
    mask_kind=st.sampled_from([None, "bool", "float"]),
)
def test_attention(
    queries: int, keys: int, heads: tuple[int, int], widths: tuple[int, int], is_causal: bool, mask_kind: str | None
) -> None:
    depth, width = widths
    shapes = ((2, heads[0], queries, depth), (2, heads[1], keys, depth), (2, heads[1], keys, width))
    q, k, v = (normal(shape, "float32", seed) for seed, shape in enumerate(shapes))
    g = normal((2, heads[0], queries, width), "float32", 3)
    mask: Any = None
    if mask_kind == "bool":
        mask = np.random.default_rng(4).random((2, 1, queries, keys)) < 0.5
        mask[0, 0, 0] = False  # this query sees nothing
    elif mask_kind == "float":
        mask = normal((1, heads[0], 1, keys), "float32", 5)
    attending = Attending(is_causal=is_causal, scale=depth**-0.5, mask=mask)
    out, logsumexp = compiled.attention(q, k, v, attending)
    expected, expected_logsumexp = reference.attention(q, k, v, attending)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(logsumexp, expected_logsumexp, rtol=1e-5, atol=3e-6)
    assert out.transpose(0, 2, 1, 3).flags.c_contiguous
    gradients = compiled.attention_gradient(g, q, k, v, out, logsumexp, attending)
    expected_gradients = reference.attention_gradient(g, q, k, v, expected, expected_logsumexp, attending)
    for got, want in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5 * max(1.0, np.abs(want).max()))


def test_attention_of_views_on_any_number_of_threads() -> None:
    heads_BTJD = normal((3, 150, 12, 32), "float32", 0)
    q, k, v = (heads_BTJD[:, :, 4 * i : 4 * i + 4].transpose(0, 2, 1, 3) for i in range(3))
    g = np.broadcast_to(np.float32(0.5), q.shape)  # read-only, as a sum's cotangent

    def results() -> list[np.ndarray]:
        attending = Attending(is_causal=True, scale=0.2)
        out, logsumexp = compiled.attention(q, k, v, attending)
        return [out, logsumexp, *compiled.attention_gradient(g, q, k, v, out, logsumexp, attending)]

    expected = results()
    for count in (1, 2, 3):
        with threads(count):
            for got, want in zip(results(), expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_attention_s_gradients_lie_side_by_side_where_they_fit() -> None:
    q, k, v, g, out = (normal((2, heads, 9, 8), "float32", heads) for heads in (4, 2, 2, 4, 4))
    rest = (normal((2, 4, 9), "float32", 0), Attending(is_causal=True, scale=1.0))
    assert is_side_by_side(compiled.attention_gradient(g, q, k, v, out, *rest))
    assert not is_side_by_side(compiled.attention_gradient(g, q, k[:, :, :7], v[:, :, :7], out, *rest))


@pytest.mark.parametrize(("queries", "keys", "is_causal"), [(150, 150, True), (70, 33, True), (5, 131, False)])
def test_attention_s_dropout(queries: int, keys: int, is_causal: bool) -> None:
    """Drops the weights that the definition drops, for one key and for a key for each sample."""
    q, g = (normal((3, 4, queries, 8), "float32", seed) for seed in range(2))
    k, v = (normal((3, 2, keys, 8), "float32", seed) for seed in range(2, 4))
    mask = np.random.default_rng(0).random((3, 1, queries, keys)) < 0.8
    for key in (Key(2**64 - 1, 7), RowKeys(Key(3).split(3))):
        attending = Attending(is_causal=is_causal, scale=0.5, mask=mask, dropout=(as_pairs(key, "cpu"), 0.3))
        out, logsumexp = compiled.attention(q, k, v, attending)
        found = [out, logsumexp, *compiled.attention_gradient(g, q, k, v, out, logsumexp, attending)]
        wide = [x.astype(float) for x in (g, q, k, v)]
        forward = reference.attention(*wide[1:], attending)
        for got, want in zip(found, [*forward, *reference.attention_gradient(*wide, *forward, attending)], strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want[np.isfinite(want)]).max())


def test_attention_of_other_dtypes_and_nothing_is_the_reference_s() -> None:
    attending = Attending(is_causal=True, scale=0.5, dropout=(as_pairs(Key(1), "cpu"), 0.3))
    for dtype, length in (("float64", 5), ("float32", 0)):
        q, k, v, g = (normal((2, 2, length, 8), dtype, seed) for seed in range(4))
        for kernels in (compiled, reference):
            out, logsumexp = kernels.attention(q, k, v, attending)
            found = [out, *kernels.attention_gradient(g, q, k, v, out, logsumexp, attending)]
            if kernels is compiled:
                expected = found
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(5, 6), (3, 5, 6), (2, 3, 5, 6), (2, 2, 3, 5, 6), (70, 4, 150, 32), (0, 3, 5, 6)], ids=str
)
def test_rope(shape: tuple[int, ...], dtype: str) -> None:
    x, angles = normal(shape, dtype, 0), normal((shape[-2], shape[-1] // 2), dtype, 1)
    tables = np.cos(angles), np.sin(angles)
    views = [x] if len(shape) < 3 else [x, np.ascontiguousarray(x.swapaxes(-2, -3)).swapaxes(-2, -3)]
    for view in views:
        out, expected = compiled.rope(view, *tables), reference.rope(view, *tables)
        assert (out.dtype, out.strides) == (expected.dtype, expected.strides)
        np.testing.assert_allclose(out, expected, rtol=0, atol=8 * TOLERANCES[dtype])


# --- compiling ---------------------------------------------------------------------------------


def test_without_a_folder_for_machine_code_kernels_are_compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorgrad.kernels.compiled import jit

    njit = jit.numba.njit

    def without_cache(*arguments: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*arguments, **options)

    monkeypatch.setattr(jit.numba, "njit", without_cache)
    out = np.zeros(3)

    @jit.compiled
    def fill(out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            out[i] = i

    fill(out)
    assert out.tolist() == [0, 1, 2]


def test_products_of_few_rows() -> None:
    for rows, inner, columns in ((1, 1, 1), (1, 77, 130), (3, 200, 9), (4, 0, 3), (2, 5, 0)):
        a, b = normal((rows, inner), "float32", 0), normal((columns, inner), "float32", 1).T
        assert vector.is_for(a, b)
        out = np.full((rows, 2 * columns), np.nan, np.float32)
        vector.product(a, b, out[:, ::2])
        np.testing.assert_allclose(out[:, ::2], a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)
        assert np.isnan(out[:, 1::2]).all()
    a, b = normal((2, 6), "float32", 0), normal((6, 8), "float32", 1)
    for refused in ((a, b), (a[:, ::2], b.T[:, :3].T), (a.astype(float), b.T.copy().T), (a[None], b.T.copy().T[None])):
        assert not vector.is_for(*refused)


def test_sums_over_rows_are_the_same_for_any_number_of_threads() -> None:
    x = np.random.default_rng(0).normal(size=(3001, 200)).astype(np.float32)
    expected = compiled.column_sums(x, x.dtype)
    np.testing.assert_allclose(expected, x.astype(float).sum(axis=0), rtol=1e-5, atol=1e-4)
    for count in (1, 2, 3):
        with threads(count):
            np.testing.assert_array_equal(compiled.column_sums(x, x.dtype), expected)
