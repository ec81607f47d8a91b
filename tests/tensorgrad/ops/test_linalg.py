"""matmul, linear and einsum over shapes drawn by hypothesis."""

from __future__ import annotations

import string

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng([seed, len(shape)]).normal(size=shape)


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3))
def test_matmul_broadcasts_leading_axes(shapes: hnp.BroadcastableShapes) -> None:
    a, b = (normal(shape, i) for i, shape in enumerate(shapes.input_shapes))
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    out = x @ y
    np.testing.assert_allclose(out.numpy(), a @ b, rtol=1e-12, atol=1e-13)
    assert out.shape == shapes.result_shape
    g = normal(out.shape, 7)
    # Linear in each operand: <g, da @ b> = <dx, da> for every da.
    dx, dy = tg.grad(out, [x, y], g)
    da, db = normal(a.shape, 8), normal(b.shape, 9)
    np.testing.assert_allclose((g * (da @ b)).sum(), (dx.numpy() * da).sum(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose((g * (a @ db)).sum(), (dy.numpy() * db).sum(), rtol=1e-10, atol=1e-12)
    assert (dx.shape, dy.shape) == (a.shape, b.shape)


@st.composite
def einsums(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """Subscripts with letters repeated within and across operands, ellipses, sizes 0 and 1, sizes 1 that broadcast."""
    letters = "abcd"[: draw(st.integers(1, 4))]
    sizes = {c: draw(st.integers(0, 3)) for c in letters}
    batch = draw(st.lists(st.integers(1, 2), max_size=2))
    has_ellipsis = draw(st.booleans())
    parts, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(letters), max_size=3))
        # A size of 1 may stand for any size, but not within a diagonal.
        ones = {c for c in names if names.count(c) == 1 and draw(st.integers(0, 4)) == 0}
        shape = [1 if c in ones else sizes[c] for c in names]
        part = "".join(names)
        if has_ellipsis and draw(st.booleans()):
            at = draw(st.integers(0, len(names)))
            width = draw(st.integers(0, len(batch)))
            own = [1 if draw(st.integers(0, 3)) == 0 else n for n in batch[len(batch) - width :]]
            part = part[:at] + "..." + part[at:]
            shape[at:at] = own
        parts.append(part)
        shapes.append(tuple(shape))
    used = sorted({c for part in parts for c in part if c in string.ascii_letters})
    if draw(st.booleans()):
        output = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        text = "".join(output)
        if any("..." in part for part in parts):
            at = draw(st.integers(0, len(text)))
            text = text[:at] + "..." + text[at:]
        return ",".join(parts) + "->" + text, shapes
    return ",".join(parts), shapes


@given(einsums())
def test_einsum_is_numpy_s_and_is_linear_in_each_operand(pair: tuple[str, list[tuple[int, ...]]]) -> None:
    subscripts, shapes = pair
    arrays = [normal(shape, i) for i, shape in enumerate(shapes)]
    expected = np.asarray(np.einsum(subscripts, *arrays, optimize=False))
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    out = tg.einsum(subscripts, *xs)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-11, atol=1e-12)
    g = normal(expected.shape, 20)
    for create_graph in (False, True):
        gradients = tg.grad(tg.einsum(subscripts, *xs), xs, g, create_graph=create_graph)
        for i, (dx, a) in enumerate(zip(gradients, arrays, strict=True)):
            direction = normal(a.shape, 30 + i)
            moved = np.einsum(subscripts, *arrays[:i], direction, *arrays[i + 1 :], optimize=False)
            np.testing.assert_allclose((dx.numpy() * direction).sum(), (g * moved).sum(), rtol=1e-9, atol=1e-11)


def test_einsum_of_views_does_not_hand_out_its_input_s_memory() -> None:
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    diagonal = tg.einsum("ii->i", x @ x.T)
    assert diagonal.data.flags.writeable


def test_matmul_of_integers_and_mixed_with_arrays() -> None:
    a = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal((tg.tensor(a) @ a).numpy(), a @ a)
    b = np.ones((2, 2))
    x = tg.tensor(b, requires_grad=True)
    np.testing.assert_array_equal(tg.grad((b @ x).sum(), x)[0].numpy(), np.full((2, 2), 2.0))


def test_linear_is_matmul_with_the_weight_transposed() -> None:
    x, w, b = normal((2, 3, 4), 0), normal((5, 4), 1), normal((5,), 2)
    np.testing.assert_allclose(tg.linear(x, w, b), x @ w.T + b, rtol=1e-13)
    given = b.copy()
    tg.linear(tg.tensor(x), tg.tensor(w), tg.tensor(b))
    np.testing.assert_array_equal(b, given)


@pytest.mark.parametrize(
    "shapes", [((2, 3, 3), (4, 5)), ((3,), (4,)), ((2, 3), (2, 3)), ((2, 3), (4,)), ((2, 2, 3), (3, 3, 2))]
)
def test_a_product_that_does_not_fit_names_the_shapes_given(shapes: tuple[tuple[int, ...], ...]) -> None:
    x, y = (tg.ones(shape) for shape in shapes)
    with pytest.raises(tg.ShapeError) as caught:
        x @ y
    assert f"got {shapes[0]} and {shapes[1]}" in str(caught.value)
