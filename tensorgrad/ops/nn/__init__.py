"""The ops of neural networks. Those that training spends its time in are fused: one kernel forward, one backward.

Every fused op has a definition in basic ops, `<op>_definition`. It is the op's specification, the
tests' oracle, and what a gradient of the gradient is computed by: a vjp that is handed a Tensor is
being recorded, and records the definition's vjp in the place of the kernel's.
"""

from types import FunctionType

from tensorgrad.ops.nn.activation import *  # noqa: F403
from tensorgrad.ops.nn.attention import *  # noqa: F403
from tensorgrad.ops.nn.bilinear import *  # noqa: F403
from tensorgrad.ops.nn.convolution import *  # noqa: F403
from tensorgrad.ops.nn.cross_entropy import *  # noqa: F403
from tensorgrad.ops.nn.distance import *  # noqa: F403
from tensorgrad.ops.nn.dropout import *  # noqa: F403
from tensorgrad.ops.nn.linear_cross_entropy import *  # noqa: F403
from tensorgrad.ops.nn.loss import *  # noqa: F403
from tensorgrad.ops.nn.mlp import *  # noqa: F403
from tensorgrad.ops.nn.norm import *  # noqa: F403
from tensorgrad.ops.nn.one_hot import *  # noqa: F403
from tensorgrad.ops.nn.softmax import *  # noqa: F403

# Set where mypy does not look: it follows a star import only into a module that has no `__all__`.
globals()["__all__"] = [name for name, value in globals().items() if isinstance(value, FunctionType)]
