"""Elements repeated: side by side, one by one, over a grid, around the edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.arguments import as_integer, as_shape, check_option
from tensorgrad.array import device_of, is_array, module_of, to_device, to_numpy
from tensorgrad.errors import DTypeError, ShapeError, shown
from tensorgrad.ops.broadcast import broadcast_to, reshape
from tensorgrad.ops.common import TensorLike, check_alike, is_number, normalise_axis, operand
from tensorgrad.ops.index import getitem, integers, take
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["meshgrid", "pad", "repeat", "tile"]


def tile(x: TensorLike, repetitions: Sequence[int]) -> Tensor:
    """Copies of x side by side, `repetitions[i]` of them along axis i; the shorter shape gets leading ones."""
    a = operand("tile", x)
    counts = as_shape("tile", repetitions)
    ndim = max(a.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    sizes = (1,) * (ndim - a.ndim) + a.shape
    apart = reshape(x, tuple(part for n in sizes for part in (1, n)))
    repeated = broadcast_to(apart, tuple(part for pair in zip(counts, sizes, strict=True) for part in pair))
    return reshape(repeated, tuple(count * n for count, n in zip(counts, sizes, strict=True)), copy=True)


def repeat(x: TensorLike, repeats: Any, *, axis: int | None = None) -> Tensor:
    """Each element `repeats` times in a row along `axis` (None: of the flattened x).

    `repeats` is an integer, or an integer array: one for each position along the axis, or a single one.
    """
    a = operand("repeat", x)
    if axis is None:
        return repeat(reshape(x, (-1,)), repeats, axis=0)
    axis = normalise_axis("repeat", axis, a.ndim)
    before, n, after = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
    counts = data(repeats)
    counts = counts.reshape(()).item() if is_array(counts) and counts.shape in ((), (1,)) else counts
    if not is_array(counts) and not isinstance(counts, Sequence):
        count = as_integer("repeat", "repeats", counts)
        if count < 0:
            raise ShapeError(f"repeat: expected repeats >= 0, got {count}: 0 leaves the elements out")
        apart = broadcast_to(reshape(x, (*before, n, 1, *after)), (*before, n, count, *after))
        return reshape(apart, (*before, n * count, *after), copy=True)
    counts = integers("repeat", counts, a)
    counts = to_numpy(counts)  # the result's shape depends on them
    if counts.shape != (n,) or (counts < 0).any():
        raise ShapeError(
            f"repeat: expected {n} repeats >= 0 for axis {axis} of {a.shape}, got shape {counts.shape}: "
            "give one for each position, or one for all"
        )
    try:
        places = np.repeat(np.arange(n), counts.astype(np.int64))
    except (ValueError, MemoryError):  # as many as NumPy cannot count, or cannot hold
        raise ShapeError(f"repeat: expected repeats that fit into memory, got {shown(counts)}: give fewer") from None
    return take(x, to_device(places, device_of(a)), axis=axis)


def meshgrid(*xs: TensorLike, indexing: str = "xy") -> list[Tensor]:
    """The grid that n vectors span: n tensors of n axes, the i-th of which varies along axis i only.

    With indexing "xy" the first two axes change places, as in a picture's rows and columns; "ij" keeps them.
    """
    check_option("meshgrid", "indexing", indexing, "xy", "ij")
    arrays = [operand("meshgrid", x) for x in xs]
    if any(a.ndim != 1 for a in arrays):
        raise ShapeError(
            f"meshgrid: expected vectors, got shapes {', '.join(str(a.shape) for a in arrays)}: reshape them to (-1,)"
        )
    check_alike("meshgrid", *arrays)
    order = list(range(len(xs)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    shape = tuple(arrays[i].shape[0] for i in order)
    along = (tuple(-1 if i == j else 1 for j in order) for i in range(len(xs)))
    return [broadcast_to(reshape(x, sizes), shape) for x, sizes in zip(xs, along, strict=True)]


def pad(x: TensorLike, pad_width: Any, *, mode: str = "constant", value: float = False) -> Tensor:
    """x with more elements before and after it along its axes.

    Args:
        pad_width: how many, in NumPy's form: (before, after) for each axis; one such pair, or one number, for all axes.
        mode: what they are: "constant" (`value`), or x's own: "replicate" (the edge), "reflect" (mirrored at the edge,
            which is not repeated), "circular" (from the other end). PyTorch's names.
        value: a Python number, by default the 0 of any dtype.
    Raises: ShapeError for widths that are negative, or longer than what is reflected or repeated; ArgumentError for
        another mode.
    """
    a = operand("pad", x)
    widths = _pad_widths(pad_width, a.ndim)
    check_option("pad", "mode", mode, "constant", "replicate", "reflect", "circular")
    if mode == "constant":
        if not is_number("pad", value, a):
            raise DTypeError(f"pad: expected value to be a Python number, got {shown(value)}: give an int or a float")
        inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, a.shape, strict=True))
        longer = tuple(before + n + after for (before, after), n in zip(widths, a.shape, strict=True))
        try:
            out = module_of(a).full(longer, value, a.dtype)
            out[inside] = a
        except OverflowError:
            raise DTypeError(
                f"pad: expected a value that {a.dtype} can hold, got {shown(value)}: convert x with .astype"
            ) from None
        except (MemoryError, ValueError):
            raise ShapeError(f"pad: expected a result that fits into memory, got shape {longer}: pad less") from None
        return record(out, (x, lambda g: getitem(g, inside)))
    y: Any = x
    for axis, (n, (before, after)) in enumerate(zip(a.shape, widths, strict=True)):
        if before or after:
            y = take(y, _positions(module_of(a), n, before, after, mode), axis=axis)
    return y if any(map(any, widths)) else reshape(x, a.shape, copy=True)


def _positions(xp: Any, n: int, before: int, after: int, mode: str) -> Any:
    """Which of the n elements stands at each position of the padded axis."""
    longest = {"replicate": math.inf, "reflect": n - 1, "circular": n}[mode]
    if not n or max(before, after) > longest:
        raise ShapeError(
            f"pad: expected widths that {mode} can fill, got {(before, after)} for {n} elements: "
            "pad less, or use another mode"
        )
    places = xp.arange(-before, n + after)
    if mode == "replicate":
        return xp.clip(places, 0, n - 1)
    if mode == "circular":
        return places % n
    return n - 1 - abs(n - 1 - abs(places))


def _pad_widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis."""
    if not isinstance(pad_width, Sequence):
        pad_width = (pad_width, pad_width)
    if len(pad_width) == 2 and not any(isinstance(part, Sequence) for part in pad_width):
        pad_width = (pad_width,) * ndim
    try:
        widths = tuple(as_shape("pad", pair) for pair in pad_width)
    except ShapeError:
        widths = ()
    if len(widths) != ndim or any(len(pair) != 2 for pair in widths):
        raise ShapeError(
            f"pad: expected (before, after) >= 0 for each of {ndim} axes, got {shown(pad_width)}: "
            "give a pair for each axis, or one for all"
        )
    return tuple((before, after) for before, after in widths)
