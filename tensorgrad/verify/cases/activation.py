"""The activations of neural networks."""

from __future__ import annotations

import math

import tensorgrad as tg
from tensorgrad.verify.case import Table, vector
from tensorgrad.verify.cases.elementwise import UNARY

__all__ = ["table"]

table = Table()
case = table.case

case("relu", tg.relu, lambda x: x * (x > 0), *UNARY)
case("gelu", tg.gelu, vector(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2), *UNARY)
case(
    "gelu",
    lambda x: tg.gelu(x, approximate="tanh"),
    vector(lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    *UNARY,
    label="tanh-",
)
case("silu", tg.silu, vector(lambda v: v / (1 + math.exp(-v))), *UNARY)
case(
    "swiglu",
    tg.swiglu,
    lambda x: vector(lambda v: v / (1 + math.exp(-v)))(x[..., :2]) * x[..., 2:],
    ((3, 4),),
    ((4,),),
    ((0, 4),),
)
