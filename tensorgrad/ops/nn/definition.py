"""What the fused ops share: their definitions in basic ops, differentiated in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.backward import run_back_to
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor


def through(definition: Callable[..., Tensor], inputs: Sequence[Any], g: Tensor) -> list[Any]:
    """The vjp of `definition` at `inputs`, recorded: what a fused op's vjp is when it is differentiated itself."""
    # Each input gets a node of its own: one given twice, or computed from another, has its own share of the gradient.
    aliases = [record(x.array, (x, lambda g: g)) if type(x) is Tensor else x for x in inputs]
    nodes = [x.node if type(x) is Tensor else None for x in aliases]
    needed = [node for node in nodes if node is not None]
    found = iter(run_back_to(needed, [definition(*aliases)], [g], create_graph=True, stop_there=True))
    return [None if node is None else next(found) for node in nodes]
