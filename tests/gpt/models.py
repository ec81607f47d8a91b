"""A model of each family, small enough to train in a test."""

from __future__ import annotations

from dataclasses import replace

from gpt.config import ModelConfig

__all__ = ["GPT2", "LLAMA"]

GPT2 = ModelConfig(
    context_length=16,
    num_layers=2,
    num_heads=2,
    model_dim=32,
    positions="learned",
    norm="layer_norm",
    activation="gelu_tanh",
    has_bias=True,
)
LLAMA = replace(GPT2, positions="rope", norm="rms_norm", activation="swiglu", has_bias=False, num_kv_heads=1)
