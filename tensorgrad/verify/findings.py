"""Findings: what the checks of one function measured, and what failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tensorgrad.array import Array
from tensorgrad.verify.case import Shape

__all__ = ["DERIVATIVES", "LIMITS", "Findings", "Names", "elements"]

# The largest error allowed in each column. `checks` says what an error is relative to.
LIMITS = {
    "constant": 1.0,
    "value": 1e-10,
    "vjp": 1e-7,
    "jvp": 1e-7,
    "second": 1e-6,
    "third": 1e-6,
    "float32": 1.0,
    "16 bits": 1.0,
    "device": 1e-10,
}
DERIVATIVES = ("vjp", "jvp", "second", "third")

Names = Callable[[int], str]  # the name of a position along an axis of a matrix of derivatives


@dataclass
class Findings:
    """What the checks of one function found so far."""

    op: str
    cases: int = 0
    derivatives: int = 0  # how many were compared
    worst: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def compare(self, column: str, where: str, got: Array, true: Array, scale: Array, *names: Names) -> None:
        """Note the largest |got - true| / scale, and a failure if it is above the column's limit.

        A nan, an infinity, and any difference where the scale is 0, are errors without limit.
        """
        if got.shape != true.shape:
            self.fail(f"{where}: expected {true.shape} elements, got {got.shape}")
            return
        if column in DERIVATIVES:
            self.derivatives += true.size
        if not true.size:
            return
        difference = np.abs(got - true)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(difference == 0, 0.0, difference / scale)
        error[np.isnan(error)] = math.inf
        position = np.unravel_index(error.argmax(), error.shape)
        largest = float(error[position])
        self.worst[column] = max(self.worst.get(column, 0.0), largest)
        if largest > LIMITS[column]:
            element = " by ".join(name(int(i)) for name, i in zip(names, position, strict=True))
            self.fail(
                f"{where}: {element}: expected {true[position]:.10g}, got {got[position]:.10g}, "
                f"an error of {largest:.2g} where {LIMITS[column]:g} is allowed"
            )

    def fail(self, message: str) -> None:
        self.failures.append(f"{self.op}: {message}")


def elements(what: str, *shapes: Shape) -> Names:
    """Names for the elements of joined arrays, as `input 1[0, 2]`, or of one array, as `output[3]`."""

    def name(i: int) -> str:
        for number, shape in enumerate(shapes):
            if i < math.prod(shape):
                index = f"[{', '.join(str(int(n)) for n in np.unravel_index(i, shape))}]" if shape else ""
                return f"{what} {number}{index}" if len(shapes) > 1 else f"{what}{index}"
            i -= math.prod(shape)
        raise IndexError(i)

    return name
