"""The activations of neural networks."""

from __future__ import annotations

import math

import numpy as np

import tensorgrad as tg
from tensorgrad.verify.case import Table, vector
from tensorgrad.verify.cases.elementwise import UNARY

__all__ = ["table"]

table = Table()
case = table.case

case("relu", tg.relu, lambda x: x * (x > 0), UNARY)
case("leaky_relu", tg.leaky_relu, lambda x: np.where(x > 0, x, x / 100), UNARY)
case(
    "leaky_relu", lambda x: tg.leaky_relu(x, negative_slope=0.3), lambda x: np.maximum(x, 0.3 * x), UNARY, label="slope"
)
# Bounds between the "distinct" numbers.
case(
    "hardtanh",
    lambda x: tg.hardtanh(8 * x),
    lambda x: np.sort(np.stack([8 * x, 0 * x - 1, 0 * x + 1]), axis=0)[1],
    UNARY,
    domain="distinct",
)
case(
    "hardtanh",
    lambda x: tg.hardtanh(x, min_val=-0.32, max_val=0.28),
    lambda x: np.minimum(np.maximum(x, -0.32), 0.28),
    UNARY,
    domain="distinct",
    label="bounds",
)
case("relu6", lambda x: tg.relu6(6 * x), lambda x: np.minimum(6 * x * (x > 0), 6.0), UNARY)
case("elu", tg.elu, vector(lambda v: v if v > 0 else math.expm1(v)), UNARY)
case("elu", lambda x: tg.elu(x, alpha=0.4), vector(lambda v: v if v > 0 else 0.4 * math.expm1(v)), UNARY, label="alpha")
case(
    "selu", tg.selu, vector(lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v))), UNARY
)
case("celu", tg.celu, vector(lambda v: v if v > 0 else math.expm1(v)), UNARY)
case(
    "celu", lambda x: tg.celu(x, alpha=2), vector(lambda v: v if v > 0 else 2 * math.expm1(v / 2)), UNARY, label="alpha"
)
case("softplus", tg.softplus, vector(lambda v: math.log(1 + math.exp(v))), UNARY)
case(
    "softplus",
    lambda x: tg.softplus(x, beta=2.5, threshold=0.7),
    vector(lambda v: v if v > 0.28 else math.log(1 + math.exp(2.5 * v)) / 2.5),
    "3x4, scalar",
    domain="distinct",
    label="beta",
)
case("logsigmoid", tg.logsigmoid, vector(lambda v: -math.log(1 + math.exp(-v))), UNARY)
case("softsign", tg.softsign, lambda x: x / (1 + np.where(x < 0, -x, x)), UNARY)
case("mish", tg.mish, vector(lambda v: v * math.tanh(math.log(1 + math.exp(v)))), UNARY)
case("gelu", tg.gelu, vector(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2), UNARY)
case(
    "gelu",
    lambda x: tg.gelu(x, approximate="tanh"),
    vector(lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    UNARY,
    label="tanh",
)
case("silu", tg.silu, vector(lambda v: v / (1 + math.exp(-v))), UNARY)
case("swiglu", tg.swiglu, lambda x: vector(lambda v: v / (1 + math.exp(-v)))(x[..., :2]) * x[..., 2:], "3x4, 4, 0x4")
