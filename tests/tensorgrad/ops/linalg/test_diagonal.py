"""diagonal and trace: views, integers, offsets of no diagonal."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg


def test_a_diagonal_is_a_copy() -> None:
    x = tg.tensor(np.arange(9.0).reshape(3, 3))
    tg.diagonal(x).data[:] = 7
    np.testing.assert_array_equal(x.numpy(), np.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize("offset", [-9, -3, -2, 0, 3, 4, 9])
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "float32"])
def test_integers_and_offsets_outside(offset: int, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 100, (2, 3, 4)).astype(dtype)
    expected = np.diagonal(x, offset, -2, -1)
    got = tg.diagonal(x, offset=offset)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    total = tg.trace(tg.asarray(x), offset=offset)
    np.testing.assert_array_equal(total.numpy(), expected.sum(axis=-1, dtype=total.dtype))
    assert total.dtype == {"int64": "int64", "int8": "int64", "uint8": "uint64", "bool": "int64"}.get(dtype, dtype)


def test_trace_converts_first() -> None:
    assert tg.trace(np.array([[100, 0], [0, 100]], np.int8), dtype="int16") == 200
    assert tg.trace(np.eye(3, dtype="int32"), dtype="float64").dtype == "float64"
    x = tg.tensor(np.eye(2, dtype="float32"), requires_grad=True)
    (dx,) = tg.grad(tg.trace(x, dtype="float64"), x)
    assert dx.dtype == "float32"
    np.testing.assert_array_equal(dx.numpy(), np.eye(2))


def test_what_is_no_matrix_is_refused() -> None:
    for op in (tg.diagonal, tg.trace):
        with pytest.raises(
            tg.ShapeError, match=rf"^{op.__name__}: expected matrices \(\.\.\., M, N\), got shape \(3,\)"
        ):
            op(tg.ones((3,)))
        with pytest.raises(tg.ShapeError, match="expected offset to be an integer"):
            op(tg.ones((3, 3)), offset=0.5)  # type: ignore[arg-type]


def test_the_third_order_through_a_diagonal() -> None:
    x = np.array([[0.7, 0.2, 1.0], [0.4, -1.2, 0.3]])
    tg.check_grads(lambda x: tg.diagonal(x, offset=1) ** 4, x, order=3)
    tg.check_grads(lambda x: tg.trace(x) ** 4, x, order=3)
