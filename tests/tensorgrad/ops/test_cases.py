"""Every public op against an independent NumPy expression, and its gradients against differences.

One table of cases; each case is run forward in float64 and float32, backward to second order, on
views that are not contiguous, and with one tensor in the place of all its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.dtype import tolerance

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    op: str
    name: str
    f: Callable[..., Any]  # of Tensors
    expected: Callable[..., Any]  # of NumPy arrays, by NumPy's own means
    shapes: tuple[Shape, ...]
    domain: str = "any"
    is_differentiable: bool = True
    same: Shape | None = None  # where one tensor can stand in for all inputs: its shape

    def inputs(self, shapes: tuple[Shape, ...] | None = None) -> list[np.ndarray]:
        """One array per input, away from points where the op has no derivative."""
        shapes = self.shapes if shapes is None else shapes
        rng = np.random.default_rng([len(self.name), len(shapes)])
        sizes = [math.prod(shape) for shape in shapes]
        total = sum(sizes)
        if self.domain == "any":  # at least 0.1 from 0
            flat = rng.uniform(0.1, 1.6, total) * rng.choice([-1, 1], total)
        elif self.domain == "positive":
            flat = rng.uniform(0.5, 2.5, total)
        elif self.domain == "distinct":  # every two at least 0.06 apart, also across inputs
            flat = (rng.permutation(total) - total / 2 + 0.3) * 0.1 + rng.uniform(-0.02, 0.02, total)
        else:
            raise ValueError(self.domain)
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


CASES: list[Case] = []


def case(op: str, f: Callable[..., Any], expected: Callable[..., Any], *shape_sets: tuple[Shape, ...], **options: Any):
    for shapes in shape_sets:
        label = "-".join("x".join(map(str, shape)) or "scalar" for shape in shapes)
        name = f"{op}:{options.pop('label', '')}{label}" if "label" in options else f"{op}:{label}"
        CASES.append(Case(op, name, f, expected, shapes, **options))


# --- elementwise -------------------------------------------------------------------------------

UNARY = (((3, 4),), ((),), ((0, 3),), ((1, 1, 2),))
BINARY = (
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((2, 1, 3), (4, 1)),
    ((), (2, 2)),
    ((1,), (1, 1)),
    ((0, 3), (1, 3)),
    ((2, 0), (2, 1)),
)
SQUARE = {"same": (3, 4)}


def vector(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of Python's `math` over arrays."""
    return lambda x: np.array([function(float(v)) for v in x.ravel()], np.float64).reshape(x.shape)


case("abs", tg.abs, lambda x: np.where(x < 0, -x, x), *UNARY)
case("negative", tg.negative, lambda x: 0 - x, *UNARY)
case("square", tg.square, lambda x: x * x, *UNARY)
case("exp", tg.exp, vector(math.exp), *UNARY)
case("expm1", tg.expm1, vector(math.expm1), *UNARY)
case("log", tg.log, vector(math.log), *UNARY, domain="positive")
case("log1p", tg.log1p, vector(math.log1p), *UNARY, domain="positive")
case("sqrt", tg.sqrt, vector(math.sqrt), *UNARY, domain="positive")
case("rsqrt", tg.rsqrt, lambda x: x**-0.5, *UNARY, domain="positive")
case("sin", tg.sin, vector(math.sin), *UNARY)
case("cos", tg.cos, vector(math.cos), *UNARY)
case("tanh", tg.tanh, vector(math.tanh), *UNARY)
case("sigmoid", tg.sigmoid, vector(lambda v: 1 / (1 + math.exp(-v))), *UNARY)
case("erf", tg.erf, vector(math.erf), *UNARY)
case("relu", tg.relu, lambda x: x * (x > 0), *UNARY)
case("sign", tg.sign, lambda x: np.where(x > 0, 1.0, -1.0), *UNARY, is_differentiable=False)
case("isfinite", tg.isfinite, lambda x: np.ones(x.shape, bool), *UNARY, is_differentiable=False)
case("logical_not", lambda x: tg.logical_not(x > 0), lambda x: x <= 0, *UNARY, is_differentiable=False)
case("clip", lambda x: tg.clip(x, -0.55, 0.7), lambda x: np.minimum(np.maximum(x, -0.55), 0.7), *UNARY)
case("clip", lambda x: tg.clip(x, high=0.7), lambda x: np.where(x > 0.7, 0.7, x), *UNARY, label="high-")
case("clip", lambda x: tg.clip(x, -0.5), lambda x: np.where(x < -0.5, -0.5, x), *UNARY, label="low-")
case("astype", lambda x: tg.astype(x, x.dtype), lambda x: x, *UNARY)
case("to_device", lambda x: tg.to_device(x, "cpu"), lambda x: x, *UNARY)

