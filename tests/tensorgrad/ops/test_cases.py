"""Every public op against an independent NumPy expression, and its gradients against differences.

The cases are those of `tensorgrad.verify`; each is run forward in float64 and float32, backward to second order, on
views that are not contiguous, and with one tensor in the place of all its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.dtype import tolerance
from tensorgrad.verify.case import Case
from tensorgrad.verify.cases import CASES

IDS = [f"{i}-{case.name}" for i, case in enumerate(CASES)]
every_case = pytest.mark.parametrize("case", CASES, ids=IDS)
every_differentiable = pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.is_differentiable],
    ids=[i for i, c in zip(IDS, CASES, strict=True) if c.is_differentiable],
)


def tensors(arrays: list[np.ndarray]) -> list[tg.Tensor]:
    return [tg.tensor(a, requires_grad=True) for a in arrays]


def assert_close(got: Any, expected: Any, relative: float) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    if got.size:
        assert np.abs(got - expected.astype(np.float64)).max() <= relative * max(1.0, np.abs(expected).max())


def test_every_public_op_has_a_case() -> None:
    assert {case.op for case in CASES} == set(tg.ops.__all__)


@every_case
def test_forward_in_float64(case: Case) -> None:
    arrays = case.inputs()
    out = case.f(*tensors(arrays))
    expected = np.asarray(case.expected(*arrays))
    assert type(out) is tg.Tensor
    assert out.requires_grad == case.is_differentiable
    if case.is_differentiable:
        assert out.dtype == np.float64
        assert_close(out.numpy(), expected, 1e-12)
    else:
        np.testing.assert_array_equal(out.numpy(), expected)


@every_differentiable
def test_forward_and_gradient_in_float32(case: Case) -> None:
    arrays = [a.astype(np.float32) for a in case.inputs()]
    out = case.f(*(leaves := tensors(arrays)))
    assert out.dtype == np.float32
    assert_close(out.numpy(), case.expected(*(a.astype(np.float64) for a in arrays)), 2 * tolerance("float32"))
    g = np.random.default_rng(9).normal(size=out.shape)
    narrow = tg.grad(out, leaves, g.astype(np.float32))
    wide_leaves = tensors([a.astype(np.float64) for a in arrays])
    for got, expected in zip(narrow, tg.grad(case.f(*wide_leaves), wide_leaves, g), strict=True):
        assert got.dtype == np.float32
        assert_close(got.numpy(), expected.numpy(), 2e-5)


@every_differentiable
def test_gradients_of_first_and_second_order(case: Case) -> None:
    tg.check_grads(case.f, *case.inputs(), order=2)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.same], ids=[i for i, c in zip(IDS, CASES, strict=True) if c.same]
)
def test_one_tensor_as_every_input(case: Case) -> None:
    (x,) = case.inputs((case.same,))
    count = len(case.shapes)
    assert_close(case.f(*[tg.tensor(x)] * count).numpy(), case.expected(*[x] * count), 1e-12)
    if case.is_differentiable:
        tg.check_grads(lambda t: case.f(*[t] * count), x, order=2)


def reversed_base(a: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    return a[(..., *(slice(None, None, -1),) * a.ndim)], lambda b: b[(slice(None, None, -1),) * b.ndim]


def transposed_base(a: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    return a.T.copy(), lambda b: tg.permute_dims(b, tuple(range(b.ndim))[::-1])


def strided_base(a: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    index = (*(slice(None),) * (a.ndim - 1), slice(1, None, 2))
    return np.repeat(a, 2, axis=-1) if a.ndim else a, lambda b: b[index] if b.ndim else b


def broadcast_base(a: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    # A vector that is constant has no variance, where norms are too steep for differences.
    base = a[:1] if a.ndim > 1 else a
    return base, lambda b: tg.broadcast_to(b, a.shape)


LAYOUTS = {
    "reversed": reversed_base,
    "transposed": transposed_base,
    "strided": strided_base,
    "broadcast": broadcast_base,
}


# Repeated elements tie, where ops that choose have no derivative.
LAID_OUT = [
    pytest.param(case, layout, id=f"{name}-{layout}")
    for name, case in zip(IDS, CASES, strict=True)
    for layout in LAYOUTS
    if case.is_differentiable and not (layout == "broadcast" and case.domain == "distinct")
]


@pytest.mark.parametrize(("case", "layout"), LAID_OUT)
def test_views_that_are_not_contiguous(case: Case, layout: str) -> None:
    bases, views = zip(*(LAYOUTS[layout](a) for a in case.inputs()), strict=True)
    seen = [view(tg.tensor(base)).numpy() for view, base in zip(views, bases, strict=True)]
    assert_close(case.f(*map(tg.asarray, seen)).numpy(), case.expected(*(a.copy() for a in seen)), 1e-12)
    tg.check_grads(lambda *xs: case.f(*(view(x) for view, x in zip(views, xs, strict=True))), *bases, order=1)
    # The cotangent that comes back from a later op may be such a view as well.
    leaves = tensors(seen)
    out = case.f(*leaves)
    g = np.broadcast_to(np.float64(0.7), out.shape) if layout == "broadcast" else np.full((*out.shape, 2), 0.7)[..., 0]
    plain = tg.grad(case.f(*leaves), leaves, np.full(out.shape, 0.7))
    for got, expected in zip(tg.grad(out, leaves, g), plain, strict=True):
        assert_close(got.numpy(), expected.numpy(), 1e-14)
