"""The initial values of parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import tensorgrad
from gpt.config import ModelConfig
from tensorgrad import Key, Tensor

__all__ = ["INIT_STD", "Initializer", "residual_std"]

INIT_STD = 0.02
"""Standard deviation of random parameters. Source: GPT-2's published code."""


@dataclass(frozen=True, slots=True)
class Initializer:
    """Makes the parameters of one place in the model.

    Random values depend on the key and the place alone, so a layer's initial values do not depend on
    which other layers the model has. Without a key they are zeros, to be filled from a file.
    """

    key: Key | None
    dtype: str
    product_dtype: str | None = None  # dtype to which linear layers round the operands of their products

    def at(self, place: int) -> Initializer:
        """The initializer for part number `place` of this place, with its own random numbers."""
        return self if self.key is None else replace(self, key=self.key.fold_in(place))

    def normal(self, shape: tuple[int, ...], std: float) -> Tensor:
        """Values from a normal distribution of mean 0."""
        if self.key is None:
            return self.constant(shape, 0.0)
        values = self.key.normal(shape, dtype="float64") * std
        return tensorgrad.asarray(values, dtype=self.dtype, requires_grad=True)

    def constant(self, shape: tuple[int, ...], value: float) -> Tensor:
        """One value everywhere."""
        if value == 0:
            return tensorgrad.zeros(shape, dtype=self.dtype, requires_grad=True)
        return tensorgrad.full(shape, value, dtype=self.dtype, requires_grad=True)


def residual_std(config: ModelConfig) -> float:
    """Standard deviation for the maps that write to the residual stream, two per block.

    It keeps the stream's variance from growing with depth. Source: Radford et al., "Language models
    are unsupervised multitask learners", 2019, section 2.3.
    """
    return INIT_STD / math.sqrt(2 * config.num_layers)
