"""NumPy's functions on Tensors are dispatched, computed for constants, or refused; DLPack copies nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import interop

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])


def variable() -> tg.Tensor:
    return tg.tensor(A, requires_grad=True)


DISPATCHED: dict[str, Any] = {
    "exp": np.exp,
    "absolute": np.absolute,
    "arctan": np.arctan,
    "arctan2": lambda x: np.arctan2(x, A + 3),
    "power": lambda x: np.power(np.abs(x), 2.5),
    "true divide": lambda x: np.true_divide(A, x),
    "add": lambda x: np.add(A, x),
    "maximum": lambda x: np.maximum(x, 0.3),
    "matmul": lambda x: np.matmul(x, A.T),
    "sum": np.sum,
    "sum axis": lambda x: np.sum(x, 0),
    "sum keepdims": lambda x: np.sum(x, axis=(0, 1), keepdims=True),
    "mean": lambda x: np.mean(x, axis=-1),
    "var": lambda x: np.var(x, ddof=1),
    "std": lambda x: np.std(x, 1, ddof=1),
    "amax": lambda x: np.amax(x, axis=1),
    "prod": lambda x: np.prod(x, axis=0),
    "cumsum": lambda x: np.cumsum(x, 1),
    "reshape": lambda x: np.reshape(x, (3, 2)),
    "transpose": lambda x: np.transpose(x, (1, 0)),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "concatenate": lambda x: np.concatenate([x, A], axis=1),
    "concatenate position": lambda x: np.concatenate((x, x), 0),
    "stack": lambda x: np.stack([x, x], 1),
    "where": lambda x: np.where(A > 0, x, 0.0),
    "clip": lambda x: np.clip(x, -1.0, 1.0),
    "clip by name": lambda x: np.clip(x, a_min=-1.0, a_max=1.0),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, A),
    "take": lambda x: np.take(x, np.array([0, 0, 1]), axis=0),
    "expand_dims": lambda x: np.expand_dims(x, axis=1),
    "broadcast_to": lambda x: np.broadcast_to(x, (4, 2, 3)),
    "flip": lambda x: np.flip(x, 1),
    "tril": np.tril,
    "tensordot": lambda x: np.tensordot(x, A, axes=([1], [1])),
    "tile": lambda x: np.tile(x, (2, 1)),
    "sort": lambda x: np.sort(x, axis=0),
}


@pytest.mark.parametrize("name", DISPATCHED)
def test_a_numpy_function_is_ours_of_the_same_meaning(name: str) -> None:
    f = DISPATCHED[name]
    out = f(variable())
    assert type(out) is tg.Tensor
    assert out.requires_grad
    np.testing.assert_allclose(out.numpy(), f(A), rtol=1e-14)


REFUSED: dict[str, Any] = {
    "no such function": lambda x: np.fft.fft(x),
    "no such ufunc": lambda x: np.frexp(x),
    "reduce": lambda x: np.add.reduce(x),
    "outer": lambda x: np.multiply.outer(x, x),
    "out": lambda x: np.exp(x, out=np.empty((2, 3))),
    "where": lambda x: np.exp(x, where=A > 0),
    "argument": lambda x: np.sum(x, axis=0, initial=3.0),
    "argument by position": lambda x: np.round(x, 2),
    "further arguments": lambda x: np.pad(x, 1, constant_values=3.0),
    "asarray": np.asarray,
    "array": np.array,
    "array of scalars": lambda x: np.array([x[0, 0], x[0, 1]]),
    "into an array": lambda x: np.empty((2, 3)).__setitem__(slice(None), x),
    "dlpack": np.from_dlpack,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_drop_a_gradient_is_refused(name: str) -> None:
    with pytest.raises(
        tg.GraphError, match=r"expected .* need.* no gradient.*: use tensorgrad's functions, or x.detach"
    ):
        REFUSED[name](variable())


def test_mixed_dtypes_are_refused_from_numpy_too() -> None:
    with pytest.raises(tg.DTypeError, match=r"multiply: .* float32 and float64"):
        np.multiply(np.ones((2, 3), np.float32), variable())


def test_what_an_array_is_like_has_no_gradient_to_drop() -> None:
    x = variable()
    assert (np.shape(x), np.ndim(a=x), np.size(x), np.size(x, axis=1)) == ((2, 3), 2, 6, 3)


def test_constants_may_go_through_any_numpy_function() -> None:
    x = tg.tensor(A)
    np.testing.assert_allclose(np.fft.fft(x), np.fft.fft(A))
    np.testing.assert_allclose(np.add.reduce(x), A.sum(0))
    np.testing.assert_array_equal(np.round(x, 1), np.round(A, 1))
    np.testing.assert_array_equal(x, A)
    np.testing.assert_allclose(x, A)
    assert np.array_equal(x, A)
    assert np.shape(x) == (2, 3)
    assert np.exp(x, where=A > 0, out=np.zeros((2, 3))).sum() == pytest.approx(np.exp(A[A > 0]).sum())
    assert type(np.exp(x)) is tg.Tensor
    assert np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype="float32").dtype == np.float32


def test_dlpack_shares_memory_both_ways() -> None:
    x = tg.tensor(A)
    array = np.from_dlpack(x)
    assert np.shares_memory(array, x.data)
    back = tg.from_dlpack(x)
    assert np.shares_memory(back.data, x.data)
    assert x.__dlpack_device__() == (1, 0)


@pytest.mark.oracle
def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    x = tg.tensor(A)
    there = torch.from_dlpack(x)
    there[0, 0] = 7.0
    assert x.tolist()[0][0] == 7.0
    back = tg.from_dlpack(torch.ones(3, dtype=torch.float64))
    assert back.tolist() == [1.0, 1.0, 1.0]


def test_a_function_without_a_signature_is_called_as_it_was() -> None:
    def by_hand(*args: Any, **keywords: Any) -> Any:
        return interop.array_function(tg, min, args, keywords)  # inspect knows none of Python's own

    x = variable()
    assert by_hand(x).item() == A.min()
    np.testing.assert_array_equal(by_hand(x, axis=1).numpy(), A.min(axis=1))
    with pytest.raises(tg.GraphError, match=r"numpy\.min: expected tensors that need no gradient"):
        by_hand(x, key=3)
