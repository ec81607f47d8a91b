"""The products over shapes drawn by hypothesis, of integers, and what they refuse."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given

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


@pytest.mark.parametrize("dtype", ["int64", "int16", "uint8"])
def test_products_of_integers_keep_their_dtype(dtype: str) -> None:
    a, b = (np.random.default_rng(i).integers(0, 200, (3, 3)).astype(dtype) for i in range(2))
    for got, expected in (
        (tg.matmul(a, b), a @ b),
        (tg.tensordot(a, b), np.tensordot(a, b)),
        (tg.vecdot(a, b), np.vecdot(a, b)),
        (tg.vecdot(a, b, axis=0), np.vecdot(a, b, axis=0)),
        (tg.outer(a[0], b[0]), np.outer(a[0], b[0])),
        (tg.kron(a, b), np.kron(a, b)),
        (tg.cross(a, b), np.cross(a, b)),
    ):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("op", "shapes", "options", "message"),
    [
        (tg.matmul, ((), (2,)), {}, "expected at least one axis each, got a scalar: use multiply"),
        (tg.linear, ((2, 3), (4, 2)), {}, r"expected x \(\.\.\., K\) and weight \(N, K\), got \(2, 3\) and \(4, 2\)"),
        (tg.linear, ((2, 3), (4, 3), (3,)), {}, r"expected bias of shape \(4,\), got \(3,\)"),
        (
            tg.tensordot,
            ((2, 3), (1, 3)),
            {},
            r"expected equal sizes along axes \(0, 1\) and \(0, 1\), got \(2, 3\) and",
        ),
        (tg.tensordot, ((2, 3), (3, 2)), {"axes": 3}, r"expected axes in 0 \.\. 2, got 3"),
        (tg.tensordot, ((2, 3), (3, 2)), {"axes": -1}, r"expected axes in 0 \.\. 2, got -1"),
        (tg.tensordot, ((2,), (2,)), {"axes": ((0,),)}, "expected axes to be an integer or two lists"),
        (tg.tensordot, ((2,), (2,)), {"axes": (0, 0)}, "expected axes to be an integer or two lists"),
        (tg.tensordot, ((2, 2), (2, 2)), {"axes": ((0, 0), (0, 1))}, "expected each axis once"),
        (tg.tensordot, ((2, 2), (2, 2)), {"axes": ((0,), (0, 1))}, "expected equal sizes"),
        (tg.vecdot, ((2, 3), (2, 1)), {}, "expected one length along axis -1"),
        (tg.vecdot, ((2, 3), (4, 3)), {}, "expected shapes that broadcast"),
        (tg.vecdot, ((2, 3), (2,)), {"axis": 0}, "expected a negative axis for shapes"),
        (tg.vecdot, ((2, 3), (3,)), {"axis": -2}, "expected axis in -1"),
        (tg.cross, ((2, 2), (2, 2)), {}, "expected three elements along axis -1"),
        (tg.cross, ((2, 3), (3, 3)), {}, "expected shapes that broadcast"),
        (tg.outer, ((2, 2), (2,)), {}, r"expected two vectors, got \(2, 2\) and \(2,\)"),
    ],
)
def test_what_does_not_fit_is_named(op: Any, shapes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(tg.ShapeError, match=f"^{op.__name__}: {message}"):
        op(*(tg.ones(shape) for shape in shapes), **options)


def test_a_number_is_no_operand() -> None:
    for op in (tg.vecdot, tg.outer, tg.kron, tg.cross, tg.tensordot):
        with pytest.raises(tg.DTypeError, match=op.__name__):
            op(tg.ones((3,)), 2.0)
