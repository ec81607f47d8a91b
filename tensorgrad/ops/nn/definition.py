"""The second order of fused ops: their definitions in basic ops are differentiated instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.backward import run_back_to
from tensorgrad.cotangent import Request
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor


def definition_vjp(
    definition: Callable[..., Tensor],
    inputs: Sequence[Any],
    g: Tensor,
    requests: Sequence[Request | None] | None = None,
) -> list[Any]:
    """The vjp of `definition` at `inputs`, recorded: a fused op's vjp returns it where it is itself differentiated.

    With `requests` (see `record_joint`), only the requested cotangents, and None for the other inputs.
    """
    # Each input gets a node of its own: one given twice, or computed from another, has its own share of the gradient.
    aliases = [record(x.array, (x, lambda g: g)) if type(x) is Tensor else x for x in inputs]
    nodes = [x.node if type(x) is Tensor else None for x in aliases]
    ends = [node for node in nodes if node is not None]
    if requests is not None:
        nodes = [node if asked else None for node, asked in zip(nodes, requests, strict=True)]
    asked_for = [node for node in nodes if node is not None]
    found = iter(run_back_to(asked_for, [definition(*aliases)], [g], create_graph=True, ends=ends))
    return [None if node is None else next(found) for node in nodes]
