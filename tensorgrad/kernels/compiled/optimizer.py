"""AdamW over flat buffers, and their norm."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, compiled, in_parts, summing

__all__ = ["adamw", "global_norm"]

_BLOCK = 1 << 14  # elements of one partial sum, and of one part of a copy


def global_norm(flat: Array) -> Array:
    if not are_contiguous_floats(flat, like=flat):
        return reference.global_norm(flat)
    squares = np.empty(-(-flat.size // _BLOCK), np.float64)

    def work(start: int, stop: int) -> None:
        _sums_of_squares(flat[start * _BLOCK : stop * _BLOCK], squares[start:stop])

    in_parts(len(squares), flat.size, work)
    return np.asarray(math.sqrt(_in_order(squares)))


@summing
def _sums_of_squares(flat, squares):
    for block in range(squares.shape[0]):
        part = flat[block * _BLOCK : (block + 1) * _BLOCK]
        total = 0.0
        for i in range(part.shape[0]):
            total += np.float64(part[i]) * np.float64(part[i])
        squares[block] = total


@compiled
def _in_order(values):
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


def adamw(
    parameters: Array,
    gradients: Array,
    first_moment: Array,
    second_moment: Array,
    rates_4: Array,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    copy: Array | None = None,
) -> None:
    buffers = (parameters, gradients, first_moment, second_moment)
    if not are_contiguous_floats(*buffers, like=parameters):
        reference.adamw(*buffers, rates_4, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, copy=copy)
        return
    learning_rate, correction1, correction2, scale = rates_4.tolist()
    if not math.isfinite(scale):
        return
    # p -= lr (m / c1) / (sqrt(v / c2) + eps), after the decoupled decay p -= lr wd p
    numbers = np.array(
        [
            *(scale, beta1, 1 - beta1, beta2, 1 - beta2, 1 / correction2, eps),
            *(learning_rate / correction1, 1 - learning_rate * weight_decay),
        ],
        parameters.dtype,
    )

    def work(start: int, stop: int) -> None:
        step = stop - start if copy is None else _BLOCK
        for first in range(start, stop, max(1, step)):
            part = slice(first, min(first + step, stop))
            _adamw(*(buffer[part] for buffer in buffers), numbers)
            if copy is not None:  # now, while the part is in the cache
                copy[part] = parameters[part]

    in_parts(parameters.size, parameters.size, work)


@compiled
def _adamw(parameters, gradients, first_moment, second_moment, numbers):
    scale, beta1, rest1, beta2, rest2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    factor2, eps, rate, decay = numbers[5], numbers[6], numbers[7], numbers[8]
    for i in range(parameters.shape[0]):
        g = gradients[i] * scale
        m = first_moment[i] * beta1 + rest1 * g
        v = second_moment[i] * beta2 + rest2 * (g * g)
        first_moment[i] = m
        second_moment[i] = v
        parameters[i] = parameters[i] * decay - rate * (m / (np.sqrt(v * factor2) + eps))
