"""einsum over subscripts and shapes drawn by hypothesis, and what it refuses."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng([seed, len(shape)]).normal(size=shape)


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


@pytest.mark.parametrize("subscripts", ["ij", "ij->ij", "ij->ji", "ii->i", "...->...", "ii", "ij->i"])
def test_the_result_is_never_a_view_of_the_operand(subscripts: str) -> None:
    x = tg.tensor(normal((3, 3), 0), requires_grad=True)
    before = x.numpy().copy()
    out = tg.einsum(subscripts, x)
    out.data[...] = 7.0
    np.testing.assert_array_equal(x.numpy(), before)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ij,jk->i", "ii,ij->j", "ij,jk,ki->", "ij,jk->ijk", "ij,ij->i"])
def test_integers_keep_their_dtype(dtype: str, subscripts: str) -> None:
    arrays = [np.random.default_rng(i).integers(0, 200, (3, 3)).astype(dtype) for i in range(subscripts.count(",") + 1)]
    out = tg.einsum(subscripts, *arrays)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, np.einsum(subscripts, *arrays))


def test_a_chain_is_contracted_in_the_cheap_order() -> None:
    """(10 x 200) (200 x 3) (3 x 200) (200 x 10): no intermediate is of size 200 x 200."""
    shapes = [(10, 200), (200, 3), (3, 200), (200, 10)]
    xs = [tg.tensor(normal(shape, i), requires_grad=True) for i, shape in enumerate(shapes)]
    out = tg.einsum("ab,bc,cd,de->ae", *xs)
    expected = xs[0].numpy() @ xs[1].numpy() @ (xs[2].numpy() @ xs[3].numpy())
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-10, atol=1e-10)
    stack, sizes = [out.node], []
    while stack:
        node = stack.pop()
        assert node is not None
        sizes.append(np.prod(node.shape))
        stack.extend(node.parents)
    assert max(sizes) == 2000


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij->ii", [(2, 2)], "expected an output of distinct input letters, got 'ij->ii'"),
        ("ij->ik", [(2, 2)], "expected an output of distinct input letters, got 'ij->ik'"),
        ("ij,jk->ik", [(2, 3), (4, 5)], r"expected one size for each letter of 'ij,jk->ik', .* \(2, 3\), \(4, 5\)"),
        ("ii->i", [(1, 3)], r"expected one size .* got shapes \(1, 3\)"),
        ("i1->i", [(2, 2)], "expected subscripts of letters"),
        ("i..->i", [(2, 2)], "expected subscripts of letters"),
        ("...i...->i", [(2, 2)], "expected subscripts of letters"),
        ("i->j->k", [(2,)], "expected subscripts of letters"),
        ("ij,jk->ik", [(2, 3)], "expected 2 operands for 'ij,jk->ik', got 1"),
        ("ij", [], "expected 1 operands for 'ij', got 0"),
        ("ijk->i", [(2, 3)], r"expected 3 axes for 'ijk', got shape \(2, 3\)"),
        ("i->i", [(2, 3)], r"expected 1 axes for 'i', got shape \(2, 3\)"),
        ("...ijk->i", [(2, 3)], r"expected 6 axes for '...ijk', got shape \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(subscripts: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(tg.ShapeError, match="^einsum: " + message):
        tg.einsum(subscripts, *(tg.ones(shape) for shape in shapes))


def test_operands_before_subscripts_are_refused() -> None:
    with pytest.raises(tg.ShapeError, match="expected subscripts such as"):
        tg.einsum(tg.ones((3,)), "i->i")  # type: ignore[arg-type]
