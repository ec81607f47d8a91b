"""The ops: plain functions of Tensors, each with its gradient beside it.

Given Tensors they compute and record; given arrays they compute. Each file lists its public functions in `__all__`,
and nothing else lists them. The files build on each other in this order: logic, convert, broadcast, elementwise,
index, shape, reduce, sorting, linalg, nn.
"""

from types import FunctionType

from tensorgrad.ops.broadcast import *  # noqa: F403
from tensorgrad.ops.elementwise import *  # noqa: F403
from tensorgrad.ops.index import *  # noqa: F403
from tensorgrad.ops.linalg import *  # noqa: F403
from tensorgrad.ops.logic import *  # noqa: F403
from tensorgrad.ops.nn import *  # noqa: F403
from tensorgrad.ops.reduce import *  # noqa: F403
from tensorgrad.ops.shape import *  # noqa: F403
from tensorgrad.ops.sorting import *  # noqa: F403

__all__ = [name for name, value in globals().items() if isinstance(value, FunctionType)]
