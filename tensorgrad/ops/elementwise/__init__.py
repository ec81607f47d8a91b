"""Ops that act on each element. Binary ones broadcast; their gradients are summed back.

Each takes Tensors, arrays or Python numbers (of one dtype: nothing is converted silently) and
returns a Tensor if any operand is one. Raises ShapeError where shapes do not broadcast, DTypeError
where dtypes differ, DeviceError where devices do. An inf or nan is a result like any other; NumPy's
own warnings about it stay as the caller has set them (`numpy.errstate`).
"""

from tensorgrad.ops.elementwise.arithmetic import abs, add, divide, multiply, negative, sign, square, subtract
from tensorgrad.ops.elementwise.choice import clip, maximum, minimum, where
from tensorgrad.ops.elementwise.convert import astype, to_device
from tensorgrad.ops.elementwise.exponential import erf, exp, expm1, log, log1p, logaddexp, pow, rsqrt, sigmoid, sqrt
from tensorgrad.ops.elementwise.trigonometry import cos, sin, tanh

__all__ = [
    "abs",
    "add",
    "astype",
    "clip",
    "cos",
    "divide",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "logaddexp",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "pow",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "to_device",
    "where",
]
