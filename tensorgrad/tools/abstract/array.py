"""An array without values: shape, dtype, strides, and the bytes that a real one would own."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tensorgrad.array import ForeignArray
from tensorgrad.tools.abstract.meter import current
from tensorgrad.tools.abstract.strides import copied_order, picked_shape, refuse_values, row_major

__all__ = ["AbstractArray"]


class AbstractArray(np.lib.mixins.NDArrayOperatorsMixin, ForeignArray):
    """NumPy's array without the elements, with its interface and its lifetime.

    Its strides are the ones that NumPy would choose, because they decide whether a reshape copies. An array that
    owns memory (`base` is None) counts in the meter as long as it lives.
    """

    __slots__ = ("__weakref__", "_cost", "_meter", "base", "dtype", "shape", "strides")

    device = "cpu"

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        strides: tuple[int, ...] | None = None,
        base: AbstractArray | None = None,
    ) -> None:
        self.base = base
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.strides = row_major(shape, self.dtype.itemsize) if strides is None else strides
        if base is None:
            self._meter = current.get()
            self._cost = self._meter.allocated(self.nbytes)

    def __del__(self) -> None:
        if self.base is None:
            self._meter.freed(self._cost, self.nbytes)

    # --- what it is ----------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> AbstractArray:
        return self.view_like(self.stand_in.T)

    @property
    def stand_in(self) -> np.ndarray[Any, Any]:
        """A NumPy array of this shape, dtype and strides over no memory: view it, never read it."""
        return np.lib.stride_tricks.as_strided(np.empty((), self.dtype), self.shape, self.strides)

    def view_like(self, stand_in: np.ndarray[Any, Any]) -> AbstractArray:
        """The view of this array that corresponds to `stand_in`, a view of its stand-in."""
        owner = self if self.base is None else self.base
        return AbstractArray(stand_in.shape, stand_in.dtype, stand_in.strides, owner)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[AbstractArray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"AbstractArray(shape={self.shape}, dtype={self.dtype})"

    # --- elements ------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> AbstractArray:
        parts = index if isinstance(index, tuple) else (index,)
        if not all(_is_basic(part) for part in parts):
            return AbstractArray(picked_shape(self.shape, parts), self.dtype)
        if len(parts) == self.ndim and all(isinstance(part, (int, np.integer)) for part in parts):
            self._at(parts)
            return AbstractArray((), self.dtype)
        return self.view_like(self._at(parts))

    def _at(self, parts: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """The stand-in's view at a basic index; with an ellipsis, as NumPy would read a single element."""
        return self.stand_in[parts if ... in parts else (*parts, ...)]

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, AbstractArray) and part.dtype == bool for part in parts):
            return  # the number of elements that a mask picks is unknown
        is_basic = all(_is_basic(part) for part in parts)
        shape = self._at(parts).shape if is_basic else picked_shape(self.shape, parts)
        value_shape: tuple[int, ...] = getattr(value, "shape", ())
        while len(value_shape) > len(shape) and value_shape[0] == 1:
            value_shape = value_shape[1:]
        try:
            fits = np.broadcast_shapes(shape, value_shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"could not broadcast input array from shape {value_shape} into shape {shape}")

    # --- methods, as NumPy's -------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return self.module.call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return self.module.call_function(function, args, options)

    def reshape(self, *shape: Any, order: str = "C") -> AbstractArray:
        target: Any = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        # NumPy can always view an array that repeats one element, so this finds the shape or raises.
        new = np.broadcast_to(np.empty((), self.dtype), self.shape).reshape(target).shape
        try:
            return self.view_like(np.reshape(self.stand_in, new, copy=False))
        except ValueError:
            return AbstractArray(new, self.dtype)

    def transpose(self, *axes: Any) -> AbstractArray:
        order: Any = axes  # NumPy's stubs know fewer forms
        return self.view_like(self.stand_in.transpose(*order))

    def swapaxes(self, axis1: int, axis2: int) -> AbstractArray:
        return self.view_like(self.stand_in.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> AbstractArray:
        return self.view_like(self.stand_in.squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> AbstractArray:
        return self.view_like(self.stand_in.diagonal(offset, axis1, axis2))

    def view(self, dtype: Any) -> AbstractArray:
        return self.view_like(self.stand_in.view(dtype))

    def astype(self, dtype: Any, *, copy: bool = True) -> AbstractArray:
        target = np.dtype(dtype)
        if not copy and target == self.dtype:
            return self
        return AbstractArray(self.shape, target, copied_order(self, target.itemsize))

    def copy(self, order: str = "C") -> AbstractArray:
        return AbstractArray(self.shape, self.dtype)

    def fill(self, value: Any) -> None:
        pass

    def item(self, *args: Any) -> Any:
        raise refuse_values("item")

    def tolist(self) -> Any:
        raise refuse_values("tolist")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise refuse_values("numpy")

    def __bool__(self) -> bool:
        raise refuse_values("bool")

    def __int__(self) -> int:
        raise refuse_values("int")

    def __index__(self) -> int:
        raise refuse_values("index")

    def __float__(self) -> float:
        raise refuse_values("float")

    def __getattr__(self, name: str) -> Any:
        """Any other method of NumPy's arrays that NumPy has as a function too: sum, mean, max, cumsum, ..."""
        if name.startswith("_") or not hasattr(np.ndarray, name) or not hasattr(np, name):
            raise AttributeError(f"AbstractArray has no attribute {name!r}")
        return functools.partial(getattr(self.module, name), self)


def _is_basic(part: Any) -> bool:
    """Whether an index gives a view."""
    return part is None or part is ... or (isinstance(part, (slice, int, np.integer)) and not isinstance(part, bool))
