"""The derivatives of a function of numbers, for tests of conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg


def slopes(f: Callable[..., Any], *xs: float, create_graph: bool = False) -> list[float]:
    """The derivative of f in each of its arguments, in float64, as either kind of backward gives it."""
    leaves = [tg.tensor(np.float64(x), requires_grad=True) for x in xs]
    with np.errstate(all="ignore"):
        return [g.item() for g in tg.grad(f(*leaves), leaves, create_graph=create_graph)]
