"""Matrix products. Every one of them goes through `kernels.gemm`."""

from __future__ import annotations

import string
from typing import Any

from tensorgrad.array import module_of
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import gemm
from tensorgrad.ops.broadcast import broadcast_to, reshape, sum, sum_to
from tensorgrad.ops.common import TensorLike, float_operand, operands, row_shape, shape_of
from tensorgrad.ops.elementwise import multiply
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.tape import record, record_joint
from tensorgrad.tensor import Tensor

__all__ = [
    "einsum",
    "linear",
    "matmul",
]


def matmul(x: TensorLike, y: TensorLike) -> Tensor:
    """The matrix product over the last two axes; leading axes broadcast.

    Args:    x (..., M, K) or (K,); y (..., K, N) or (K,), of one dtype.
    Returns: (..., M, N), without the axis that a vector lacks.
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = g y^T, dy = x^T g, summed over broadcast axes.
    """
    a, b = operands("matmul", x, y)
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        raise ShapeError("matmul: expected at least one axis each, got a scalar: use multiply")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise _matmul_error(a.shape, b.shape)
    if a.ndim == 1 or b.ndim == 1:
        product = matmul(
            reshape(x, (1, *a.shape)) if a.ndim == 1 else x,
            reshape(y, (*b.shape, 1)) if b.ndim == 1 else y,
        )
        shape = product.shape
        return reshape(
            product,
            (*shape[:-2], *(() if a.ndim == 1 else shape[-2:-1]), *(() if b.ndim == 1 else shape[-1:])),
        )
    if a.ndim > 2 and b.ndim == 2:
        # One product of all rows, whose gradient in y is one product too.
        return reshape(matmul(reshape(x, row_shape(a.shape)), y), (*a.shape[:-1], b.shape[1]))
    try:
        out = gemm.matmul(a, b)
    except ValueError:
        raise _matmul_error(a.shape, b.shape) from None
    x_shape, y_shape = a.shape, b.shape
    return record(
        out,
        (x, lambda g: sum_to(matmul(g, matrix_transpose(y)), x_shape)),
        (y, lambda g: sum_to(matmul(matrix_transpose(x), g), y_shape)),
    )


