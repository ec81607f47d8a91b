"""The convolution of sequences: windows side by side, and one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorgrad.arguments import as_integer, check_option
from tensorgrad.array import module_of
from tensorgrad.errors import ShapeError, shown
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, float_operand, operands, shape_of
from tensorgrad.ops.elementwise import add
from tensorgrad.ops.linalg import matmul
from tensorgrad.ops.linalg.operand import check_bias
from tensorgrad.ops.shape import expand_dims, permute_dims, squeeze
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["conv1d"]


def conv1d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    *,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Sequences correlated with kernels.

        y[n, o, t] = sum over c, k of x[n, c, t stride + k dilation] weight[o, c, k] + bias[o]

    Args:    x (N, C, L) or (C, L); weight (O, C / groups, K); bias (O,) or None, of one dtype; padding:
             zeros on either side, or "same" (as many as keep the length, the odd one on the right; stride
             1 only), or "valid" (none); groups: C and O are split into so many equal parts, and part i of
             O sees part i of C only.
    Returns: (N, O, T) or (O, T), T = (L + padding on both sides - dilation (K - 1) - 1) // stride + 1.
    Raises:  ShapeError (T < 1 included), DTypeError, DeviceError.
    Saves:   weight, and the windows, (C, K, N, T).
    """
    a, w = float_operand("conv1d", x), operands("conv1d", x, weight)[1]
    parts = as_integer("conv1d", "groups", groups)
    fits = a.ndim in (2, 3) and len(shape_of(w)) == 3 and w.shape[2] and parts > 0 and w.shape[0] % parts == 0
    if not fits or a.shape[-2] != parts * w.shape[1]:
        raise ShapeError(
            f"conv1d: expected x (N, C, L) or (C, L) and weight (O, C / groups, K), groups dividing C and O, K > 0, "
            f"got {a.shape}, {shape_of(w)} and {parts} groups: "
            "move the channels to the axis before the last"
        )
    check_bias("conv1d", x, bias, w.shape[0])
    grid = _grid(a.shape[-1], w.shape[2], stride, padding, dilation)
    single = a.ndim == 2
    batch = expand_dims(x, axis=0) if single else x
    count, (outputs, inputs, size) = 1 if single else a.shape[0], w.shape
    lead = () if parts == 1 else (parts,)
    windows = reshape(columns(batch, grid), (*lead, inputs * size, count * grid.steps))
    product = matmul(reshape(weight, (*lead, outputs // parts, inputs * size)), windows)
    out = permute_dims(reshape(product, (outputs, count, grid.steps)), (1, 0, 2))
    out = out if bias is None else add(out, reshape(bias, (outputs, 1)))
    return squeeze(out, axis=0) if single else out


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the windows lie: at `t` stride + k dilation of the padded sequence, t < steps and k < size."""

    length: int
    left: int
    right: int
    size: int
    stride: int
    dilation: int
    steps: int

    def taps(self) -> list[slice]:
        """For each k, the positions of element k of all windows."""
        reach = (self.steps - 1) * self.stride + 1
        return [slice(k * self.dilation, k * self.dilation + reach, self.stride) for k in range(self.size)]


def _grid(length: int, size: int, stride: Any, padding: Any, dilation: Any) -> Grid:
    stride, dilation = as_integer("conv1d", "stride", stride), as_integer("conv1d", "dilation", dilation)
    if stride < 1 or dilation < 1:
        raise ShapeError(f"conv1d: expected stride and dilation >= 1, got {stride} and {dilation}: use 1 for neither")
    span = dilation * (size - 1) + 1
    if isinstance(padding, str):
        check_option("conv1d", "padding", padding, "same", "valid")
    if isinstance(padding, str) and padding == "same":
        if stride != 1:
            raise ShapeError(f'conv1d: expected stride 1 with padding "same", got {stride}: give padding as a number')
        left, right = (span - 1) // 2, span // 2
    else:
        left = right = 0 if isinstance(padding, str) else as_integer("conv1d", "padding", padding)
    steps = (length + left + right - span) // stride + 1
    if left < 0 or steps < 1:
        raise ShapeError(
            f"conv1d: expected padding >= 0 and a sequence at least as long as the kernel, "
            f"got padding {shown(padding)}, {length} and {span}: "
            "pad more, or shorten the kernel"
        )
    return Grid(length, left, right, size, stride, dilation, steps)


def columns(x: Any, grid: Grid) -> Any:
    """The windows of x (N, C, L) side by side, (C, K, N, T): one column of C K values for each window."""
    a = data(x)
    xp = module_of(a)
    padded = a
    if grid.left or grid.right:
        try:
            padded = xp.zeros((*a.shape[:2], grid.left + grid.length + grid.right), a.dtype)
        except (MemoryError, ValueError):
            raise ShapeError(f"conv1d: expected padding that fits into memory, got {grid.left}: pad less") from None
        padded[..., grid.left : grid.left + grid.length] = a
    out = xp.empty((a.shape[1], grid.size, a.shape[0], grid.steps), a.dtype)
    for k, places in enumerate(grid.taps()):
        out[:, k] = padded[..., places].swapaxes(0, 1)
    return record(out, (x, lambda g: overlapped(g, grid)))


def overlapped(x: Any, grid: Grid) -> Any:
    """Windows (C, K, N, T) added up where they lie, (N, C, L): the transpose of `columns`."""
    a = data(x)
    xp = module_of(a)
    padded = xp.zeros((a.shape[2], a.shape[0], grid.left + grid.length + grid.right), a.dtype)
    for k, places in enumerate(grid.taps()):
        padded[..., places] += a[:, k].swapaxes(0, 1)
    return record(padded[..., grid.left : grid.left + grid.length], (x, lambda g: columns(g, grid)))
