"""The inputs of the comparison: values of every kind, in every memory layout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Shape = tuple[int, ...]

FINITE = ("ties", "equal", "zeros", "large")
KINDS = (*FINITE, "infinite", "nan")
LAYOUTS = ("transposed", "reversed", "strided", "expanded")

# The values that replace some elements of an ordinary array.
PLANTED = {
    "zeros": (0.0, -0.0, "subnormal", "-subnormal"),
    "large": (1e4, -1e4),
    "infinite": (math.inf, -math.inf),
    "nan": (math.nan,),
}


def draw(domain: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Ordinary float64 numbers of a domain."""
    if domain == "any":
        return rng.uniform(-3.0, 3.0, shape)
    if domain == "positive":
        return rng.uniform(0.05, 4.0, shape)
    if domain == "above one":
        return rng.uniform(1.05, 4.0, shape)
    if domain == "below one":
        return rng.uniform(-0.95, 0.95, shape)
    if domain == "unit":
        return rng.uniform(0.02, 0.98, shape)
    if domain == "probabilities":  # along the last axis
        weights = rng.uniform(0.1, 1.0, shape)
        return weights / weights.sum(axis=-1, keepdims=True)
    if domain == "matrix":  # its singular values apart from each other and from 0
        u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        return (u * np.linspace(2.0, 0.7, u.shape[-1])) @ v
    if domain == "positive definite":
        root = draw("matrix", shape, rng)
        return root @ root.swapaxes(-1, -2)
    raise ValueError(domain)


def of_kind(kind: str, domain: str, shape: Shape, rng: np.random.Generator, dtype: str) -> np.ndarray:
    """An array of `dtype` whose values are of a kind: "ordinary" or one of KINDS."""
    if kind == "ties":
        low, high = {"any": (-1, 3), "unit": (1, 3), "below one": (-1, 2)}.get(domain, (1, 4))
        return np.asarray(rng.integers(low, high, shape) * (0.3 if domain in ("unit", "below one") else 1.0), dtype)
    if kind == "equal":
        # Few binary digits: sums and means are exact, so every library gets the same zeros.
        low, high = (18, 31) if domain in ("unit", "below one") else (34, 64)
        return np.full(shape, rng.integers(low, high) / 32, dtype)
    a = draw(domain, shape, rng).astype(dtype)
    if kind != "ordinary":
        values = np.array(list(map(spelled(dtype), PLANTED[kind])), dtype)
        count = math.ceil(a.size / 6)
        a.reshape(-1)[rng.permutation(a.size)[:count]] = rng.choice(values, count)
    return a


def spelled(dtype: str) -> Any:
    """A function from the name of a special number to its value in `dtype`."""
    info = np.finfo(dtype)
    names = {
        "subnormal": info.smallest_subnormal * 5,
        "normal": info.smallest_normal,
        "epsilon": info.eps,
        "max": info.max,
    }
    return lambda v: v if not isinstance(v, str) else names[v.removeprefix("-")] * (-1 if v.startswith("-") else 1)


SPECIAL_UNARY = (
    *(0.0, -0.0, "subnormal", "-subnormal", "normal", "-normal", "epsilon", "-epsilon", 1e-5, -1e-5, 0.5, -0.5),
    *(1.0, -1.0, 1.5, 2.5, -2.5, 3.0, -3.0, 6.0, 20.0, -20.0, 88.0, -88.0, 104.0, -104.0, 709.0, 746.0, -746.0),
    *(1e4, -1e4, "max", "-max", math.inf, -math.inf, math.nan),
)
SPECIAL_BINARY = (
    *(0.0, -0.0, "subnormal", "-normal", 0.5, 1.0, -1.0, 2.0, 3.0, -2.5, 800.0, "max"),
    *(math.inf, -math.inf, math.nan),
)


def special(count: int, dtype: str) -> list[np.ndarray]:
    """`count` vectors that hold every combination of special values."""
    values = list(map(spelled(dtype), SPECIAL_UNARY if count == 1 else SPECIAL_BINARY[:: count - 1]))
    return [np.array(column, dtype) for column in zip(*itertools.product(values, repeat=count), strict=True)]


def is_tiny(a: np.ndarray) -> np.ndarray:
    return (a != 0) & (np.abs(a) < (1e-30 if a.dtype == np.float32 else 1e-250))


def is_huge(a: np.ndarray) -> np.ndarray:
    return np.isfinite(a) & (np.abs(a) > (1e30 if a.dtype == np.float32 else 1e250))


def is_extreme(a: np.ndarray) -> np.ndarray:
    return is_huge(a) | is_tiny(a)


def laid_out(layout: str, a: np.ndarray) -> np.ndarray:
    """The same values in another layout; "expanded" repeats the first of axis 0, at stride 0."""
    if not a.ndim:
        return a
    if layout == "transposed":
        return a.T.copy().T
    if layout == "reversed":
        turned = (slice(None, None, -1),) * a.ndim
        return a[turned].copy()[turned]
    if layout == "strided":
        return np.repeat(a, 2, axis=-1)[..., ::2]
    if layout == "expanded":
        return np.broadcast_to(a[:1], a.shape) if a.size else a
    raise ValueError(layout)


def choices(**values: Any) -> list[dict[str, Any]]:
    """Every combination of the keyword arguments' values."""
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def axes(ndim: int) -> Iterator[Any]:
    """Every form that an axis argument takes: None, each axis from either end, tuples of two and of all."""
    yield None
    yield from range(-ndim, ndim)
    for i, j in itertools.combinations(range(ndim), 2):
        yield (i, j)
        yield (j - ndim, i)
    if ndim:
        yield tuple(range(ndim))
