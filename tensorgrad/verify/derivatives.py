"""All derivatives of a function at a point: by backward, and by differences.

A point is a list of arrays, N elements in all; the function's output has M. Derivatives are plain matrices over these
elements, in order: the Jacobian (M, N), and the Hessian (N, N) of sum(output * weights).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy
from tensorgrad.backward import grad
from tensorgrad.check import difference
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = ["Derivatives", "along", "bend_by_backward", "bend_by_differences", "by_backward", "by_differences"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Derivatives:
    """The derivatives of one function at one point, each in every way that the library offers."""

    value: Array  # (M,)
    by_vjp: Array  # the Jacobian, (M, N): row after row, one backward each
    by_jvp: Array  # the Jacobian again, column after column
    gradient: Array  # (N,) of sum(output * weights), by one backward on arrays
    recorded: Array  # (N,) the same with create_graph
    hessian: Array  # (N, N)


def by_backward(f: Function, point: Sequence[Array], weights: Array) -> Derivatives:
    """All derivatives of f by running its tape back: once per output for vjps, once per input for jvps and the Hessian.

    A vjp is linear in its cotangent, so its own gradient with respect to the cotangent is the jvp.
    """
    leaves = [leaf(x) for x in point]
    out = f(*leaves)
    weights = to_device(weights, out.device)
    rows = [flattened(grad(out, leaves, Tensor(g), keep_graph=True)) for g in one_hots(out.array)]
    gradient = grad(out, leaves, Tensor(weights), keep_graph=True)
    cotangent = leaf(weights)
    recorded = grad(out, leaves, cotangent, create_graph=True)
    columns, hessian = [], []
    for slope in recorded:
        for g in one_hots(slope.array):
            if slope.requires_grad:
                column, *row = grad(slope, [cotangent, *leaves], Tensor(g), keep_graph=True)
                columns.append(flattened([column]))
                hessian.append(flattened(row))
            else:  # f does not depend on this input
                columns.append(np.zeros(out.array.size))
                hessian.append(np.zeros(len(flattened(leaves))))
    count, size = out.array.size, sum(x.size for x in point)
    return Derivatives(
        value=flattened([out]),
        by_vjp=np.reshape(rows, (count, size)),
        by_jvp=np.reshape(columns, (size, count)).T,
        gradient=flattened(gradient),
        recorded=flattened(recorded),
        hessian=np.reshape(hessian, (size, size)),
    )


def by_differences(f: Function, point: Sequence[Array], weights: Array) -> tuple[Array, Array]:
    """The Jacobian of f, from its values, and the Hessian of sum(f * weights), from its gradients."""

    def value_and_gradient(*xs: Array) -> Array:
        leaves = [leaf(x) for x in xs]
        out = f(*leaves)
        return np.concatenate([flattened([out]), flattened(grad(out, leaves, Tensor(weights)))])

    size = sum(x.size for x in point)
    columns = np.reshape(_columns(value_and_gradient, point), (size, weights.size + size))
    return columns[:, : weights.size].T, columns[:, weights.size :]


def _columns(f: Function, point: Sequence[Array]) -> list[Array]:
    """The derivative of f along each element of the point."""

    def column(i: int, e: Array) -> Any:
        return difference(lambda h: f(*point[:i], np.asarray(point[i] + h * e), *point[i + 1 :]))

    return [column(i, e) for i, x in enumerate(point) for e in one_hots(x)]


def along(f: Function, point: Sequence[Array], weights: Array, tangents: Sequence[Array]) -> list[Array]:
    """f, the gradient of sum(f * weights), and the derivatives of both along `tangents`: (M,), (N,), (M,), (N,)."""
    leaves = [leaf(x) for x in point]
    out = f(*leaves)
    weights = to_device(weights, out.device)
    gradient = grad(out, leaves, Tensor(weights), keep_graph=True)
    cotangent = leaf(weights)
    recorded = grad(out, leaves, cotangent, create_graph=True)
    pairs = [(slope, Tensor(t)) for slope, t in zip(recorded, tangents, strict=True) if slope.requires_grad]
    outputs, gradients = zip(*pairs, strict=True) if pairs else ((), ())
    changes = [Tensor(np.zeros_like(data)) for data in (out.array, *point)]
    if pairs:
        changes = list(grad(outputs, [cotangent, *leaves], gradients))
    return [flattened([out]), flattened(gradient), flattened(changes[:1]), flattened(changes[1:])]


def bend_by_backward(f: Function, point: Sequence[Array], weights: Array, tangents: Sequence[Array]) -> Array:
    """The third order along a direction t, (N,): the gradient of t . c, where c is `_curvature`."""
    leaves = [leaf(x) for x in point]
    directions = [Tensor(to_device(t, device_of(x))) for t, x in zip(tangents, point, strict=True)]
    return flattened(_gradient_of_product(_curvature(f, leaves, weights, directions), directions, leaves))


def bend_by_differences(
    f: Function, point: Sequence[Array], weights: Array, tangents: Sequence[Array]
) -> tuple[Array, Array]:
    """The same: how c changes along t; and c."""
    directions = [Tensor(t) for t in tangents]

    def curvature(h: float) -> Array:
        leaves = [leaf(np.asarray(x + h * t)) for x, t in zip(point, tangents, strict=True)]
        return flattened(_curvature(f, leaves, weights, directions))

    return np.asarray(difference(curvature)), curvature(0.0)


def _curvature(f: Function, leaves: list[Tensor], weights: Array, directions: list[Tensor]) -> Sequence[Tensor]:
    """The gradient of sum(t asinh(s)), where s is the gradient of sum(asinh(f) weights).

    So every cotangent depends on the point, gently. Then even a linear function's gradients must be differentiable.
    """
    out = ops.asinh(f(*leaves))
    slopes = grad(out, leaves, Tensor(to_device(weights, out.device)), create_graph=True)
    return _gradient_of_product([ops.asinh(s) for s in slopes], directions, leaves)


def _gradient_of_product(xs: Sequence[Tensor], ys: Sequence[Tensor], leaves: list[Tensor]) -> Sequence[Tensor]:
    """The gradient of the sum of all xs * ys, recorded."""
    total = functools.reduce(operator.add, [ops.sum(x * y) for x, y in zip(xs, ys, strict=True)])
    return grad(total, leaves, create_graph=True) if total.requires_grad else [x * 0 for x in leaves]


def one_hots(like: Array) -> list[Array]:
    """One array for each element of `like`: 1 there, 0 elsewhere."""
    xp = module_of(like)
    return [e.reshape(like.shape) for e in xp.eye(like.size, dtype=like.dtype)]


def flattened(tensors: Sequence[Tensor]) -> Array:
    """All elements of the tensors in one row, in float64 on the CPU."""
    return np.concatenate([np.zeros(0), *(to_numpy(t.array).ravel() for t in tensors)], dtype=np.float64)
