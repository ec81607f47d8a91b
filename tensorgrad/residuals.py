"""What a node keeps for its gradient: the arrays that its vjps' closures reach.

Nothing is registered when an op is recorded, so this walks the functions themselves: their cells
and default arguments, functions and partials inside those, and the containers that hold any of them.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator
from typing import Any

from tensorgrad.array import Array, is_array
from tensorgrad.tape import Joint, Node, Scatter, data
from tensorgrad.tensor import Tensor

__all__ = ["owners", "residuals"]


def residuals(node: Node) -> list[Array]:
    """The distinct arrays that the node's vjps capture, and its output where they take it; none at a leaf."""
    vjps = node.vjps.vjp if type(node.vjps) is Joint else node.vjps
    found: dict[int, Array] = {}
    seen: set[int] = set()  # everything here is held by the node, so that no id is used twice meanwhile
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
    """The distinct arrays whose memory these are or view: what is freed only once all of these are gone."""
    found = {}
    for a in arrays:
        owner: Any = a
        while is_array(owner.base):
            owner = owner.base
        found[id(owner)] = owner
    return list(found.values())


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
