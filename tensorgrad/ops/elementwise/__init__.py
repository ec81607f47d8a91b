"""Ops that act on each element. Binary ones broadcast; their gradients are summed back.

Each takes Tensors, arrays or Python numbers (of one dtype: nothing is converted silently) and
returns a Tensor if any operand is one. Raises ShapeError where shapes do not broadcast, DTypeError
where dtypes differ, DeviceError where devices do. An inf or nan is a result like any other; NumPy
warns of it as the caller has set (`numpy.errstate`).
"""

from types import FunctionType

from tensorgrad.ops.convert import *  # noqa: F403
from tensorgrad.ops.elementwise.arithmetic import *  # noqa: F403
from tensorgrad.ops.elementwise.choice import *  # noqa: F403
from tensorgrad.ops.elementwise.error_function import *  # noqa: F403
from tensorgrad.ops.elementwise.exponential import *  # noqa: F403
from tensorgrad.ops.elementwise.rounding import *  # noqa: F403
from tensorgrad.ops.elementwise.trigonometry import *  # noqa: F403

# Set where mypy does not look: it follows a star import only into a module that has no `__all__`.
globals()["__all__"] = [name for name, value in globals().items() if isinstance(value, FunctionType)]
