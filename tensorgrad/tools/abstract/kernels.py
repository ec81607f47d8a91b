"""The fused kernels on arrays without values: the reference kernels run, to count the memory that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.abstract.meter import current
from tensorgrad.tools.flops import kernel_flops

__all__ = ["kernels"]


class AbstractKernels:
    """Each kernel counts what `kernel_flops` says, and allocates what the reference allocates."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(reference, name)

        def call(*args: Any, **options: Any) -> Any:
            with current.get().kernel(kernel_flops(name, args)):
                return kernel(*args, **options)

        return call

    def scatter_add(self, buffer: Array, index: Any, values: Array, order: Array | None = None) -> None:
        """For rows, the reference copies the values, sorted, and sums them by row: at most as much memory again."""
        with current.get().kernel(kernel_flops("scatter_add", (buffer, index, values))):
            if type(index) is not tuple and index.dtype != bool and values.size:
                ordered = AbstractArray(values.shape, values.dtype)
                sums = AbstractArray(values.shape, values.dtype)
                del ordered, sums

    def global_norm(self, flat: Array) -> Array:
        """A number without a value."""
        with current.get().kernel(kernel_flops("global_norm", (flat,))):
            return AbstractArray((), np.dtype("float64"))  # type: ignore[return-value]


kernels = AbstractKernels()
AbstractArray.kernels = kernels
