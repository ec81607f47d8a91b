"""The ops: plain functions of Tensors, each with its gradient beside it.

Given Tensors they compute and record, given arrays they compute. The files build on each
other in this order: logic, convert, broadcast, elementwise, index, shape, reduce, sorting, linalg, nn.
"""

from tensorgrad.ops import broadcast, elementwise, index, linalg, logic, nn, reduce, shape, sorting
from tensorgrad.ops.broadcast import *  # noqa: F403
from tensorgrad.ops.elementwise import *  # noqa: F403
from tensorgrad.ops.index import *  # noqa: F403
from tensorgrad.ops.linalg import *  # noqa: F403
from tensorgrad.ops.logic import *  # noqa: F403
from tensorgrad.ops.nn import *  # noqa: F403
from tensorgrad.ops.reduce import *  # noqa: F403
from tensorgrad.ops.shape import *  # noqa: F403
from tensorgrad.ops.sorting import *  # noqa: F403

__all__ = []
__all__ += broadcast.__all__
__all__ += logic.__all__
__all__ += elementwise.__all__
__all__ += index.__all__
__all__ += shape.__all__
__all__ += reduce.__all__
__all__ += sorting.__all__
__all__ += linalg.__all__
__all__ += nn.__all__
