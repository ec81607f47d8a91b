"""Ops that rearrange elements without changing them: views where NumPy can give one."""

from types import FunctionType

from tensorgrad.ops.shape.axes import *  # noqa: F403
from tensorgrad.ops.shape.joining import *  # noqa: F403
from tensorgrad.ops.shape.order import *  # noqa: F403
from tensorgrad.ops.shape.repetition import *  # noqa: F403

# Set where mypy does not look: it follows a star import only into a module that has no `__all__`.
globals()["__all__"] = [name for name, value in globals().items() if isinstance(value, FunctionType)]