case("add", tg.add, lambda x, y: x + y, *BINARY, **SQUARE)
case("subtract", tg.subtract, lambda x, y: x - y, *BINARY, **SQUARE)
case("multiply", tg.multiply, lambda x, y: x * y, *BINARY, **SQUARE)
case("divide", tg.divide, lambda x, y: x / y, *BINARY)
case("pow", tg.pow, lambda x, y: np.exp(y * np.log(x)), *BINARY, domain="positive", **SQUARE)
case("logaddexp", tg.logaddexp, lambda x, y: np.log(np.exp(x) + np.exp(y)), *BINARY, **SQUARE)
case("maximum", tg.maximum, lambda x, y: np.where(x > y, x, y), *BINARY, domain="distinct", **SQUARE)
case("minimum", tg.minimum, lambda x, y: np.where(x < y, x, y), *BINARY, domain="distinct", **SQUARE)
case(
    "where",
    lambda x, y: tg.where(x.data > 0, x, y),
    lambda x, y: np.select([np.broadcast_to(x > 0, np.broadcast_shapes(x.shape, y.shape))], [x], y),
    *BINARY,
)
for number in (2, -1, 0, 1, 3, 0.5, -1.5):
    case(
        "pow",
        lambda x, n=number: x**n,
        lambda x, n=number: x ** float(n),
        ((3, 4),),
        domain="positive",
        label=f"{number}-",
    )
case("pow", lambda x: 2.5**x, lambda x: np.exp(x * math.log(2.5)), ((3, 4),), ((),), label="base-")
case("add", lambda x: 1 + (x + 2.5), lambda x: x + 3.5, ((3, 4),), label="numbers-")
case("subtract", lambda x: 1 - (x - 2.5), lambda x: 3.5 - x, ((3, 4),), label="numbers-")
case("multiply", lambda x: 2 * (x * 0.5), lambda x: x, ((3, 4),), label="numbers-")
case("divide", lambda x: 2 / (x / 0.5), lambda x: 1 / x, ((3, 4),), label="numbers-")
case("maximum", lambda x: tg.maximum(x, 0.02), lambda x: np.where(x > 0.02, x, 0.02), ((3, 4),), label="numbers-")
case("minimum", lambda x: tg.minimum(0, x), lambda x: np.where(x < 0, x, 0.0), ((3, 4),), label="numbers-")
for compare, expected in (
    ("equal", lambda x, y: ~((x < y) | (x > y))),
    ("not_equal", lambda x, y: (x < y) | (x > y)),
    ("less", lambda x, y: y - x > 0),
    ("less_equal", lambda x, y: ~(x - y > 0)),
    ("greater", lambda x, y: x - y > 0),
    ("greater_equal", lambda x, y: ~(y - x > 0)),
):
    case(compare, getattr(tg, compare), expected, *BINARY, is_differentiable=False, **SQUARE)
