"""NumPy's functions on arrays without values: the results of NumPy's own, in shape and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.abstract.functions import functions

A, PICKED = np.ones((3, 4), np.float32), np.array([[0, 1], [1, 0], [2, 3]])

CALLS = {
    "zeros": lambda xp, a: xp.zeros((2, 3), np.int32),
    "ones": lambda xp, a: xp.ones(3),
    "empty": lambda xp, a: xp.empty((2, 0), dtype="float32"),
    "full": lambda xp, a: xp.full((2, 3), 1.5),
    "full of": lambda xp, a: xp.full((2, 3), 1, np.float32),
    "zeros_like": lambda xp, a: xp.zeros_like(a),
    "empty_like": lambda xp, a: xp.empty_like(a, dtype=bool),
    "arange": lambda xp, a: xp.arange(5) + xp.arange(0, 1, 0.2),
    "eye": lambda xp, a: xp.eye(3, 4),
    "tri": lambda xp, a: xp.tri(3, dtype=bool),
    "linspace": lambda xp, a: xp.linspace(0, 1, 7),
    "asarray": lambda xp, a: xp.asarray([1, 2]),
    "asarray of": lambda xp, a: xp.asarray(a, np.float64),
    "copy": lambda xp, a: xp.copy(a),
    "where": lambda xp, a: xp.where(a > 0, a, -np.inf),
    "clip": lambda xp, a: xp.clip(a, 0, None),
    "clip both": lambda xp, a: xp.clip(a, 0, 1),
    "clip nothing": lambda xp, a: xp.clip(a, None, None),
    "maximum": lambda xp, a: xp.maximum(a, a[0]),
    "frexp": lambda xp, a: xp.frexp(a)[1],
    "divmod": lambda xp, a: divmod(a, 2)[0],
    "matmul": lambda xp, a: xp.matmul(a, a.T),
    "matmul vector": lambda xp, a: a @ a[0],
    "vector matmul": lambda xp, a: a[:, 0] @ a,
    "vectors": lambda xp, a: a[0] @ a[0],
    "matmul batch": lambda xp, a: xp.matmul(a[:, None, None], xp.ones((2, 4, 5), a.dtype)),
    "dot": lambda xp, a: xp.dot(a, a.T),
    "tensordot": lambda xp, a: xp.tensordot(a, a, axes=([0], [0])),
    "einsum": lambda xp, a: xp.einsum("nc,nc->n", a, a),
    "einsum outer": lambda xp, a: xp.einsum("ij,kj->ikj", a, a, optimize=True),
    "sum": lambda xp, a: xp.sum(a, axis=(0, 1), keepdims=True),
    "sum of bools": lambda xp, a: (a > 0).sum(),
    "mean": lambda xp, a: a.mean(axis=0),
    "std": lambda xp, a: a.std(axis=1, keepdims=True),
    "max": lambda xp, a: a.max(axis=-1, keepdims=True, initial=-np.inf),
    "argmax": lambda xp, a: xp.argmax(a, axis=1, keepdims=True),
    "argmin": lambda xp, a: a.argmin(),
    "any": lambda xp, a: (a > 0).any(axis=0),
    "all": lambda xp, a: xp.all(a),
    "cumsum": lambda xp, a: xp.cumsum(a, axis=1, dtype=np.float64),
    "cumsum flat": lambda xp, a: a.cumsum(axis=None),
    "accumulate": lambda xp, a: np.multiply.accumulate(a, axis=1),
    "reduce": lambda xp, a: np.logaddexp.reduce(a, axis=0),
    "reduceat": lambda xp, a: np.add.reduceat(a, np.array([0, 2]), axis=1),
    "outer": lambda xp, a: np.add.outer(a, a),
    "sort": lambda xp, a: xp.sort(a, axis=0),
    "argsort": lambda xp, a: xp.argsort(a, axis=-1, kind="stable"),
    "concatenate": lambda xp, a: xp.concatenate([a, a[:1]], axis=0),
    "concatenate flat": lambda xp, a: xp.concatenate([a, a[:1]], axis=None),
    "stack": lambda xp, a: xp.stack([a, a], axis=-1),
    "tril": lambda xp, a: xp.tril(a, 1),
    "roll": lambda xp, a: xp.roll(a, 1, axis=0),
    "flip": lambda xp, a: xp.flip(a, (0,)),
    "moveaxis": lambda xp, a: xp.moveaxis(a, 0, -1),
    "expand_dims": lambda xp, a: xp.expand_dims(a, (0, 2)),
    "squeeze": lambda xp, a: xp.squeeze(a[:1], axis=0),
    "broadcast_to": lambda xp, a: xp.broadcast_to(a, (2, 3, 4)),
    "broadcast_to of": lambda xp, a: xp.broadcast_to(np.ones(4), (3, 4)) * a,
    "diagonal": lambda xp, a: xp.diagonal(a, 1),
    "reshape": lambda xp, a: xp.reshape(a, (4, 3)),
    "ravel": lambda xp, a: xp.ravel(a),
    "take_along_axis": lambda xp, a: xp.take_along_axis(a, PICKED, axis=1),
    "repeat": lambda xp, a: xp.repeat(a, 2, axis=0),
    "tile": lambda xp, a: xp.tile(a, (2, 1)),
    "pad": lambda xp, a: xp.pad(a, 1),
    "nan_to_num": lambda xp, a: xp.nan_to_num(a, nan=1.0),
    "round": lambda xp, a: xp.round(a),
    "isfinite": lambda xp, a: xp.isfinite(a),
    "invert": lambda xp, a: ~(a > 0) & True,
    "shift": lambda xp, a: (a.astype(np.uint64) >> np.uint64(11)) * 2.0**-53,
    "kron": lambda xp, a: xp.kron(a, a),
    "inv": lambda xp, a: xp.linalg.inv(a[:3, :3] + np.eye(3, dtype=np.float32)),
    "svd": lambda xp, a: xp.linalg.svd(a, full_matrices=False).S,
    "eigh": lambda xp, a: xp.linalg.eigh(a[:3, :3])[1],
    "slogdet": lambda xp, a: xp.linalg.slogdet(a[:3, :3] + np.eye(3, dtype=np.float32))[0],
    "cholesky": lambda xp, a: xp.linalg.cholesky(a[:3, :3] + np.eye(3, dtype=np.float32)),
    "type": lambda xp, a: xp.zeros(2, xp.float32) + xp.pi,
    "out": lambda xp, a: xp.exp(a, out=a),
    "out of a sum": lambda xp, a: xp.sum(a, axis=0, out=xp.empty(4, a.dtype)),
    "out of a product": lambda xp, a: xp.matmul(a, a.T, out=xp.empty((3, 3), a.dtype)),
}


@pytest.mark.parametrize("call", CALLS)
def test_results(call: str) -> None:
    expected = np.asarray(CALLS[call](np, A.copy()))
    found = CALLS[call](functions, AbstractArray(A.shape, A.dtype))
    assert type(found) is AbstractArray
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


WRONG = {
    "broadcast": lambda xp, a: a + a[:, :3],
    "matmul": lambda xp, a: a @ a,
    "einsum": lambda xp, a: xp.einsum("ij,jk->ik", a, a),
    "reshape": lambda xp, a: a.reshape(5, 2),
    "axis": lambda xp, a: a.sum(axis=2),
    "concatenate": lambda xp, a: xp.concatenate([a, a[:, 1:]]),
    "where": lambda xp, a: xp.where(a > 0, a, a[:, 1:]),
    "overflow": lambda xp, a: a.astype(np.uint8) + 300,
    "bools": lambda xp, a: (a > 0) - (a > 0),
    "shift": lambda xp, a: a >> 1,
    "broadcast_to": lambda xp, a: xp.broadcast_to(a, (3, 5)),
    "take": lambda xp, a: xp.take_along_axis(a, np.zeros((2, 2), int), axis=1),
    "inv": lambda xp, a: xp.linalg.inv(a),
}


@pytest.mark.parametrize("call", WRONG)
def test_errors_are_of_the_same_type(call: str) -> None:
    with pytest.raises(Exception) as expected:
        WRONG[call](np, A)
    with pytest.raises(expected.type):
        WRONG[call](functions, AbstractArray(A.shape, A.dtype))


@pytest.mark.parametrize("name", ["nonzero", "unique", "flatnonzero", "argwhere", "where"])
def test_shapes_that_depend_on_values(name: str) -> None:
    with pytest.raises(tg.NoValueError):
        getattr(functions, name)(AbstractArray((3,), bool))
    with pytest.raises(tg.NoValueError):
        getattr(np, name)(AbstractArray((3,), bool))


def flops(call: Any) -> int:
    with tg.abstract() as meter:
        call(AbstractArray((3, 4), np.float32))
    return meter.flops


def test_work() -> None:
    assert flops(lambda a: a + 1) == 12
    assert flops(lambda a: np.exp(a[0])) == 4
    assert flops(lambda a: a.sum(axis=0)) == 12
    assert flops(lambda a: a @ a.T) == 2 * 3 * 3 * 4
    assert flops(lambda a: np.einsum("ij,kj->ik", a, a)) == 2 * 3 * 3 * 4
    assert flops(lambda a: np.where(a > 0, a, 0)) == 24
    assert flops(lambda a: np.add.at(a, np.array([0]), a[:1])) == 4
    for free in (np.copy, np.transpose, np.tril, lambda a: a.astype(np.float64), lambda a: np.concatenate([a, a])):
        assert flops(free) == 0
