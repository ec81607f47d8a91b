"""Ops that combine the elements along axes.

`axis` is an integer, a tuple of them, or None for all; `keepdims` keeps reduced axes with size 1.
Raises ShapeError for an axis that is not there, or that is named twice.
"""

from tensorgrad.ops.reduce.exponential import logsumexp
from tensorgrad.ops.reduce.extrema import argmax, argmin, max, min
from tensorgrad.ops.reduce.logical import all, any, count_nonzero
from tensorgrad.ops.reduce.moments import mean, std, var
from tensorgrad.ops.reduce.product import prod
from tensorgrad.ops.reduce.running import cumulative_prod, cumulative_sum, diff

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "var",
]
