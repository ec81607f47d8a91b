"""What a node keeps alive for its gradient: the arrays that its vjps' closures reach.

Nothing is registered when an op is recorded, so this walks the functions themselves: their cells
and default arguments, functions and partials inside those, and the containers that hold any of them.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any

from tensorgrad import writes
from tensorgrad.array import Array, is_array
from tensorgrad.cotangent import Joint, Scatter
from tensorgrad.errors import GraphError
from tensorgrad.tape import Node, data
from tensorgrad.tensor import Tensor

__all__ = ["check_unwritten", "owners", "residuals"]


def residuals(node: Node) -> list[Array]:
    """The distinct arrays that the node's vjps capture, and its output if they take it; none at a leaf."""
    vjps = node.vjps.vjp if type(node.vjps) is Joint else node.vjps
    found: dict[int, Array] = {}
    seen: set[int] = set()  # ids stay unique: the node holds everything that is looked at
    stack: list[Any] = [vjps, node.output]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if is_array(x):
            found[id(x)] = x
        else:
            stack.extend(_held_by(x))
    return list(found.values())


def owners(arrays: list[Array]) -> list[Array]:
    """The distinct arrays that own the memory of `arrays`: it is freed only once all of these are gone."""
    found = {}
    for a in arrays:
        owner: Any = a
        while is_array(owner.base):
            owner = owner.base
        found[id(owner)] = owner
    return list(found.values())


def check_unwritten(nodes: Iterable[Node]) -> None:
    """Raise GraphError if one of `nodes` keeps an array that was written after the node was recorded."""
    latest = writes.latest()
    older = [node for node in nodes if node.serial < latest and node.parents] if latest >= 0 else []
    changes = writes.changes_since(min(node.serial for node in older)) if older else []
    for node in older if changes else ():
        kept = residuals(node)
        for _, array, time in changes:
            if node.serial < time and any(writes.overlap(array, other) for other in kept):
                raise GraphError(
                    f"backward: expected the values that {node.op} was computed from, but an array of shape "
                    f"{array.shape} that its gradient needs was written to afterwards: use tensorgrad.index_update "
                    "in place of the write, or write to a copy"
                )


def _held_by(x: Any) -> Iterator[Any]:
    """What a value holds that a vjp could use: nothing for a number, a node or a module."""
    if type(x) is Tensor:
        yield data(x)
    elif type(x) is Scatter:
        yield from (x.values, x.index)
    elif isinstance(x, types.FunctionType):
        for cell in x.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that its function has deleted, or not bound yet
                continue
        yield from x.__defaults__ or ()
        yield from (x.__kwdefaults__ or {}).values()
    elif isinstance(x, functools.partial):
        yield from (x.func, *x.args, *x.keywords.values())
    elif isinstance(x, types.MethodType):
        yield from (x.__func__, x.__self__)
    elif isinstance(x, (tuple, list, set, frozenset)):
        yield from x
    elif isinstance(x, dict):
        yield from x.values()
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        yield from (getattr(x, field.name) for field in dataclasses.fields(x))
