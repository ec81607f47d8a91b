"""Errors for users: what was expected, what was got, what to do.

Every error this library raises on purpose is one of these. Each also derives from the built-in
exception that NumPy users would catch (`ValueError`, `TypeError`, `RuntimeError`).
"""

from __future__ import annotations


class TensorgradError(Exception):
    """Base class of every error that tensorgrad raises on purpose."""


class ShapeError(TensorgradError, ValueError):
    """Shapes, axes or indices that do not fit together."""


class DTypeError(TensorgradError, TypeError):
    """Element types that do not fit together, or that have no gradient."""


class DeviceError(TensorgradError, RuntimeError):
    """Arrays on different devices, or a device that is not there."""


class GraphError(TensorgradError, RuntimeError):
    """A gradient was asked of a graph that cannot give it."""


class GradientError(TensorgradError, AssertionError):
    """`check_grads` found a gradient that differs from the numerical one."""
