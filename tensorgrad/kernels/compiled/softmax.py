"""softmax, log_softmax, cross_entropy: a row is read once for its largest element and again from the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.bfloat16 import BFLOAT16
from tensorgrad.kernels.compiled.elementary import exp, exp_of_negative, put
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, compiled, in_parts, inlined, summing, summing_inlined

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "log_softmax",
    "log_softmax_gradient",
    "softmax",
    "softmax_gradient",
]

_CHUNK = 1024  # elements that are summed in float32; the chunks' sums are added in float64
_STEP = 4096  # elements that stay in the first-level cache
_F = np.float32
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
_MINUS_INFINITY = np.int32(-0x7F800001)  # the key by which `largest_of` compares it


@compiled
def largest_of(x):
    """The largest element; nan if there is one with its sign bit unset, -inf if there is none.

    Floats compare like their bits as integers, once a negative number's bits are inverted. Vector units find a maximum
    of integers; one of floats only where NaN does not matter.
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
    if not are_contiguous_floats(*operands):
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


@summing_inlined
def _exp_sum_of_chunk(x, largest):
    total = _F(0)
    for i in range(x.shape[0]):
        total += exp_of_negative(x[i] - largest)
    return total


@compiled
def _log_softmax(x_NC, out_NC):
    for n in range(x_NC.shape[0]):
        x, out = x_NC[n], out_NC[n]
        largest = largest_of(x)
        log_total = _F(np.log(_exp_sum(x, largest)))
        for i in range(x.shape[0]):
            # This order lets large elements of one size cancel without rounding.
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
    """Whether every target is one, or -1: machine code checks no index, the reference does."""
    return not targets_N.size or bool(targets_N.min() >= -1 and targets_N.max() < logits_NV.shape[1])


_NO_SPREAD = np.zeros(0, np.float32)


def cross_entropy(
    logits_NV: Array, targets_N: Array, spread_V: Array | None
) -> tuple[Array, Array | None, Array, Array]:
    if not are_contiguous_floats(logits_NV, spread_V) or not _are_classes(targets_N, logits_NV):
        return reference.cross_entropy(logits_NV, targets_N, spread_V)
    targets = np.ascontiguousarray(targets_N, np.int64)
    losses, largest, total = (np.empty(targets.shape, np.float32) for _ in range(3))
    spread_losses = None if spread_V is None else np.empty(targets.shape, np.float32)
    operands = (logits_NV, targets, losses, losses if spread_losses is None else spread_losses, largest, total)
    spread = _NO_SPREAD if spread_V is None else spread_V
    in_parts(len(targets), logits_NV.size, lambda i, j: _cross_entropy(spread, *(a[i:j] for a in operands)))
    return losses, spread_losses, largest, total


@compiled
def _cross_entropy(spread_V, logits_NV, targets_N, losses_N, spread_losses_N, largest_N, total_N):
    num_rows, width = logits_NV.shape
    # Short rows go through each stage together: a processor works on several while each waits for its last sum.
    step = max(1, _STEP // max(1, width))
    totals, spread_sum = np.empty(step, np.float64), _sum(spread_V)
    for first in range(0, num_rows, step):
        last = min(first + step, num_rows)
        for n in range(first, last):
            largest_N[n] = largest_of(logits_NV[n]) if targets_N[n] >= 0 else _F(0)
        if width <= _CHUNK:
            for n in range(first, last):
                totals[n - first] = _exp_sum_of_chunk(logits_NV[n], largest_N[n])
        else:
            for n in range(first, last):
                totals[n - first] = _exp_sum(logits_NV[n], largest_N[n])
        for n in range(first, last):
            x, target, largest = logits_NV[n], targets_N[n], largest_N[n]
            total = totals[n - first] if target >= 0 else 1.0
            log_total = np.log(total)
            total_N[n] = total
            # Subtract before the logarithm: large logits of one size cancel without rounding.
            losses_N[n] = log_total - (x[target] - largest) if target >= 0 else 0.0
            if spread_V.shape[0]:
                spread_losses_N[n] = log_total * spread_sum - _spread_sum(x, largest, spread_V) if target >= 0 else 0.0


@inlined
def _sum(x):
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i])
    return total


