"""softmax, log_softmax, cross_entropy: rows are read once for their largest element and once more from the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.elementary import exp
from tensorgrad.kernels.compiled.jit import compiled, in_parts, inlined, plain, summing

_CHUNK = 1024  # elements that are summed in float32; the chunks' sums are added in float64
_F = np.float32
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
_MINUS_INFINITY = np.int32(-0x7F800001)  # as `largest_of` compares it


@compiled
def largest_of(x):
    """The largest element; nan if there is one with its sign bit unset, -inf if there is none.

    Compared as integers, whose order is that of floats once those of a negative number are inverted: a maximum
    of integers is found by vector units, one of floats only where NaN does not matter.
    """
    largest = _MINUS_INFINITY
    for i in range(x.shape[0]):
        bits = _F(x[i]).view(np.int32)
        key = np.int32(bits ^ np.int32((bits >> np.int32(31)) & _ALL_BUT_SIGN))
        largest = key if key > largest else largest
    return np.int32(largest ^ np.int32((largest >> np.int32(31)) & _ALL_BUT_SIGN)).view(np.float32)


def softmax(x_NC: Array) -> Array:
    return _rows(_softmax, reference.softmax, x_NC)


def softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    return _rows(_softmax_gradient, reference.softmax_gradient, g_NC, y_NC)


def log_softmax(x_NC: Array) -> Array:
    return _rows(_log_softmax, reference.log_softmax, x_NC)


def log_softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    return _rows(_log_softmax_gradient, reference.log_softmax_gradient, g_NC, y_NC)


def _rows(kernel: Callable[..., None], otherwise: Callable[..., Array], *operands: Array) -> Array:
    if not plain(*operands):
        return otherwise(*operands)
    out = np.empty(operands[0].shape, np.float32)
    in_parts(len(out), out.size, lambda start, stop: kernel(*(a[start:stop] for a in (*operands, out))))
    return out


@summing
def _softmax(x_NC, out_NC):
    for n in range(x_NC.shape[0]):
        x, out = x_NC[n], out_NC[n]
        largest, total = largest_of(x), 0.0
        for start in range(0, x.shape[0], _CHUNK):
            part, part_out, part_total = x[start : start + _CHUNK], out[start : start + _CHUNK], _F(0)
            for i in range(part.shape[0]):
                e = exp(part[i] - largest)
                part_out[i] = e
                part_total += e
            total += part_total
        total = _F(total)
        for i in range(x.shape[0]):
            out[i] = out[i] / total


@summing
def _softmax_gradient(g_NC, y_NC, out_NC):
    for n in range(g_NC.shape[0]):
        g, y, out, projection = g_NC[n], y_NC[n], out_NC[n], _F(0)
        for i in range(g.shape[0]):
            projection += g[i] * y[i]
        for i in range(g.shape[0]):
            out[i] = y[i] * (g[i] - projection)


@inlined
def _exp_sum(x, largest):
    total = 0.0
    for start in range(0, x.shape[0], _CHUNK):
        total += _exp_sum_of_chunk(x[start : start + _CHUNK], largest)
    return total


@summing
def _exp_sum_of_chunk(x, largest):
    total = _F(0)
    for i in range(x.shape[0]):
        total += exp(x[i] - largest)
    return total


@compiled
def _log_softmax(x_NC, out_NC):
    for n in range(x_NC.shape[0]):
        x, out = x_NC[n], out_NC[n]
        largest = largest_of(x)
        log_total = _F(np.log(_exp_sum(x, largest)))
        for i in range(x.shape[0]):
            # In this order: large elements of one size cancel without rounding.
            out[i] = (x[i] - largest) - log_total


@summing
def _log_softmax_gradient(g_NC, y_NC, out_NC):
    for n in range(g_NC.shape[0]):
        g, y, out, total = g_NC[n], y_NC[n], out_NC[n], _F(0)
        for i in range(g.shape[0]):
            total += g[i]
        for i in range(g.shape[0]):
            out[i] = g[i] - exp(y[i]) * total


def _are_classes(targets_N: Array, logits_NV: Array) -> bool:
    """Whether every target is one: machine code checks no index, the reference does."""
    return not targets_N.size or bool(targets_N.min() >= 0 and targets_N.max() < logits_NV.shape[1])


def cross_entropy(
    logits_NV: Array, targets_N: Array, spread_V: Array | None
) -> tuple[Array, Array | None, Array, Array]:
    if spread_V is not None or not plain(logits_NV) or not _are_classes(targets_N, logits_NV):
        return reference.cross_entropy(logits_NV, targets_N, spread_V)
    targets = np.ascontiguousarray(targets_N, np.int64)
    losses, largest, total = (np.empty(targets.shape, np.float32) for _ in range(3))

    def work(start: int, stop: int) -> None:
        _cross_entropy(*(a[start:stop] for a in (logits_NV, targets, losses, largest, total)))

    in_parts(len(targets), logits_NV.size, work)
    return losses, None, largest, total


@compiled
def _cross_entropy(logits_NV, targets_N, losses_N, largest_N, total_N):
    for n in range(logits_NV.shape[0]):
        x, target = logits_NV[n], targets_N[n]
        largest = largest_of(x)
        total = _exp_sum(x, largest)
        largest_N[n], total_N[n] = largest, total
        losses_N[n] = np.log(total) - (x[target] - largest)


def cross_entropy_gradient(
    softmax_N: Array,
    target_N: Array,
    spread_N: Array,
    logits_NV: Array,
    targets_N: Array,
    spread_V: Array | None,
    largest_N: Array,
    total_N: Array,
    *,
    out_NV: Array | None = None,
) -> Array:
    rows = (softmax_N, target_N, largest_N, total_N)
    if spread_V is not None or not plain(logits_NV, *rows) or not _are_classes(targets_N, logits_NV):
        return reference.cross_entropy_gradient(
            softmax_N, target_N, spread_N, logits_NV, targets_N, spread_V, largest_N, total_N, out_NV=out_NV
        )
    out = np.empty(logits_NV.shape, np.float32) if out_NV is None else out_NV
    operands = [*rows, np.ascontiguousarray(targets_N, np.int64), out]
    kernel = _cross_entropy_gradient_in_place
    if out is not logits_NV:
        operands.append(logits_NV)
        kernel = _cross_entropy_gradient
    in_parts(len(out), out.size, lambda start, stop: kernel(*(a[start:stop] for a in operands)))
    return out


@compiled
def _cross_entropy_gradient(softmax_N, target_N, largest_N, total_N, targets_N, out_NV, logits_NV):
    for n in range(logits_NV.shape[0]):
        x, out, largest, scale = logits_NV[n], out_NV[n], largest_N[n], softmax_N[n] / total_N[n]
        for i in range(x.shape[0]):
            out[i] = exp(x[i] - largest) * scale
        out[targets_N[n]] -= target_N[n]


# With the array given twice the one above would do as well, but slowly, as its loop is for neighbours only where
# the two do not overlap.
@compiled
def _cross_entropy_gradient_in_place(softmax_N, target_N, largest_N, total_N, targets_N, logits_NV):
    for n in range(logits_NV.shape[0]):
        x, largest, scale = logits_NV[n], largest_N[n], softmax_N[n] / total_N[n]
        for i in range(x.shape[0]):
            x[i] = exp(x[i] - largest) * scale
        x[targets_N[n]] -= target_N[n]