case(
    "logical_and",
    lambda x, y: tg.logical_and(x > 0, y > 0),
    lambda x, y: (x > 0) & (y > 0),
    *BINARY,
    is_differentiable=False,
)
case(
    "logical_or",
    lambda x, y: tg.logical_or(x > 0, y > 0),
    lambda x, y: (x > 0) | (y > 0),
    *BINARY,
    is_differentiable=False,
)

# --- reductions --------------------------------------------------------------------------------

AXES = (None, 0, -1, (0, 2), (-1, 1), ())


def flat_axes(x: np.ndarray, axis: Any, keepdims: bool, reduce_row: Callable[[np.ndarray], float]) -> np.ndarray:
    """A reduction by its meaning: a Python loop over the kept positions."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in axes]
    out = np.empty([x.shape[a] for a in kept])
    for position in np.ndindex(*out.shape):
        index: list[Any] = [slice(None)] * x.ndim
        for a, i in zip(kept, position, strict=True):
            index[a] = i
        out[position] = reduce_row(x[tuple(index)].ravel())
    return out.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else out


def row_var(correction: float) -> Callable[[np.ndarray], float]:
    return lambda v: math.fsum((e - math.fsum(v) / len(v)) ** 2 for e in v) / (len(v) - correction)


def reduction(
    op: str, reduce_row: Callable[[np.ndarray], float], *, axes=AXES, domain="any", empty=True, **options: Any
):
    f = getattr(tg, op)
    for axis in axes:
        for keepdims in (False, True):
            case(
                op,
                lambda x, a=axis, k=keepdims: f(x, axis=a, keepdims=k, **options),
                lambda x, a=axis, k=keepdims: flat_axes(x, a, k, reduce_row),
                ((2, 3, 4),),
                *([((2, 1, 1),), ((2, 0, 3),)] if empty and not keepdims and axis == (-1, 1) else ()),
                domain=domain,
                label=f"{axis}-{keepdims}-{options or ''}",
            )


reduction("sum", math.fsum)
reduction("mean", lambda v: math.fsum(v) / len(v), empty=False)
reduction("var", row_var(0), axes=(None, 0, (-1, 1)), empty=False)
reduction("var", row_var(1), axes=(None, -1), empty=False, correction=1)
reduction("std", lambda v: math.sqrt(row_var(0)(v)), axes=(None, (0, 2)), empty=False)
reduction("std", lambda v: math.sqrt(row_var(1.5)(v)), axes=(0, 1)[1:], empty=False, correction=1.5)
reduction("prod", math.prod)
reduction("max", max, domain="distinct", empty=False)
reduction("min", min, domain="distinct", empty=False)
reduction("logsumexp", lambda v: math.log(math.fsum(math.exp(e) for e in v)), empty=False)
case("prod", tg.prod, lambda x: np.array(math.prod(x)), ((7,),), ((1,),), ((0,),))
case("sum", tg.sum, lambda x: x, ((),))
for arg, pick in (("argmax", np.ndarray.argmax), ("argmin", np.ndarray.argmin)):
    f = getattr(tg, arg)
    for axis in (None, 0, -1):
        case(
            arg,
            lambda x, f=f, a=axis: f(x, axis=a),
            lambda x, p=pick, a=axis: np.array(p(x, axis=a)),
            ((2, 3),),
            is_differentiable=False,
            domain="distinct",
            label=f"{axis}-",
        )
case(
    "any",
    lambda x: tg.any(x > 1, axis=1),
    lambda x: (x > 1).sum(axis=1) > 0,
    ((3, 4),),
    ((3, 0),),
    is_differentiable=False,
)
case(
    "all",
    lambda x: tg.all(x > 0, axis=0),
    lambda x: (x > 0).sum(axis=0) == len(x),
    ((3, 4),),
    ((0, 3),),
    is_differentiable=False,
)
for axis in (0, -1):
    case(
        "cumulative_sum",
        lambda x, a=axis: tg.cumulative_sum(x, axis=a),
        lambda x, a=axis: np.stack([np.take(x, range(i + 1), axis=a).sum(axis=a) for i in range(x.shape[a])], axis=a),
        ((3, 4),),
        ((1, 1),),
        label=f"{axis}-",
    )
case("cumulative_sum", lambda x: tg.cumulative_sum(x, axis=0), lambda x: x, ((0, 3),))

# --- shapes ------------------------------------------------------------------------------------

case(
    "reshape",
    lambda x: tg.reshape(x, (2, -1)),
    lambda x: np.array([x.ravel()[: x.size // 2], x.ravel()[x.size // 2 :]]),
    ((3, 4),),
)
case("reshape", lambda x: x.reshape(0, 5), lambda x: np.zeros((0, 5)), ((3, 0),))
case("reshape", lambda x: x.reshape(()), lambda x: x[0, 0], ((1, 1),))
case(
    "broadcast_to",
    lambda x: tg.broadcast_to(x, (2, 3, 4)),
    lambda x: x + np.zeros((2, 3, 4)),
    ((3, 1),),
    ((),),
    ((2, 3, 4),),
)
case("broadcast_to", lambda x: tg.broadcast_to(x, (0, 3)), lambda x: np.zeros((0, 3)), ((1, 3),), ((0, 3),))
case(
    "permute_dims",
    lambda x: tg.permute_dims(x, (2, 0, -2)),
    lambda x: np.einsum("abc->cab", x),
    ((2, 3, 4),),
    ((0, 1, 2),),
)
case(
    "matrix_transpose", tg.matrix_transpose, lambda x: np.einsum("...ij->...ji", x), ((3, 4),), ((2, 3, 4),), ((0, 2),)
)
case("moveaxis", lambda x: tg.moveaxis(x, 0, -1), lambda x: np.einsum("abc->bca", x), ((2, 3, 4),), ((1, 0, 2),))
case("expand_dims", lambda x: tg.expand_dims(x, axis=1), lambda x: x[:, None], ((2, 3),), ((2,),), ((0,),))
case("expand_dims", lambda x: tg.expand_dims(x, axis=-1), lambda x: x[..., None], ((2, 3),), ((),), label="last-")
case("squeeze", lambda x: tg.squeeze(x, axis=(0, -2)), lambda x: x[0, :, 0], ((1, 2, 1, 3),), ((1, 0, 1, 2),))
case(
    "concat",
    lambda x, y: tg.concat([x, y, x], axis=1),
    lambda x, y: np.hstack([x, y, x]),
    ((2, 3), (2, 1)),
    ((2, 0), (2, 3)),
    same=(2, 3),
)
case(
    "concat",
    lambda x, y: tg.concat((x, y)),
    lambda x, y: np.vstack([x, y]),
    ((0, 3), (2, 3)),
    ((0, 2), (0, 2)),
    label="rows-",
)
case(
    "stack",
    lambda x, y: tg.stack([x, y], axis=-1),
    lambda x, y: np.dstack([x, y]),
    ((2, 3), (2, 3)),
    ((0, 1), (0, 1)),
    same=(2, 3),
)
case("stack", lambda x: tg.stack([x]), lambda x: x[None], ((),), ((2,),))


def weighted(parts: Any) -> Any:
    """Each part times its own number, one after the other: so that no two parts could be confused."""
    return tg.concat([part * (i + 1) for i, part in enumerate(parts)], axis=-1)


case("split", lambda x: weighted(tg.split(x, 2, axis=1)), lambda x: x * [1, 1, 2, 2], ((3, 4),), ((0, 4),))
case(
    "split", lambda x: weighted(tg.split(x, [1, 0, 3], axis=-1)), lambda x: x * [1, 3, 3, 3], ((3, 4),), label="sizes-"
)
case(
    "unstack",
    lambda x: weighted(tg.unstack(x)),
    lambda x: np.concatenate([x[0], 2 * x[1]], axis=-1),
    ((2, 3),),
    ((2, 1, 2),),
)
case(
    "unstack",
    lambda x: weighted(tg.unstack(x, axis=-1)),
    lambda x: np.concatenate([x[:, 0], 2 * x[:, 1]]),
    ((3, 2),),
    label="last-",
)
case("flip", tg.flip, lambda x: x[::-1, ::-1], ((3, 4),), ((0, 2),))
case("flip", lambda x: tg.flip(x, axis=-1), lambda x: x[..., ::-1], ((3, 4),), ((2,),), label="last-")
case("roll", lambda x: tg.roll(x, -5, axis=1), lambda x: x[:, (np.arange(4) + 5) % 4], ((3, 4),), ((0, 4),))
for k in (0, 1, -2):
    lower = lambda x, k=k: x * (np.arange(x.shape[-1]) <= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("tril", lambda x, k=k: tg.tril(x, k=k), lower, ((3, 4),), ((2, 3, 3),), ((0, 2),), label=f"{k}-")
    upper = lambda x, k=k: x * (np.arange(x.shape[-1]) >= np.arange(x.shape[-2])[:, None] + k)  # noqa: E731
    case("triu", lambda x, k=k: tg.triu(x, k=k), upper, ((3, 4),), ((2, 3, 3),), ((1, 0),), label=f"{k}-")

# --- indices -----------------------------------------------------------------------------------

ROWS = np.array([[0, 2, 0], [1, -1, 2]])
MASK = np.array([True, False, True])


def looked_up(x: np.ndarray, rows: Any = ROWS) -> np.ndarray:
    """x[rows] through a one-hot product."""
    return np.tensordot(np.eye(len(x))[np.asarray(rows) % len(x)], x, 1)


case("getitem", lambda x: x[ROWS], looked_up, ((3, 4),), ((3,),), ((3, 0),), label="array-")
case("getitem", lambda x: x[::-2, None, 1:], lambda x: x[[2, 0]][:, 1:].reshape(2, 1, -1), ((3, 4),), label="slices-")
case("getitem", lambda x: x[..., -1], lambda x: np.take(x, x.shape[-1] - 1, axis=-1), ((3, 4),), ((2,),), label="last-")
case("getitem", lambda x: x[MASK], lambda x: np.compress(MASK, x, axis=0), ((3, 4),), ((3,),), label="mask-")
case(
    "getitem", lambda x: x[x.data > 0], lambda x: x.ravel()[np.flatnonzero(x > 0)], ((3, 4),), ((0, 2),), label="where-"
)
case(
    "getitem",
    lambda x: x[[0, 0, 2], 1:, [1, 1, 0]],
    lambda x: np.stack([x[0, 1:, 1], x[0, 1:, 1], x[2, 1:, 0]]),
    ((3, 2, 2),),
    label="mixed-",
)
case("getitem", lambda x: x[tg.tensor([1, 1])], lambda x: np.stack([x[1], x[1]]), ((3, 2),), label="tensor-")
case("getitem", lambda x: x[((0, 0, 1),)], lambda x: np.stack([x[0], x[0], x[1]]), ((3, 2),), label="nested-")
case("getitem", lambda x: x[()], lambda x: x, ((3, 2),), ((),), label="empty-")
case("take", lambda x: tg.take(x, ROWS, axis=0), looked_up, ((3, 4),), ((3,),))
case(
    "take",
    lambda x: tg.take(x, [0, 0], axis=-1),
    lambda x: np.stack([x[..., 0], x[..., 0]], axis=-1),
    ((3, 4),),
    label="last-",
)
case(
    "take_along_axis",
    lambda x: tg.take_along_axis(x, np.array([[1, 1], [0, 3], [-1, 2]]), axis=1),
    lambda x: np.array([[x[0, 1], x[0, 1]], [x[1, 0], x[1, 3]], [x[2, 3], x[2, 2]]]),
    ((3, 4),),
)
case("embedding", lambda w: tg.embedding(w, ROWS % 3), looked_up, ((3, 4),), ((3, 1),), ((3, 0),))
case(
    "embedding",
    lambda w: tg.embedding(w, np.zeros((2, 0), int)),
    lambda w: np.zeros((2, 0, 4)),
    ((3, 4),),
    label="none-",
)
case(
    "index_update",
    lambda x, v: tg.index_update(x, (slice(None), [2, 0]), v),
    lambda x, v: np.stack(
        [np.broadcast_to(v, (3, 2))[:, 1], x[:, 1], np.broadcast_to(v, (3, 2))[:, 0], x[:, 3]], axis=1
    ),
    ((3, 4), (3, 2)),
    ((3, 4), (2,)),
    ((3, 4), ()),
)
case(
    "index_update",
    lambda x: tg.index_update(x, MASK, 0.5),
    lambda x: np.where(MASK[:, None], 0.5, x),
    ((3, 2),),
    label="number-",
)
case(
    "index_add",
    lambda x, v: tg.index_add(x, ROWS, v),
    lambda x, v: x + np.tensordot(np.eye(3)[ROWS % 3], np.broadcast_to(v, (2, 3, 4)), ((0, 1), (0, 1))),
    ((3, 4), (2, 3, 4)),
    ((3, 4), (3, 1)),
    ((3, 4), ()),
)
case(
    "index_add",
    lambda x, v: tg.index_add(x, (..., slice(1, None)), v),
    lambda x, v: x + np.pad(v, ((0, 0), (1, 0))),
    ((2, 3), (2, 2)),
    label="slice-",
)

# --- products ----------------------------------------------------------------------------------


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The matrix product as a broadcast multiplication and a sum."""
    if x.ndim == 1 and y.ndim == 1:
        return (x * y).sum()
    if x.ndim == 1:
        return (x[:, None] * y).sum(axis=-2)
    if y.ndim == 1:
        return (x * y).sum(axis=-1)
    return (x[..., :, :, None] * y[..., None, :, :]).sum(axis=-2)


