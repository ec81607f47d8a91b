"""Tensor itself: what it tells, conversions, and the refusal to drop gradients or mix dtypes silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def variable(*shape: int, dtype: str = "float32") -> tg.Tensor:
    return tg.ones(shape, dtype=dtype, requires_grad=True)


def test_attributes() -> None:
    x = variable(2, 3)
    assert (x.shape, x.ndim, x.size, x.dtype, x.device) == ((2, 3), 2, 6, np.float32, "cpu")
    assert x.requires_grad
    assert not x.detach().requires_grad
    assert x.grad is None
    assert len(x) == 2
    assert [row.shape for row in x] == [(3,), (3,)]
    with pytest.raises(TypeError, match="len: "):
        len(variable())
    with pytest.raises(AttributeError):
        x.anything = 1  # slots: a misspelt attribute is an error


def test_repr_names_the_op() -> None:
    x = variable(2)
    assert repr(x) == "Tensor([1., 1.], shape=(2,), dtype=float32, requires_grad=True)"
    assert repr(x * 2.0) == "Tensor([2., 2.], shape=(2,), dtype=float32, op=multiply)"
    assert repr(tg.tensor([1, 2])) == "Tensor([1, 2], shape=(2,), dtype=int64)"
    assert "op=layer_norm" in repr(tg.layer_norm(x, x))
    assert len(repr(tg.zeros((1000, 10)))) < 1000


def test_scalars_convert() -> None:
    x = tg.tensor(2.5)
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    assert [10, 20, 30][tg.tensor(1)] == 20
    assert list(range(tg.tensor(3))) == [0, 1, 2]
    for bad in (x, tg.tensor([1])):
        with pytest.raises(TypeError, match="index: "):
            [1, 2][bad]


def test_tensors_are_hashable_by_identity_and_compare_by_element() -> None:
    x, y = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0])
    assert len({x, y, x}) == 2
    np.testing.assert_array_equal((x == y).numpy(), [True, True])


def test_methods_are_the_ops() -> None:
    a = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4))
    x = tg.tensor(a)
    for got, expected in (
        (x.sum(axis=0), a.sum(0)),
        (x.mean(keepdims=True), a.mean(keepdims=True)),
        (x.var(axis=1, correction=1), a.var(1, ddof=1)),
        (x.max(axis=1), a.max(1)),
        (x.min(), a.min()),
        (x.argmax(axis=0), a.argmax(0)),
        (x.reshape(4, 3), a.reshape(4, 3)),
        (x.reshape((2, -1)), a.reshape(2, -1)),
        (x.reshape([12]), a.ravel()),
        (x.permute_dims(1, 0), a.T),
        (x[None].squeeze(0), a),
        (x.T, a.T),
        (x[None].mT, a.T[None]),
        (x.exp(), np.exp(a)),
        (x.log(), np.log(a)),
        (x.sqrt(), np.sqrt(a)),
        (x.tanh(), np.tanh(a)),
        (x.astype("float32"), a.astype("float32")),
        (x.to("cpu"), a),
    ):
        assert type(got) is tg.Tensor
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize(
    "f",
    [
        np.exp,
        np.add.reduce,
        np.asarray,
        np.array,
        np.sum,
        np.mean,
        np.concatenate,
        np.transpose,
        np.stack,
        list,
        np.max,
    ],
)
def test_numpy_functions_raise_where_they_would_drop_a_gradient(f: Any) -> None:
    x = variable(2)
    if f is list:
        assert all(row.requires_grad for row in f(x))
        return
    argument = [x, x] if f in (np.concatenate, np.stack) else x
    with pytest.raises((TypeError, tg.GraphError)):
        f(argument)
    for call in (lambda: np.multiply(np.ones(2, np.float32), x), lambda: np.matmul(np.ones((2, 2), np.float32), x)):
        with pytest.raises(TypeError):
            call()


def test_numpy_takes_tensors_that_need_no_gradient() -> None:
    x = tg.tensor([1.0, 2.0])
    np.testing.assert_array_equal(np.asarray(x), [1.0, 2.0])
    assert np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype="float64").dtype == np.float64
    np.testing.assert_array_equal(np.concatenate([x, x]), [1.0, 2.0, 1.0, 2.0])
    assert np.shares_memory(variable(2).numpy(), variable(2).numpy()) is False


def test_arrays_mix_with_tensors_from_either_side() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    x = tg.tensor(a, requires_grad=True)
    for got, expected in (
        (a + x, a + a), (x + a, a + a), (a - x, a - a), (a * x, a * a), (a / x, a / a), (a**x, a**a),
        (a @ x, a @ a), (x @ a, a @ a),
    ):  # fmt: skip
        assert type(got) is tg.Tensor
        assert got.requires_grad
        np.testing.assert_allclose(got.numpy(), expected)
    np.testing.assert_array_equal((a < x + 1.0).numpy(), [[True, True], [True, True]])


def test_dtypes_do_not_mix_silently() -> None:
    narrow, wide, whole = variable(2), variable(2, dtype="float64"), tg.tensor([1, 2])
    for pair in ((narrow, wide), (narrow, whole), (wide, whole), (narrow, np.ones(2)), (narrow, np.float64(2.0))):
        for op in (tg.add, tg.multiply, tg.maximum, tg.less, lambda x, y: tg.where(np.ones(2, bool), x, y)):
            with pytest.raises(tg.DTypeError):
                op(*pair)
            with pytest.raises(tg.DTypeError):
                op(*pair[::-1])


def test_python_numbers_are_weak() -> None:
    x = variable(2)
    for out in (
        x + 1,
        x * 2.5,
        1 / x,
        x**2,
        2.0**x,
        x - True,
        tg.maximum(x, 0.5),
        tg.where(x > 0, x, 0),
        tg.clip(x, 0, 0.5),
    ):
        assert out.dtype == np.float32
        assert tg.grad(out.sum(), x, keep_graph=True)[0].dtype == np.float32
    assert (tg.tensor([1, 2]) + 1).dtype == np.int64
    assert (tg.tensor(np.array([1], np.int8)) * 2).dtype == np.int8
    assert (x + np.float32(1.0)).dtype == np.float32  # a NumPy scalar is an array without axes: its dtype counts


def test_giving_a_grad() -> None:
    x = variable(2)
    x.grad = tg.ones((2,))
    x.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
    x.grad = None
    assert x.grad is None
    with pytest.raises(tg.ShapeError, match="dtype"):
        x.grad = tg.ones((2,), dtype="float64")
    with pytest.raises(tg.GraphError, match="leaf"):
        tg.ones((2,)).grad = None


def test_detach_shares_values_but_not_history() -> None:
    x = variable(2)
    y = x * 3.0
    assert np.shares_memory(y.detach().data, y.data)
    (dx,) = tg.grad((x * y.detach()).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), [3.0, 3.0])
