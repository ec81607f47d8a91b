"""Errors for users: what was expected, what was got, what to do.

Every error this library raises on purpose is one of these. Each also derives from the built-in
exception that NumPy users would catch (`ValueError`, `TypeError`, `RuntimeError`, `numpy.linalg.LinAlgError`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ArgumentError", "DTypeError", "DeviceError", "DeviceMemoryError", "GradientError", "GraphError"]
__all__ += ["LinAlgError", "NoValueError", "NonFiniteError", "ShapeError", "TensorgradError"]


class TensorgradError(Exception):
    """Base class of every error that tensorgrad raises on purpose."""


class ShapeError(TensorgradError, ValueError, IndexError):
    """Shapes, axes or indices that do not fit together."""


class DTypeError(TensorgradError, TypeError):
    """Element types that do not fit together, or that have no gradient."""


class DeviceError(TensorgradError, RuntimeError):
    """Arrays on different devices, or a device that this machine does not have."""


class DeviceMemoryError(TensorgradError, MemoryError):
    """A device has too little memory left. Sizes in bytes: what was asked for, is in use, is free, and the total."""

    def __init__(self, message: str, *, requested: int, used: int, free: int, total: int) -> None:
        super().__init__(message)
        self.requested = requested
        self.used = used
        self.free = free
        self.total = total


class GraphError(TensorgradError, RuntimeError):
    """A gradient was requested that the graph cannot give."""


class LinAlgError(TensorgradError, np.linalg.LinAlgError):
    """Matrices that cannot be inverted or decomposed: singular, or not positive definite."""


class ArgumentError(TensorgradError, ValueError):
    """A value that an argument cannot take: an unknown option, a rate above 1."""


class GradientError(TensorgradError, AssertionError):
    """`check_grads` found a gradient that differs from the numerical one."""


class NoValueError(TensorgradError, RuntimeError):
    """A program asked for the values of an array that has none, within `abstract`."""


class NonFiniteError(TensorgradError, ArithmeticError):
    """`find_non_finite` found the first op that made a nan or an inf out of finite values."""

    def __init__(self, message: str, path: tuple[str, ...], is_backward: bool, file: str, line: int) -> None:
        super().__init__(message)
        self.path = path  # the op that the program called, then the ops inside it down to the one at fault
        self.is_backward = is_backward  # whether the gradient is at fault, not the result
        self.file = file  # where the program called it
        self.line = line


def shown(value: Any) -> str:
    """`value` as an error message shows it: short, on one line; a tensor by its shape and dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    if type(value) in (list, tuple):
        parts = [shown(part) for part in value[:_MOST]] + ["..."] * (len(value) > _MOST)
        return f"[{', '.join(parts)}]" if type(value) is list else f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # raised by a foreign class, or for an integer too long to print
        return f"some {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_MOST = 6  # elements of a list
_LONGEST = 60  # characters