def _matmul_error(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"matmul: expected shapes (..., M, K) and (..., K, N) whose leading axes broadcast, got {x_shape} and {y_shape}"
    )


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x weight^T + bias, over the last axis.

    Args:    x (..., K); weight (N, K); bias (N,) or None, of one dtype.
    Returns: (..., N).
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = g weight, dweight = g^T x, dbias = sum of g over the leading axes.
    Saves:   x, weight.
    """
    a, w = operands("linear", x, weight)
    if getattr(w, "ndim", 0) != 2 or not getattr(a, "ndim", 0) or a.shape[-1] != w.shape[1]:
        raise ShapeError(f"linear: expected x (..., K) and weight (N, K), got {shape_of(a)} and {shape_of(w)}")
    rows = a.reshape(row_shape(a.shape))
    out = gemm.matmul(rows, w.T)
    if bias is not None:
        _, b = operands("linear", weight, bias)
        if getattr(b, "shape", None) != w.shape[:1]:
            raise ShapeError(f"linear: expected bias of shape {w.shape[:1]}, got {shape_of(b)}")
        out += b
    out = out.reshape(*a.shape[:-1], w.shape[0])
    x_shape = a.shape

    def vjp_x(g: Any) -> Any:
        return reshape(matmul(reshape(g, row_shape(g.shape)), weight), x_shape)

    def vjp_weight(g: Any) -> Any:
        return matmul(matrix_transpose(reshape(g, row_shape(g.shape))), reshape(x, row_shape(x_shape)))

    def vjp_bias(g: Any) -> Any:
        return sum(reshape(g, row_shape(g.shape)), axis=0)

    return record(out, (x, vjp_x), (weight, vjp_weight), *(() if bias is None else ((bias, vjp_bias),)))


def einsum(subscripts: str, *xs: TensorLike) -> Tensor:
    """Sums of products over named axes, as `numpy.einsum`: "bthd,bshd->bhts", with "..." and an implied output.

    Grad: the einsum of g with the other operands, with the subscripts exchanged.
    """
    arrays = [float_operand("einsum", x) for x in xs]
    for x in xs[1:]:
        operands("einsum", xs[0], x)
    inputs, output = _parse(subscripts, [a.shape for a in arrays])
    xp = module_of(arrays[0])
    try:
        out = xp.einsum(",".join(inputs) + "->" + output, *arrays, optimize=len(xs) > 1)
    except ValueError as problem:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"einsum: expected shapes that fit {subscripts!r}, got {shapes}: {problem}") from None

    def vjp(g: Any) -> list[Any]:
        return [_einsum_gradient(g, i, xs, inputs, output, [a.shape for a in arrays]) for i in range(len(xs))]

    return record_joint(out.copy() if not out.flags.writeable else out, xs, vjp)


def _einsum_gradient(
    g: Any, i: int, xs: tuple[Any, ...], inputs: list[str], output: str, shapes: list[tuple[int, ...]]
) -> Any:
    """The cotangent of operand i: g times the other operands, summed to i's letters."""
    others = [j for j in range(len(xs)) if j != i]
    target = "".join(dict.fromkeys(inputs[i]))  # each letter once: a repeated one is a diagonal
    reached = "".join(letter for letter in target if letter in output + "".join(inputs[j] for j in others))
    d = einsum(",".join([output, *(inputs[j] for j in others)]) + "->" + reached, g, *(xs[j] for j in others))
    # A letter that only operand i has, or has with a size over 1, was summed alone: its gradient is
    # the same everywhere along it. A size of 1 in operand i met more elsewhere: its gradient is summed.
    own = dict(zip(inputs[i], shapes[i], strict=True))
    found = dict(zip(reached, d.shape, strict=True))
    d = reshape(d, tuple(found.get(letter, 1) for letter in target))
    sizes = [found.get(letter, 1) for letter in target]
    d = broadcast_to(d, tuple(own[letter] if n == 1 else n for n, letter in zip(sizes, target, strict=True)))
    d = sum_to(d, tuple(own[letter] for letter in target))
    return d if target == inputs[i] else _embed_diagonal(d, target, inputs[i], own)


def _embed_diagonal(d: Any, target: str, letters: str, sizes: dict[str, int]) -> Any:
    """Place a value over the distinct letters of `target` on the diagonals that `letters` names, else zeros."""
    xp = module_of(d.data if type(d) is Tensor else d)
    positions = [xp.arange(sizes[c]).reshape([sizes[c] if other == c else 1 for other in target]) for c in target]
    mask = xp.zeros(tuple(sizes[c] for c in letters), dtype=d.dtype)
    mask[tuple(positions[target.index(c)] for c in letters)] = 1
    # A repeated letter's later axes have size 1 here, and broadcast against the mask.
    first_axes = tuple(sizes[c] if letters.index(c) == axis else 1 for axis, c in enumerate(letters))
    return multiply(broadcast_to(reshape(d, first_axes), mask.shape), mask)


def _parse(subscripts: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """Explicit subscripts, one letter an axis: "..." spelled out and the implied output made."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(shapes):
        raise ShapeError(f"einsum: expected {len(inputs)} operands for {subscripts!r}, got {len(shapes)}")
    spare = [letter for letter in string.ascii_letters if letter not in text]
    widths = [len(shape) - len(part.replace("...", "")) for part, shape in zip(inputs, shapes, strict=True)]
    for part, width, shape in zip(inputs, widths, shapes, strict=True):
        if width < 0 or (width > 0 and "..." not in part):
            raise ShapeError(f"einsum: expected {len(part)} axes for {part!r}, got shape {shape}")
    batch = "".join(spare[: max([w for w, part in zip(widths, inputs, strict=True) if "..." in part], default=0)])
    inputs = [part.replace("...", batch[len(batch) - width :]) for part, width in zip(inputs, widths, strict=True)]
    if not arrow:
        every = "".join(inputs)
        output = batch + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in batch))
    output = output.replace("...", batch)
    if any(letter not in "".join(inputs) for letter in output) or len(set(output)) != len(output):
        raise ShapeError(f"einsum: expected an output of distinct input letters, got {subscripts!r}")
    return inputs, output
