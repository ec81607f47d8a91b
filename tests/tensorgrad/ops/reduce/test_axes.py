"""Every reduction over any axes of any shape is NumPy's, and its gradient has x's shape."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

AXIS_FREE = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
    "count_nonzero": np.count_nonzero,
    "logsumexp": lambda a, axis, keepdims: np.log(np.exp(a).sum(axis=axis, keepdims=keepdims)),
}
CONSTANT = {"any", "all", "count_nonzero"}
EMPTY = {"mean": np.nan, "var": np.nan, "std": np.nan, "logsumexp": -np.inf}  # where it is not NumPy's, or warns


@st.composite
def shapes_with_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    if not shape:
        return shape, draw(st.sampled_from([None, ()]))
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(one, max_size=len(shape), unique_by=lambda a: a % len(shape)).map(tuple)
    return shape, draw(st.none() | one | several)


@given(shapes_with_axes(), st.sampled_from(sorted(AXIS_FREE)), st.booleans())
def test_reductions_are_numpy_s(pair: tuple[tuple[int, ...], Any], op: str, keepdims: bool) -> None:
    shape, axis = pair
    a = np.random.default_rng(len(shape)).normal(size=shape)
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    is_empty = any(shape[i] == 0 for i in axes)
    x = tg.tensor(a, requires_grad=True)
    if is_empty and op in ("max", "min"):
        with pytest.raises(tg.ShapeError, match=f"{op}: expected at least one element"):
            getattr(tg, op)(x, axis=axis, keepdims=keepdims)
        return
    out = getattr(tg, op)(x, axis=axis, keepdims=keepdims)
    assert out.shape == np.sum(a, axis=axis, keepdims=keepdims).shape
    if is_empty and op in EMPTY:
        np.testing.assert_array_equal(out.numpy(), np.full(out.shape, EMPTY[op]))
    else:
        expected = np.asarray(AXIS_FREE[op](a, axis=axis, keepdims=keepdims))
        np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-13)
        assert op not in CONSTANT or out.dtype == expected.dtype
    assert out.requires_grad == (op not in CONSTANT)
    if out.requires_grad:
        (dx,) = tg.grad(out, x, np.ones(out.shape))
        assert dx.shape == shape
        if op in ("max", "min", "logsumexp", "mean") and not is_empty:
            # A weighted mean: the weights along the reduced axes add up to 1.
            np.testing.assert_allclose(dx.numpy().sum(axis=axis), np.ones(np.sum(a, axis=axis).shape), rtol=1e-12)


@pytest.mark.parametrize("op", [*sorted(AXIS_FREE), "argmax", "argmin", "cumulative_sum", "cumulative_prod", "diff"])
@pytest.mark.parametrize("axis", [2, -3, "0", 1.0])
def test_an_axis_that_is_not_there_is_refused(op: str, axis: Any) -> None:
    with pytest.raises(tg.ShapeError, match=f"{op}: expected axis"):
        getattr(tg, op)(tg.ones((2, 3)), axis=axis)


@pytest.mark.parametrize("op", sorted(AXIS_FREE))
def test_an_axis_named_twice_is_refused(op: str) -> None:
    with pytest.raises(tg.ShapeError, match=f"{op}: expected each axis once"):
        getattr(tg, op)(tg.ones((2, 3)), axis=(1, -1))


SHAPES = [((100_000, 3), 0), ((3, 100_000), 1), ((300, 400), None), ((50_000, 2, 3), (0, 2)), ((7, 10_000, 4), 1)]
LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_sums_are_rounded_once(shape: tuple[int, ...], axis: Any, layout: str) -> None:
    """Along any axis of any layout: within one unit in the last place of the truth, and the same every time."""
    a = LAYOUTS[layout](np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32))
    wide = a.astype(np.float64)
    for op, expected in {
        "sum": wide.sum(axis=axis),
        "mean": wide.mean(axis=axis),
        "var": wide.var(axis=axis),
        "std": wide.std(axis=axis),
    }.items():
        out = getattr(tg, op)(tg.asarray(a), axis=axis).numpy()
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected, rtol=6.1e-8)
        np.testing.assert_array_equal(getattr(tg, op)(tg.asarray(a), axis=axis).numpy(), out)
    out = tg.logsumexp(tg.asarray(a), axis=axis).numpy()
    np.testing.assert_allclose(out, np.log(np.exp(wide).sum(axis=axis)), rtol=1.3e-7)


def test_float16_sums_neither_overflow_on_the_way_nor_stall() -> None:
    x = tg.tensor(np.full((5000,), 20, np.float16))
    assert tg.mean(x).item() == 20
    assert tg.var(x).item() == 0
    assert tg.sum(tg.tensor(np.full(5000, 1.0, np.float16))).item() == 5000
