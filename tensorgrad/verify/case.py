"""Case: one call of a public function, its inputs, and its expected value by other means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tensorgrad.array import Array, to_device
from tensorgrad.tensor import Tensor

__all__ = ["Case", "Shape", "Table", "beside", "vector"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A call to certify: `f` takes Tensors and returns one; `expected` computes the same with NumPy arrays."""

    op: str  # the public function that it checks
    name: str
    f: Callable[..., Any]
    expected: Callable[..., Any]
    shapes: tuple[Shape, ...]
    domain: str | tuple[str, ...] = "any"  # of all inputs, or of each: see `draw`
    is_differentiable: bool = True
    same: Shape | None = None  # the shape of a tensor that can be all inputs at once

    def inputs(self, shapes: tuple[Shape, ...] | None = None) -> list[Array]:
        """One float64 array per input, away from points where the function has no derivative."""
        shapes = self.shapes if shapes is None else shapes
        rng = np.random.default_rng([len(self.name), len(shapes)])
        if self.domain == "distinct":  # also across inputs
            sizes = [math.prod(shape) for shape in shapes]
            parts = np.split(draw("distinct", (sum(sizes),), rng), np.cumsum(sizes)[:-1])
            return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        domains = (self.domain,) * len(shapes) if isinstance(self.domain, str) else self.domain
        return [draw(domain, shape, rng) for domain, shape in zip(domains, shapes, strict=True)]


def draw(domain: str, shape: Shape, rng: np.random.Generator) -> Array:
    """Random numbers of a domain, in float64: "any" keeps 0.1 away from 0, "distinct" every two at least 0.06 apart."""
    return np.asarray(_draw(domain, shape, rng))


def _draw(domain: str, shape: Shape, rng: np.random.Generator) -> Any:
    if domain == "any":
        return rng.uniform(0.1, 1.6, shape) * rng.choice([-1, 1], shape)
    if domain == "positive":
        return rng.uniform(0.5, 2.5, shape)
    if domain == "above one":
        return rng.uniform(1.2, 2.5, shape)
    if domain == "below one":  # in size
        return rng.uniform(0.1, 0.8, shape) * rng.choice([-1, 1], shape)
    if domain == "unit":  # a probability
        return rng.uniform(0.1, 0.9, shape)
    if domain == "distinct":
        size = math.prod(shape)
        return ((rng.permutation(size) - size / 2 + 0.3) * 0.1 + rng.uniform(-0.02, 0.02, size)).reshape(shape)
    raise ValueError(f"case: no domain {domain!r}")


class Table:
    """The cases of one part of the library."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def case(
        self,
        op: str,
        f: Callable[..., Any],
        expected: Callable[..., Any],
        shapes: str,
        *,
        label: object = "",
        domain: str | tuple[str, ...] = "any",
        is_differentiable: bool = True,
        same: str | None = None,
        **options: Any,
    ) -> None:
        """Add a case for each set of `shapes`, one shape per input: "3x4 4, 2x2 scalar" are two sets for two inputs.

        Both functions get the `options`. They also label the cases, unless `label` does.
        """
        if options:
            f, expected = partial(f, **options), partial(expected, **options)
            label = label if label != "" else "-".join(map(str, options.values()))
        for texts in map(str.split, shapes.split(",")):
            name = f"{op}:{label}{'' if label == '' else '-'}{'-'.join(texts)}"
            alone = None if same is None else as_shape(same)
            sizes = tuple(map(as_shape, texts))
            self.cases.append(Case(op, name, f, expected, sizes, domain, is_differentiable, alone))

    def constant(self, op: str, f: Callable[..., Any], expected: Callable[..., Any], shapes: str, **more: Any) -> None:
        """`case`, for a function whose result is a constant to gradients."""
        self.case(op, f, expected, shapes, is_differentiable=False, **more)


def as_shape(text: str) -> Shape:
    """(2, 3) for "2x3", () for "scalar"."""
    return () if text == "scalar" else tuple(map(int, text.split("x")))


def beside(x: Tensor, constant: Any) -> Array:
    """A NumPy constant on the device of x: ops move nothing between devices."""
    return to_device(np.asarray(constant), x.device)


def vector(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of Python's `math`, over arrays."""
    return lambda x: np.array([function(float(v)) for v in x.ravel()], np.float64).reshape(x.shape)
