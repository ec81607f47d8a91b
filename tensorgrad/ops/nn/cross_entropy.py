"""Losses of predicted classes: cross_entropy from logits, nll_loss from their log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.arguments import as_integer, as_number
from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype, is_float
from tensorgrad.errors import ArgumentError, DTypeError, GraphError, ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import TensorLike, check_devices, float_operand, normalise_axis, operand, operands
from tensorgrad.ops.elementwise import add, astype, divide, multiply, negative, square, where
from tensorgrad.ops.index import take_along_axis
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.ops.nn.reduction import check_reduction, reduced, total_or_nan
from tensorgrad.ops.nn.softmax import log_softmax, log_softmax_definition
from tensorgrad.ops.reduce import logsumexp
from tensorgrad.ops.shape import moveaxis, squeeze
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["cross_entropy", "nll_loss"]


def cross_entropy(
    logits: TensorLike,
    targets: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The cross-entropy between targets and softmax(logits) along `axis`, without overflow. For each position

        sum over classes of q weight (L - x) + z_loss L^2,   L = logsumexp(x),
        q = (1 - label_smoothing) target + label_smoothing / V

    Args:    logits float, V classes along `axis` (the last; PyTorch has them along axis 1);
             targets: integers in 0 .. V - 1, of the logits' shape without `axis` (target is 1 there, and
             0 at the other classes), or `ignore_index`, whose positions count neither in the sum nor in
             the mean; or probabilities, of the logits' shape and dtype, which may need a gradient;
             weight (V,): of each class, a constant; reduction "mean", "sum" or "none".
    Returns: a scalar, or one loss per position; in the logits' accumulation dtype. The mean is the sum
             divided by the number of positions that count, or by the sum of their targets' weights (not
             with probabilities, which are divided by the number of positions); over nothing it is nan.
    Raises:  ShapeError, DTypeError, GraphError (a weight that needs a gradient), ArgumentError.
    Grad:    dlogits = (softmax(logits) (sum(q weight) + 2 z_loss L) - q weight) g.
    Saves:   logits, targets, a few values per row; with probabilities, targets and log-probabilities.
    Source:  Szegedy et al., "Rethinking the Inception architecture", 2016, section 7 (label smoothing);
             Chowdhery et al., "PaLM", 2022, section 5 (z_loss).
    """
    label_smoothing, z_loss = checked_options("cross_entropy", label_smoothing, z_loss, reduction)
    a = float_operand("cross_entropy", logits)
    axis = normalise_axis("cross_entropy", axis, a.ndim)
    w = _class_weight("cross_entropy", weight, a, axis)
    if is_float((ids := operand("cross_entropy", targets)).dtype) and ids.ndim == a.ndim:
        return _of_probabilities(logits, targets, axis, w, label_smoothing, z_loss, reduction)
    check_classes("cross_entropy", a, a.shape, ids, axis, ignore_index)
    if axis != a.ndim - 1:
        a, logits = module_of(a).moveaxis(a, axis, -1), moveaxis(logits, axis, -1)
    rows = a.reshape(-1, a.shape[-1])
    out, gradient = losses_and_gradient(rows, ids, w, ignore_index, label_smoothing, z_loss, reduction)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            options = (w, ignore_index, label_smoothing, z_loss, reduction)
            return definition_vjp(lambda x: cross_entropy_definition(x, ids, *options), [logits], g)[0]
        return gradient(g).reshape(a.shape)

    return record(out, (logits, vjp))


def checked_options(op: str, label_smoothing: Any, z_loss: Any, reduction: str) -> tuple[float, float]:
    """label_smoothing and z_loss as numbers. Raises ArgumentError."""
    check_reduction(op, reduction)
    label_smoothing = as_number(op, "label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{op}: expected label_smoothing in 0 .. 1, got {label_smoothing}: 0 is none")
    return label_smoothing, as_number(op, "z_loss", z_loss)


def losses_and_gradient(
    logits_NV: Array,
    ids: Array,
    w: Array | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
) -> tuple[Array, Callable[..., Array]]:
    """The reduced losses, and the function from their cotangent to the cotangent of the logits, (N, V).

    That function takes the options of the kernel's `cross_entropy_gradient`. ids have the shape of the losses.
    """
    xp, classes, dtype = module_of(logits_NV), logits_NV.shape[1], accumulation_dtype(logits_NV.dtype)
    is_counted = ids.reshape(-1) != ignore_index
    rows = xp.where(is_counted, ids.reshape(-1).astype(np.int64), -1)
    # The weight of each row's target in its loss, and the weight of every class.
    weights = is_counted.astype(dtype) if w is None else xp.where(is_counted, w[rows], 0).astype(dtype)
    on_target, on_all = weights * (1 - label_smoothing), is_counted * dtype.type(label_smoothing / classes)
    spread = None if not label_smoothing else xp.ones(classes, dtype) if w is None else w.astype(dtype)
    losses, spread_losses, largest, total = kernels_for(logits_NV).cross_entropy(logits_NV, rows, spread)
    losses = losses * on_target
    if spread_losses is not None:
        losses += on_all * spread_losses
    if z_loss:
        row_logsumexp = largest + xp.log(total)
        losses += z_loss * row_logsumexp * row_logsumexp
    out = reduced(losses.reshape(ids.shape), reduction, weights)

    def gradient(g: Array, **options: Any) -> Array:
        divisor = total_or_nan(weights) if reduction == "mean" else 1
        g_rows = (xp.broadcast_to(g, ids.shape).reshape(-1) / divisor).astype(dtype)
        target, even = g_rows * on_target, g_rows * on_all
        softmax = target if spread is None else target + even * spread.sum()
        if z_loss:
            softmax = softmax + 2 * z_loss * g_rows * (largest + xp.log(total))
        operands = (softmax, target, even, logits_NV, rows, spread, largest, total)
        return kernels_for(logits_NV).cross_entropy_gradient(*operands, **options)

    return xp.asarray(out, dtype=dtype), gradient


