"""check_grads: does a function's gradient agree with finite differences of its values?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.arguments import as_integer, as_number, check_function
from tensorgrad.array import Array, own, to_device, to_numpy
from tensorgrad.backward import grad
from tensorgrad.errors import DTypeError, GradientError, GraphError, shown
from tensorgrad.ops.common import float_operand
from tensorgrad.random import Key
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = ["check_grads", "difference"]

# Central difference of order 8 (Fornberg, "Generation of finite difference formulas", 1988, table 1):
# its error at step h is of the order of h^8 times the ninth derivative, so h can be large enough
# that rounding, eps / h, stays below 1e-12.
_STENCIL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
_STEP = 3e-3
_DIRECTIONS = 2


def difference(f: Callable[[float], Any]) -> Any:
    """f'(0), from values of f between -0.012 and 0.012."""
    return sum(c * (f(i * _STEP) - f(-i * _STEP)) for i, c in _STENCIL) / _STEP


def check_grads(
    f: Callable[..., Tensor], *xs: Tensor | Array, order: int = 2, tolerance: float = 1e-7, key: Key | None = None
) -> None:
    """Check f's gradient at xs, and the gradients of its gradients, against differences in float64.

    For random directions u and a random cotangent w, the derivative of sum(f * w) along u is taken
    from backward and from an 8th-order central difference. Backward's two ways, on arrays and
    recorded (`create_graph=True`), are compared too, element by element. Keep xs at least 0.05 away
    from points where f has no derivative.

    Args:
        f: a function of Tensors that returns one Tensor; it must take random numbers from a fixed Key only.
        xs: Tensors or arrays; converted to float64.
        order: how many times to differentiate.
        tolerance: relative, for the first order; ten times that for each further one.
        key: for the random directions.
    Raises: GradientError, saying which order and by how much.
    """
    check_function("check_grads", f)
    order, tolerance = as_integer("check_grads", "order", order), as_number("check_grads", "tolerance", tolerance)
    if key is not None and not isinstance(key, Key):
        raise DTypeError(f"check_grads: expected a Key, got {shown(key)}: make it with tensorgrad.Key(seed)")
    points = [float_operand("check_grads", x).astype(np.float64) for x in xs]
    _check(f, points, order, 1, tolerance, Key(0) if key is None else key)


def _check(f: Callable[..., Tensor], xs: Sequence[Array], order: int, level: int, tolerance: float, key: Key) -> None:
    leaves = [leaf(x) for x in xs]
    out = f(*leaves)
    if type(out) is not Tensor:
        raise GraphError(
            f"check_grads: expected a function that returns one Tensor, got {shown(out)}: "
            "return one of them, or their sum"
        )
    weights = _normal(key.fold_in(0), out.array)
    gradients = _gradient(out, leaves, weights, create_graph=False)
    recorded = _gradient(f(*leaves), leaves, weights, create_graph=True)
    for position, (a, b) in enumerate(zip(gradients, recorded, strict=True)):
        size = max(np.abs(a.numpy()).max(initial=0.0), np.abs(b.numpy()).max(initial=0.0))
        difference = np.abs(a.numpy() - b.numpy()).max(initial=0.0)
        if not difference <= tolerance * size:
            raise GradientError(
                f"check_grads: expected the same gradient of input {position} with create_graph as without, "
                f"order {level}, but they differ by {difference:.3g}, of {size:.3g}: write its vjp with ops"
            )
    for direction in range(_DIRECTIONS):
        steps = [_normal(key.fold_in(1 + direction).fold_in(i), x) for i, x in enumerate(xs)]
        terms = np.concatenate(
            [np.zeros(1)] + [to_numpy(own(g.array * u, u)).ravel() for g, u in zip(gradients, steps, strict=True)]
        )
        numeric, noise = _difference(f, xs, steps, weights)
        analytic = float(terms.sum())
        size = max(abs(numeric), float(np.sqrt(np.square(terms).sum())))
        if not abs(analytic - numeric) <= tolerance * size + noise:
            raise GradientError(
                f"check_grads: expected the derivative that differences give, order {level}, "
                f"but backward gives {analytic:.12g}, differences {numeric:.12g}, "
                f"relative error {abs(analytic - numeric) / (size or 1):.3g}, tolerance {tolerance:.3g}: check the vjps"
            )
    if level < order:

        def directional(*ys: Tensor) -> Tensor:
            """The first-order derivative along fixed directions, a scalar function of ys again."""
            slopes = _gradient(f(*ys), ys, weights, create_graph=True)
            return ops.sum(
                ops.stack([ops.sum(g * _normal(key.fold_in(1).fold_in(i), g.array)) for i, g in enumerate(slopes)])
            )

        _check(directional, xs, order, level + 1, tolerance * 10, key.fold_in(3))


def _gradient(out: Tensor, leaves: Sequence[Tensor], weights: Array, *, create_graph: bool) -> tuple[Tensor, ...]:
    if not out.requires_grad:  # constant in the leaves
        return tuple(Tensor(np.zeros_like(x.array)) for x in leaves)
    return grad(out, leaves, Tensor(weights), create_graph=create_graph)


def _difference(
    f: Callable[..., Tensor], xs: Sequence[Array], steps: Sequence[Array], weights: Array
) -> tuple[float, float]:
    """The derivative of sum(f * weights) along `steps`, and how far rounding may put it off."""
    sizes = [0.0]

    def weighted_sum(h: float) -> float:
        out = f(*(leaf(own(x + h * u, x)) for x, u in zip(xs, steps, strict=True)))
        terms = to_numpy(own(out.array * weights, weights))
        sizes.append(float(np.abs(terms).sum()))
        return float(terms.sum())

    return float(difference(weighted_sum)), 8 * np.finfo(np.float64).eps * max(sizes) / _STEP


def _normal(key: Key, like: Any) -> Array:
    values = key.normal(like.shape, dtype="float64")
    return to_device(values, "cpu" if isinstance(like, np.ndarray) else f"cuda:{like.device.id}")
