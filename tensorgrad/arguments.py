"""Checks of arguments that are not tensors: integers, shapes, numbers, flags, options, functions."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tensorgrad.errors import ArgumentError, DTypeError, ShapeError, shown

__all__ = ["as_array", "as_flag", "as_integer", "as_number", "as_shape", "as_size", "check_function", "check_option"]


def as_integer(op: str, name: str, value: Any) -> int:
    """`value` as a Python integer that an int64 can hold. Raises ShapeError, naming the argument."""
    try:
        index = operator.index(value)
    except TypeError:
        index = None
    if index is None or isinstance(value, bool) or abs(index) > _LARGEST:
        raise ShapeError(f"{op}: expected {name} to be an integer, got {shown(value)}: give an int")
    return index


_LARGEST = np.iinfo(np.int64).max


def as_size(op: str, name: str, value: Any) -> int:
    """An integer >= 0. Raises ShapeError, naming the argument."""
    size = as_integer(op, name, value)
    if size < 0:
        raise ShapeError(f"{op}: expected {name} >= 0, got {size}: count from 0")
    return size


def as_shape(op: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple of sizes >= 0. Raises ShapeError."""
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise ShapeError(
            f"{op}: expected a shape, a tuple of integers, got {shown(shape)}: write it as (2, 3)"
        ) from None
    if any(not 0 <= n <= _LARGEST for n in sizes):
        raise ShapeError(
            f"{op}: expected sizes >= 0 that fit into memory, got shape {shown(sizes)}: check how the shape is computed"
        )
    if len(sizes) > _MOST_AXES:
        raise ShapeError(f"{op}: expected at most {_MOST_AXES} axes, got {len(sizes)}: merge axes with reshape")
    return sizes


_MOST_AXES = 64  # NumPy's limit


def as_array(op: str, values: Any) -> np.ndarray[Any, Any]:
    """Nested sequences as an array of the dtype that NumPy finds. Raises ShapeError where their lengths differ."""
    try:
        return np.asarray(values)
    except ValueError:
        raise ShapeError(
            f"{op}: expected nested sequences of equal lengths, got ragged ones: pad them to one length"
        ) from None


def as_number(op: str, name: str, value: Any) -> float:
    """A real number as a Python float. Raises DTypeError, naming the argument."""
    try:
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise DTypeError(f"{op}: expected {name} to be a Python number, got {shown(value)}: give an int or a float")


def as_flag(op: str, name: str, value: Any) -> bool:
    """True or False. Raises DTypeError, naming the argument."""
    if not isinstance(value, (bool, np.bool)):
        raise DTypeError(f"{op}: expected {name} to be True or False, got {shown(value)}: convert it with bool")
    return bool(value)


def check_option(op: str, name: str, value: Any, *known: str) -> None:
    """Raise ArgumentError if `value` is not one of the `known` names."""
    if not isinstance(value, str) or value not in known:
        names = ", ".join(f'"{one}"' for one in known)
        raise ArgumentError(f"{op}: expected {name} to be one of {names}, got {shown(value)}: choose one of those")


def check_function(op: str, f: Any) -> None:
    """Raise DTypeError if `f` cannot be called."""
    if not callable(f):
        raise DTypeError(f"{op}: expected a function, got {shown(f)}: pass the function to call")
