"""Tensors of shapes without data: what a model's code would cost, found by running it on nothing.

`array` is the array that has no values, `functions` stands in NumPy's place, `kernels` in that of
the fused kernels, and `meter` counts what they do.
"""

from tensorgrad.tools.abstract.meter import Cost, Meter
from tensorgrad.tools.abstract.run import abstract

__all__ = ["Cost", "Meter", "abstract"]
