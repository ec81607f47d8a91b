"""Tensor: attributes, conversions, and the refusal to drop gradients or mix dtypes silently."""

from __future__ import annotations

import copy
import pickle
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


def test_a_list_of_a_tensor_keeps_its_gradients() -> None:
    assert all(row.requires_grad for row in list(variable(2)))


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


def test_copies() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x.copy()
    assert not np.shares_memory(x.numpy(), y.numpy())
    (g,) = tg.grad(y.sum(), x)
    np.testing.assert_array_equal(g.numpy(), [1.0, 1.0])
    assert (tg.tensor([True, False]).copy().numpy() == [True, False]).all()
    assert copy.copy(x).node is x.node
    deep = copy.deepcopy({"a": x, "b": x})
    assert deep["a"] is deep["b"]
    assert deep["a"].requires_grad
    assert not np.shares_memory(deep["a"].numpy(), x.numpy())
    assert not copy.deepcopy(x.detach()).requires_grad
    with pytest.raises(tg.GraphError, match=r"deepcopy: .* result of multiply"):
        copy.deepcopy(x * 2)
    with pytest.raises(TypeError, match=r"safetensors: Tensors are not pickled"):
        pickle.dumps(x)


def test_what_python_asks_of_numbers_and_containers() -> None:
    x = tg.tensor([[1.5, 2.0]])
    assert x.tolist() == [[1.5, 2.0]]
    assert 2.0 in x
    assert 3.0 not in x
    assert f"{x.sum():.2f}" == "3.50"
    assert f"{x.sum()}" == str(x.sum())
    assert complex(tg.tensor(2.0)) == 2 + 0j
    assert x.__array_namespace__() is tg
    assert x.__array_namespace__(api_version="2024.12") is tg
    with pytest.raises(ValueError, match=r"up to 2024.12, got '1999'"):
        x.__array_namespace__(api_version="1999")
    assert x.to_device("cpu").tolist() == x.tolist()
    with pytest.raises(tg.DeviceError, match="no stream"):
        x.to_device("cpu", stream=1)  # type: ignore[arg-type]


def test_integer_operators() -> None:
    a, b = np.array([7, -5, 3]), np.array([2, 3, 1])
    x, y = tg.tensor(a), tg.tensor(b)
    for got, expected in (
        (x // y, a // b), (x % y, a % b), (x & y, a & b), (x | y, a | b), (x ^ y, a ^ b), (x << y, a << b),
        (x >> y, a >> b), (~x, ~a), (+x, a), (7 // y, 7 // b), (7 % y, 7 % b), (6 & x, 6 & a), (6 | x, 6 | a),
        (6 ^ x, 6 ^ a), (1 << y, 1 << b), (64 >> y, 64 >> b),
    ):  # fmt: skip
        np.testing.assert_array_equal(got.numpy(), expected)


def test_setting_items() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    x[0] = 5.0
    x[:, 1] = tg.tensor([6.0, 7.0])
    x[1, :1] = [8.0]
    assert x.tolist() == [[5.0, 6.0], [8.0, 7.0]]
    with pytest.raises(tg.ShapeError, match=r"setitem: .*\(2, 2\)"):
        x[0] = [1.0, 2.0, 3.0]
    with pytest.raises(tg.GraphError, match=r"setitem: .* leaf made .*index_update"):
        variable(2)[0] = 1.0
    with pytest.raises(tg.GraphError, match=r"setitem: .* result of multiply"):
        (variable(2) * 2.0)[0] = 1.0
    with pytest.raises(tg.GraphError, match=r"setitem: .* read-only view"):
        tg.broadcast_to(x, (3, 2, 2))[0] = 1.0


def test_giving_other_data() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.data = np.array([3.0, 4.0], np.float32)
    x.data += 1
    assert x.tolist() == [4.0, 5.0]
    with pytest.raises(tg.ShapeError, match=r"data: .*(2,).*(3,)"):
        x.data = np.zeros(3, np.float32)
    with pytest.raises(tg.DTypeError, match=r"data: expected an array, got \[1.0, 2.0\]"):
        x.data = [1.0, 2.0]  # type: ignore[assignment]


def test_gradient_hooks() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    h = x * 3.0
    seen: list[tuple[str, list[float]]] = []
    remove = h.register_hook(lambda g: seen.append(("h", g.tolist())))
    h.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    (h * 2.0 + h).sum().backward()
    assert seen == [("h", [3.0, 3.0]), ("x", [90.0, 90.0])]
    assert x.grad is not None
    assert x.grad.tolist() == [90.0, 90.0]

    seen.clear()
    remove()
    remove()
    h = x * 3.0
    h.register_hook(lambda g: g * 2.0)
    (g,) = tg.grad((h * h).sum(), x, create_graph=True)
    assert g.tolist() == [36.0, 72.0]
    (second,) = tg.grad(g.sum(), x)  # what comes back to h is doubled again
    assert second.tolist() == [72.0, 72.0]
    assert [name for name, _ in seen] == ["x", "x"]

    h = x * 3.0
    h.register_hook(lambda g: np.ones(2))  # type: ignore[arg-type, return-value]
    with pytest.raises(tg.DTypeError, match=r"hook: .* got ndarray"):
        h.sum().backward()
    h = x * 3.0
    h.register_hook(lambda g: g.sum())
    with pytest.raises(tg.ShapeError, match="gradient hook"):
        h.sum().backward()
    with pytest.raises(tg.GraphError, match="register_hook"):
        tg.tensor(1.0).register_hook(print)  # type: ignore[arg-type]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_cannot_write_into_a_gradient_that_others_have_too(create_graph: bool) -> None:
    def write(g: tg.Tensor) -> None:
        g[...] = 0.0

    def write_into_data(g: tg.Tensor) -> None:
        g.data[...] = 0.0

    for hook, error in ((write, tg.GraphError), (write_into_data, ValueError)):
        x, y = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0, 2.0], requires_grad=True)
        remove = x.register_hook(hook)
        with pytest.raises(error, match="read-only"):
            (x + y).sum().backward(create_graph=create_graph)
        remove()
        x.register_hook(lambda g: g)
        (x + y).sum().backward(create_graph=create_graph)
        assert x.grad is not None
        x.grad.data[...] = 0.0  # a copy, which may be written to
        (x + y).sum().backward(create_graph=create_graph)
        assert x.grad.tolist() == [1.0, 1.0]


def test_a_hook_sees_shapes_without_values() -> None:
    with tg.abstract():
        x, seen = tg.ones((3,), requires_grad=True), []
        x.register_hook(lambda g: seen.append(g.shape))
        (x * 2.0).sum().backward()
    assert seen == [(3,)]


def test_a_hook_sees_the_whole_sum_of_slices() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    h = x * 1.0
    seen: list[Any] = []
    h.register_hook(lambda g: seen.append(g.tolist()))
    h[1].backward()
    assert seen == [[0.0, 1.0, 0.0]]
