"""Gradients -> an update of the parameters: AdamW, Muon, learning rates, loss scaling."""

from __future__ import annotations

from typing import Any

from gpt.config import OptimConfig
from gpt.optim.adamw import AdamW, rates
from gpt.optim.muon import Muon

__all__ = ["AdamW", "Muon", "make_optimizer", "rates"]


def make_optimizer(model: Any, config: OptimConfig, *, is_loss_scaled: bool = False) -> AdamW:
    """The optimizer that the configuration names."""
    kind = Muon if config.optimizer == "muon" else AdamW
    return kind(model, config, is_loss_scaled=is_loss_scaled)
