"""The ops of neural networks. The ones that training spends its time in are fused: one kernel forward, one backward.

Every fused op has a definition in basic ops, `<op>_definition`. It is the op's specification and the tests' oracle.
It also gives the gradient of the gradient: a vjp that gets a Tensor is being recorded, and records the definition's
vjp instead of running the kernel.
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
