"""The block's second half: a wider hidden layer, applied to each token alone."""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.config import ModelConfig
from gpt.model.initializer import Initializer, residual_std
from gpt.model.linear import Linear, operand_for
from tensorgrad import Tensor

__all__ = ["MLP", "SwiGLU", "init_mlp"]


@dataclass(frozen=True, slots=True)
class MLP:
    """down(activation(up(x)))."""

    up: Linear  # (F, C)
    down: Linear  # (C, F)
    activation: str

    def __call__(self, x_BTC: Tensor) -> Tensor:
        return _through(x_BTC, self.up, self.down, self.activation)


@dataclass(frozen=True, slots=True)
class SwiGLU:
    """down(silu(gate(x)) * up(x)), with gate and up in one product."""

    gate_up: Linear  # (2 F, C): the gate's rows, then up's
    down: Linear  # (C, F)

    def __call__(self, x_BTC: Tensor) -> Tensor:
        return _through(x_BTC, self.gate_up, self.down, "swiglu")


def _through(x_BTC: Tensor, up: Linear, down: Linear, activation: str) -> Tensor:
    return tensorgrad.mlp(
        x_BTC,
        operand_for(x_BTC, up.weight),
        operand_for(x_BTC, down.weight),
        None if up.bias is None else operand_for(x_BTC, up.bias),
        None if down.bias is None else operand_for(x_BTC, down.bias),
        activation=activation,
        product_dtype=up.product_dtype,
    )


def init_mlp(config: ModelConfig, make: Initializer) -> MLP | SwiGLU:
    """The MLP for the configuration's activation."""
    width, ffn_width, has_bias = config.model_dim, config.ffn_width, config.has_bias
    down = Linear.init(ffn_width, width, make.at(1), has_bias=has_bias, std=residual_std(config))
    if config.activation == "swiglu":
        return SwiGLU(Linear.init(width, 2 * ffn_width, make.at(0), has_bias=has_bias), down)
    return MLP(Linear.init(width, ffn_width, make.at(0), has_bias=has_bias), down, config.activation)
