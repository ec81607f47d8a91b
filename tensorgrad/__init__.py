"""tensorgrad: tensors with reverse-mode automatic differentiation, of any order, on NumPy and CuPy.

    x = tensorgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (tensorgrad.exp(x) * x).sum()
    y.backward()
    x.grad

Start reading at `tape.py` and `backward.py`; then any file in `ops/`.
"""

from tensorgrad import ops, tree
from tensorgrad.backward import grad
from tensorgrad.check import check_grads
from tensorgrad.creation import (
    arange,
    asarray,
    eye,
    from_dlpack,
    full,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from tensorgrad.errors import (
    DeviceError,
    DTypeError,
    GradientError,
    GraphError,
    ShapeError,
    TensorgradError,
)
from tensorgrad.kernels.threads import threads
from tensorgrad.ops.broadcast import *  # noqa: F403
from tensorgrad.ops.elementwise import *  # noqa: F403
from tensorgrad.ops.index import *  # noqa: F403
from tensorgrad.ops.linalg import *  # noqa: F403
from tensorgrad.ops.logic import *  # noqa: F403
from tensorgrad.ops.nn import *  # noqa: F403
from tensorgrad.ops.reduce import *  # noqa: F403
from tensorgrad.ops.shape import *  # noqa: F403
from tensorgrad.random import Key
from tensorgrad.tape import Scatter, is_recording, no_grad, record, record_joint
from tensorgrad.tensor import Tensor
from tensorgrad.transforms import hessian, hvp, jacobian, jvp, recompute, value_and_grad, vjp

__version__ = "0.1.0"

__all__ = [
    *ops.__all__,
    "DTypeError",
    "DeviceError",
    "GradientError",
    "GraphError",
    "Key",
    "Scatter",
    "ShapeError",
    "Tensor",
    "TensorgradError",
    "arange",
    "asarray",
    "check_grads",
    "eye",
    "from_dlpack",
    "full",
    "grad",
    "hessian",
    "hvp",
    "is_recording",
    "jacobian",
    "jvp",
    "no_grad",
    "ones",
    "ones_like",
    "ops",
    "recompute",
    "record",
    "record_joint",
    "tensor",
    "threads",
    "tree",
    "value_and_grad",
    "vjp",
    "zeros",
    "zeros_like",
]
