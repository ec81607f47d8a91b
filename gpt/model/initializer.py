"""How parameters begin."""

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

    Random ones are a function of the key and of the place alone, so what one layer begins with does
    not depend on which other layers there are. Without a key they are zero, to be filled from a file.
    """

    key: Key | None
    dtype: str
    product_dtype: str | None = None  # of the operands of the products that parameters are for

    def at(self, place: int) -> Initializer:
        """The initializer of a part of this place, with a stream of its own."""
        return self if self.key is None else replace(self, key=self.key.fold_in(place))

    def normal(self, shape: tuple[int, ...], std: float) -> Tensor:
        """Normally distributed around 0."""
        if self.key is None:
            return self.constant(shape, 0.0)
        values = self.key.normal(shape, dtype="float64") * std
        return tensorgrad.asarray(values, dtype=self.dtype, requires_grad=True)

    def constant(self, shape: tuple[int, ...], value: float) -> Tensor:
        """The same number everywhere."""
        if value == 0:
            return tensorgrad.zeros(shape, dtype=self.dtype, requires_grad=True)
        return tensorgrad.full(shape, value, dtype=self.dtype, requires_grad=True)


def residual_std(config: ModelConfig) -> float:
    """Of the maps whose output is added to the residual stream: its variance then does not grow with depth.

    Two are added per block. Source: Radford et al., "Language models are unsupervised multitask
    learners", 2019, section 2.3.
    """
    return INIT_STD / math.sqrt(2 * config.num_layers)
