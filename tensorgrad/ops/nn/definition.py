"""What the fused ops share: their definitions in basic ops, differentiated in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.tape import grad
from tensorgrad.tensor import Tensor


def through(definition: Callable[..., Tensor], inputs: Sequence[Any], g: Tensor) -> list[Any]:
    """The vjp of `definition` at `inputs`, recorded: what a fused op's vjp is when it is differentiated itself."""
    needed = [x for x in inputs if type(x) is Tensor and x.requires_grad]
    found = iter(grad(definition(*inputs), needed, g, create_graph=True))
    return [next(found) if type(x) is Tensor and x.requires_grad else None for x in inputs]