@inlined
def _spread_sum(x, largest, spread):
    total = 0.0
    for start in range(0, x.shape[0], _CHUNK):
        total += _spread_sum_of_chunk(x[start : start + _CHUNK], largest, spread[start : start + _CHUNK])
    return total


@summing_inlined
def _spread_sum_of_chunk(x, largest, spread):
    total = _F(0)
    for i in range(x.shape[0]):
        total += spread[i] * _difference(x[i], largest)
    return total


@inlined
def _difference(x, y):
    return x - y


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
    is_rounded: bool = False,
) -> Array:
    rows = (softmax_N, target_N, spread_N, largest_N, total_N)
    if not are_contiguous_floats(logits_NV, spread_V, *rows) or not _are_classes(targets_N, logits_NV):
        given = (softmax_N, target_N, spread_N, logits_NV, targets_N, spread_V, largest_N, total_N)
        return reference.cross_entropy_gradient(*given, out_NV=out_NV, is_rounded=is_rounded)
    spread = _NO_SPREAD if spread_V is None else spread_V
    operands = [*rows, np.ascontiguousarray(targets_N, np.int64)]
    if is_rounded:
        kernel = _rounded_gradient
        out = np.empty(logits_NV.shape, np.uint16) if out_NV is None else out_NV.view(np.uint16)
        operands += [logits_NV, out]
    elif out_NV is logits_NV:
        kernel, out = _gradient_in_place, logits_NV
        operands += [logits_NV]
    else:
        kernel, out = _gradient, np.empty(logits_NV.shape, np.float32) if out_NV is None else out_NV
        operands += [logits_NV, out]
    in_parts(len(out), logits_NV.size, lambda start, stop: kernel(spread, *(a[start:stop] for a in operands)))
    return out.view(BFLOAT16)[:, : logits_NV.shape[1]] if is_rounded else out


@compiled
def _gradient(spread_V, softmax_N, target_N, spread_N, largest_N, total_N, targets_N, logits_NV, out_NV):
    for n in range(logits_NV.shape[0]):
        _scaled_exp(logits_NV[n], out_NV[n], largest_N[n], softmax_N[n] / total_N[n])
        _finish_row(out_NV[n], targets_N[n], target_N[n], spread_N[n], spread_V)


# `_gradient` would be right in place too, but slow: vector units do not compute on arrays that may overlap.
@compiled
def _gradient_in_place(spread_V, softmax_N, target_N, spread_N, largest_N, total_N, targets_N, logits_NV):
    for n in range(logits_NV.shape[0]):
        _scale_exp(logits_NV[n], largest_N[n], softmax_N[n] / total_N[n])
        _finish_row(logits_NV[n], targets_N[n], target_N[n], spread_N[n], spread_V)


@compiled
def _rounded_gradient(spread_V, softmax_N, target_N, spread_N, largest_N, total_N, targets_N, logits_NV, bits_NU):
    row = np.empty(logits_NV.shape[1], np.float32)  # bits_NU may be the first halves of the rows of logits
    for n in range(logits_NV.shape[0]):
        _scaled_exp(logits_NV[n], row, largest_N[n], softmax_N[n] / total_N[n])
        _finish_row(row, targets_N[n], target_N[n], spread_N[n], spread_V)
        bits = bits_NU[n]
        for i in range(row.shape[0]):
            put(bits, i, row[i])


@inlined
def _scaled_exp(x, out, largest, scale):
    for i in range(x.shape[0]):
        out[i] = exp(x[i] - largest) * scale


@inlined
def _scale_exp(x, largest, scale):
    for i in range(x.shape[0]):
        x[i] = exp(x[i] - largest) * scale


@inlined
def _finish_row(out, target, on_target, on_spread, spread):
    if target < 0:
        out[:] = _F(0)
        return
    out[target] -= on_target
    for i in range(spread.shape[0]):
        out[i] -= on_spread * spread[i]
