"""Ops that combine the elements along axes.

`axis` is an integer, a tuple of them, or None for all; `keepdims` keeps reduced axes with size 1.
Raises ShapeError for an axis that does not exist or is named twice.
"""

from types import FunctionType

from tensorgrad.ops.reduce.exponential import *  # noqa: F403
from tensorgrad.ops.reduce.extrema import *  # noqa: F403
from tensorgrad.ops.reduce.logical import *  # noqa: F403
from tensorgrad.ops.reduce.moments import *  # noqa: F403
from tensorgrad.ops.reduce.product import *  # noqa: F403
from tensorgrad.ops.reduce.running import *  # noqa: F403

# Set where mypy does not look: it follows a star import only into a module that has no `__all__`.
globals()["__all__"] = [name for name, value in globals().items() if isinstance(value, FunctionType)]
