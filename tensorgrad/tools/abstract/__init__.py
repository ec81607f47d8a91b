"""Tensors with shapes but without data: a model's cost, found by running its code on them.

`array` is the array without values, `functions` takes NumPy's place, `kernels` the place of the
fused kernels, and `meter` counts what they do.
"""

from tensorgrad.tools.abstract.meter import Cost, Meter
from tensorgrad.tools.abstract.run import abstract

__all__ = ["Cost", "Meter", "abstract"]
