"""Normalisation of the residual stream: LayerNorm (GPT-2) or RMSNorm (Llama)."""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.config import ModelConfig
from gpt.model.initializer import Initializer
from gpt.model.linear import cast
from tensorgrad import Tensor

__all__ = ["LayerNorm", "Norm", "RMSNorm", "init_norm"]


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Zero mean and unit variance over the width, times weight, plus bias."""

    weight: Tensor  # (C,)
    bias: Tensor | None  # (C,)
    eps: float

    def __call__(self, x_BTC: Tensor) -> Tensor:
        bias = None if self.bias is None else cast(self.bias, x_BTC.dtype)
        return tensorgrad.layer_norm(x_BTC, cast(self.weight, x_BTC.dtype), bias, eps=self.eps)


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """Unit root mean square over the width, times weight."""

    weight: Tensor  # (C,)
    eps: float

    def __call__(self, x_BTC: Tensor) -> Tensor:
        return tensorgrad.rms_norm(x_BTC, cast(self.weight, x_BTC.dtype), eps=self.eps)


Norm = LayerNorm | RMSNorm


def init_norm(config: ModelConfig, make: Initializer) -> Norm:
    """The norm that the configuration names, with weights of one."""
    weight = make.constant((config.model_dim,), 1.0)
    if config.norm == "rms_norm":
        return RMSNorm(weight, config.norm_eps)
    bias = make.constant((config.model_dim,), 0.0) if config.has_bias else None
    return LayerNorm(weight, bias, config.norm_eps)