case(
    "matmul",
    tg.matmul,
    product,
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 2)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (2, 4, 2)),
    ((3, 4), (2, 4, 2)),
    ((2, 1, 3, 4), (5, 4, 1)),
    ((2, 3, 4), (4,)),
    ((2, 0), (0, 3)),
    ((2, 3, 0), (0, 4)),
    ((0, 4), (4, 2)),
    ((1, 1), (1, 1)),
    same=(3, 3),
)
LINEAR = (
    ((3, 4), (2, 4)),
    ((4,), (2, 4)),
    ((2, 3, 4), (5, 4)),
    ((2, 0), (3, 0)),
    ((2, 3), (0, 3)),
    ((0, 3), (2, 3)),
    ((1, 1), (1, 1)),
)
case("linear", tg.linear, lambda x, w: product(x, np.einsum("ij->ji", w)), *LINEAR, same=(3, 3))
case(
    "linear",
    tg.linear,
    lambda x, w, b: product(x, np.einsum("ij->ji", w)) + b,
    *(((*shapes, (shapes[1][0],))) for shapes in LINEAR),
    label="bias-",
)
for subscripts, *shapes in (
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("bthd,bshd->bhts", (2, 3, 2, 2), (2, 4, 2, 2)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (0, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij,j->i", (3, 3, 2), (2,)),
    ("iji->ij", (2, 3, 2)),
    ("...i,...i->...", (2, 3, 4), (4,)),
    ("...ij,...jk", (2, 1, 2, 3), (3, 3, 1)),
    ("i,j,k->kji", (2,), (3,), (2,)),
    ("ij,ij->", (2, 3), (1, 3)),
    ("ij,jk->ik", (2, 1), (3, 2)),
    ("i,i,i->", (3,), (3,), (3,)),
    (",i->i", (), (3,)),
    ("ij,k->ik", (2, 3), (2,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
):
    case(
        "einsum",
        lambda *xs, s=subscripts: tg.einsum(s, *xs),
        lambda *xs, s=subscripts: np.einsum(s, *xs, optimize=False),
        tuple(shapes),
        label=f"{subscripts}-",
        same=shapes[0] if len(shapes) > 1 and len({*shapes}) == 1 else None,
    )
case(
    "einsum", lambda x, y: tg.einsum("ij,ij->i", x, y), lambda x, y: (x * y).sum(axis=1), ((2, 3), (2, 3)), same=(2, 3)
)

# --- neural networks ---------------------------------------------------------------------------


def soft(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def normalised(x: np.ndarray, eps: float) -> np.ndarray:
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def attended(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = None, is_causal: bool = False, scale: Any = None
) -> np.ndarray:
    """Attention as loops over samples, heads and queries."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, t in np.ndindex(*q.shape[:3]):
        group = h // (q.shape[1] // k.shape[1])
        scores = k[b, group] @ q[b, h, t] * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        seen = np.arange(len(scores)) <= t if is_causal else np.ones(len(scores), bool)
        if mask is not None:
            row = np.broadcast_to(mask, (*q.shape[:3], len(scores)))[b, h, t]
            seen, scores = (seen & row, scores) if row.dtype == bool else (seen, scores + row)
        weights = np.exp(scores) * seen
        if weights.sum() > 0:
            out[b, h, t] = weights @ v[b, group] / weights.sum()
    return out


for axis in (-1, 0, 1):
    shapes = (((3, 4),), ((2, 1),), ((3, 0, 2),) if axis == 0 else ((0, 3),) if axis else ((3, 0, 1),))
    case(
        "softmax", lambda x, a=axis: tg.softmax(x, axis=a), lambda x, a=axis: soft(x, a), *shapes[:2], label=f"{axis}-"
    )
    case(
        "log_softmax",
        lambda x, a=axis: tg.log_softmax(x, axis=a),
        lambda x, a=axis: np.log(soft(x, a)),
        *shapes[:2],
        label=f"{axis}-",
    )
case("softmax", tg.softmax, soft, ((0, 3),), ((2, 3, 2),))
case("log_softmax", tg.log_softmax, lambda x: np.log(soft(x)), ((0, 3),), ((2, 3, 2),))
TARGETS = np.array([[1, 0, -100], [2, 2, 1]])
COUNTED = TARGETS >= 0


def row_losses(x: np.ndarray) -> np.ndarray:
    return -(np.log(soft(x)) * np.eye(4)[TARGETS % 4]).sum(axis=-1) * COUNTED


for how, combine in (("none", lambda v: v), ("sum", np.sum), ("mean", lambda v: v.sum() / COUNTED.sum())):
    case(
        "cross_entropy",
        lambda x, r=how: tg.cross_entropy(x, TARGETS, reduction=r),
        lambda x, c=combine: np.asarray(c(row_losses(x))),
        ((2, 3, 4),),
        label=f"{how}-",
    )
case("cross_entropy", lambda x: tg.cross_entropy(x, np.array(1)), lambda x: -np.log(soft(x)[1]), ((3,),), label="row-")
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, np.zeros((2, 1), np.uint8), ignore_index=7),
    lambda x: np.zeros(()),
    ((2, 1, 1),),
)
case(
    "cross_entropy", lambda x: tg.cross_entropy(x, np.zeros(0, int), reduction="sum"), lambda x: np.zeros(()), ((0, 3),)
)
for eps in (1e-5, 0.3):
    case(
        "layer_norm",
        lambda x, w, b, e=eps: tg.layer_norm(x, w, b, eps=e),
        lambda x, w, b, e=eps: normalised(x, e) * w + b,
        ((3, 4), (4,), (4,)),
        ((2, 3, 5), (5,), (5,)),
        ((5,), (5,), (5,)),
        ((0, 4), (4,), (4,)),
        label=f"{eps}-",
        same=(5,),
    )
case("layer_norm", tg.layer_norm, lambda x, w: normalised(x, 1e-5) * w, ((3, 4), (4,)), label="weight-", same=(5,))
case("layer_norm", lambda x, w: tg.layer_norm(x, w, eps=0.1), lambda x, w: 0 * x * w, ((3, 1), (1,)), label="narrow-")
case(
    "rms_norm",
    lambda x, w: tg.rms_norm(x, w, eps=0.01),
    lambda x, w: x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 0.01) * w,
    ((3, 4), (4,)),
    ((2, 3, 5), (5,)),
    ((1,), (1,)),
    ((0, 2), (2,)),
    same=(5,),
)
case("gelu", tg.gelu, vector(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2), *UNARY)
case(
    "gelu",
    lambda x: tg.gelu(x, approximate="tanh"),
    vector(lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    *UNARY,
    label="tanh-",
)
case("silu", tg.silu, vector(lambda v: v / (1 + math.exp(-v))), *UNARY)
case(
    "swiglu",
    tg.swiglu,
    lambda x: vector(lambda v: v / (1 + math.exp(-v)))(x[..., :2]) * x[..., 2:],
    ((3, 4),),
    ((4,),),
    ((0, 4),),
)
ANGLES = np.random.default_rng(5).normal(size=(3, 2))
case(
    "rope",
    lambda x: tg.rope(x, np.cos(ANGLES).astype(x.dtype), np.sin(ANGLES).astype(x.dtype)),
    # As complex numbers: each pair is turned by its angle.
    lambda x: np.concatenate([(z := (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * ANGLES)).real, z.imag], axis=-1),
    ((3, 4),),
    ((2, 3, 4),),
    ((2, 2, 3, 4),),
    ((0, 2, 3, 4),),
)
KEY = tg.Key(3)
for rate in (0.0, 0.4):
    case(
        "dropout",
        lambda x, r=rate: tg.dropout(x, KEY, rate=r),
        lambda x, r=rate: x * (KEY.uniform(x.shape) >= r) / (1 - r),
        *UNARY,
        label=f"{rate}-",
    )
BOOL_MASK = np.random.default_rng(1).random((2, 1, 3, 5)) < 0.6
BOOL_MASK[0, 0, 1] = False  # a query that sees nothing
FLOAT_MASK = np.random.default_rng(2).normal(size=(4, 1, 5))
for label, options in (
    ("plain", {}),
    ("causal", {"is_causal": True}),
    ("bool", {"mask": BOOL_MASK}),
    ("bool-causal", {"mask": BOOL_MASK, "is_causal": True}),
    ("float", {"mask": FLOAT_MASK}),
    ("scaled", {"scale": 0.3}),
):
    case(
        "scaled_dot_product_attention",
        lambda q, k, v, o=options: tg.scaled_dot_product_attention(
            q, k, v, **{n: m.astype(q.dtype) if n == "mask" and m.dtype != bool else m for n, m in o.items()}
        ),
        lambda q, k, v, o=options: attended(q, k, v, **o),
        ((2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 3)),
        label=f"{label}-",
    )
case(
    "scaled_dot_product_attention",
    lambda q, k, v: tg.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda q, k, v: attended(q, k, v, is_causal=True),
    ((1, 1, 4, 2), (1, 1, 2, 2), (1, 1, 2, 1)),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    ((0, 1, 2, 2), (0, 1, 2, 2), (0, 1, 2, 2)),
    ((1, 1, 2, 2), (1, 1, 0, 2), (1, 1, 0, 2)),
    ((1, 1, 0, 2), (1, 1, 2, 2), (1, 1, 2, 2)),
    same=(1, 2, 3, 2),
)

# --- the checks --------------------------------------------------------------------------------

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