def cross_entropy_definition(
    logits: Tensor,
    ids: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
) -> Tensor:
    is_counted = module_of(ids).asarray(ids != ignore_index)
    x = astype(where(is_counted[..., None], logits, 0.0), accumulation_dtype(logits.dtype))
    weight = None if weight is None else weight.astype(x.dtype)
    log_p = log_softmax_definition(x, -1)
    losses, weights = _picked_losses(log_p, ids, -1, weight, ignore_index)
    if label_smoothing:
        every = sum(log_p if weight is None else multiply(log_p, weight), axis=-1)
        losses = add(multiply(losses, 1 - label_smoothing), multiply(every, -label_smoothing / x.shape[-1]))
    if z_loss:
        losses = add(losses, multiply(square(logsumexp(x, axis=-1)), z_loss))
    return reduced(where(is_counted, losses, 0.0), reduction, weights)  # type: ignore[no-any-return]


def _of_probabilities(
    logits: Any, targets: Any, axis: int, w: Array | None, label_smoothing: float, z_loss: float, reduction: str
) -> Tensor:
    a, q = operands("cross_entropy", logits, targets)
    if q.shape != a.shape:
        raise ShapeError(
            f"cross_entropy: expected probabilities of the logits' shape {a.shape}, got {q.shape}: "
            "reshape them, or give class numbers"
        )
    wide = accumulation_dtype(a.dtype)
    x, q = astype(logits, wide), astype(targets, wide)
    classes = a.shape[axis]
    if label_smoothing:
        q = add(multiply(q, 1 - label_smoothing), label_smoothing / classes)
    log_p = log_softmax(x, axis=axis)
    # An impossible class that is no target costs nothing; the product would be nan.
    log_p = where((data(q) == 0) & (data(log_p) == -math.inf), 0.0, log_p)
    if w is not None:
        q = multiply(q, w.astype(wide).reshape(classes, *(1,) * (a.ndim - 1 - axis)))
    # One sum where there is one result: each sum rounds.
    out = negative(sum(multiply(q, log_p), axis=axis if reduction == "none" else None))
    if z_loss:
        squares = square(logsumexp(x, axis=axis))
        out = add(out, multiply(squares if reduction == "none" else sum(squares), z_loss))
    return divide(out, a.size // classes or math.nan) if reduction == "mean" else out


def nll_loss(
    log_probabilities: TensorLike,
    targets: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] log_probabilities[target] along `axis`: `cross_entropy` of what `log_softmax` returns.

    Arguments, mean and errors as there; the result has the dtype of `log_probabilities`.
    """
    check_reduction("nll_loss", reduction)
    a = float_operand("nll_loss", log_probabilities)
    axis = normalise_axis("nll_loss", axis, a.ndim)
    ids = operand("nll_loss", targets)
    w = _class_weight("nll_loss", weight, a, axis)
    check_classes("nll_loss", a, a.shape, ids, axis, ignore_index)
    losses, weights = _picked_losses(log_probabilities, ids, axis, w, ignore_index)
    return reduced(losses, reduction, weights)  # type: ignore[no-any-return]


def _picked_losses(log_p: Any, ids: Array, axis: int, w: Array | None, ignore_index: int) -> tuple[Any, Array]:
    """Each position's negative, weighted log-probability of its target, 0 where ignored; and its weight."""
    xp, dtype = module_of(ids), log_p.dtype
    is_counted = module_of(ids).asarray(ids != ignore_index)
    safe = xp.where(is_counted, ids, 0)
    weights = is_counted.astype(dtype) if w is None else xp.where(is_counted, w[safe], 0).astype(dtype)
    axis = axis % log_p.ndim
    picked = squeeze(take_along_axis(log_p, xp.expand_dims(safe, axis), axis=axis), axis=axis)
    return where(is_counted, multiply(picked, -weights), 0.0), weights


def _class_weight(op: str, weight: Any, x: Array, axis: int) -> Array | None:
    if weight is None:
        return None
    w: Array = operands(op, x, operand(op, weight))[1]
    if w.shape != x.shape[axis : axis + 1]:
        raise ShapeError(
            f"{op}: expected a weight for each of {x.shape[axis]} classes, got shape {w.shape}: "
            "give one value for each class"
        )
    if type(weight) is Tensor and weight.requires_grad:
        raise GraphError(f"{op}: expected a weight that needs no gradient, got one that does: detach it")
    return w


def check_classes(op: str, x: Array, shape: tuple[int, ...], ids: Array, axis: int, ignore_index: int) -> None:
    """Refuse ids that are not classes along `axis` of predictions of this shape, on the device of x."""
    classes = shape[axis]
    as_integer(op, "ignore_index", ignore_index)
    check_devices(op, x, ids)
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"{op}: expected integer targets, got {ids.dtype}: convert them with .astype")
    if ids.shape != shape[:axis] + shape[axis + 1 :]:
        raise ShapeError(
            f"{op}: expected targets of the predictions' shape without axis {axis}, got {shape} and {ids.shape}: "
            "reshape one of them, or name the axis of the classes"
        )
    if not classes:
        raise ShapeError(f"{op}: expected at least one class, got shape {shape}: name the axis of the classes")
    if type(ids) is np.ndarray:
        bad = ids[((ids < 0) | (ids >= classes)) & (ids != ignore_index)]
        if bad.size:
            raise ShapeError(
                f"{op}: expected targets in 0 .. {classes - 1}, or {ignore_index} to ignore, got {bad[0]}: "
                "check the targets, or set ignore_index"
            )
