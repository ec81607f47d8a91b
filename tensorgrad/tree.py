"""Trees of Tensors: dataclasses, lists, tuples and dicts that hold Tensors at any depth.

A model is such a tree; its parameters are the Tensors in it. A Tensor that appears twice (a tied
weight) is one Tensor: it is listed once, under its first name, and mapped once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tensorgrad.errors import ShapeError
from tensorgrad.tensor import Tensor

__all__ = ["map_tensors", "named_tensors", "replace_tensors", "walk"]

Tree = TypeVar("Tree")


def named_tensors(tree: Any) -> dict[str, Tensor]:
    """Each Tensor in the tree by its path ("blocks.0.mlp.up.weight"), in order of appearance."""
    names: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, x in walk(tree):
        if id(x) not in seen:
            seen.add(id(x))
            names[name] = x
    return names


def map_tensors(f: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """The same tree with each Tensor x replaced by f(x); f is called once for each distinct Tensor."""
    mapped: dict[int, Any] = {}

    def rebuild(node: Any) -> Any:
        if isinstance(node, Tensor):
            if id(node) not in mapped:
                mapped[id(node)] = f(node)
            return mapped[id(node)]
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
            return type(node)(**{name: rebuild(child) for name, child in fields.items()})
        if isinstance(node, (list, tuple)):
            children = [rebuild(child) for child in node]
            return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)  # a named tuple
        if isinstance(node, dict):
            return {name: rebuild(child) for name, child in node.items()}
        return node

    return rebuild(tree)  # type: ignore[no-any-return]


def replace_tensors(tree: Tree, tensors: Mapping[str, Tensor]) -> Tree:
    """The same tree with the Tensors named in `tensors` replaced by those. Raises ShapeError for an unknown name."""
    names = named_tensors(tree)
    unknown = sorted(set(tensors) - set(names))
    if unknown:
        raise ShapeError(
            f"replace_tensors: expected names of tensors in the tree, got {unknown[0]!r}: see named_tensors for them"
        )
    by_id = {id(names[name]): x for name, x in tensors.items()}
    return map_tensors(lambda x: by_id.get(id(x), x), tree)


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """(path, Tensor) at every place of the tree that holds one."""
    if isinstance(node, Tensor):
        yield path, node
        return
    children: Iterator[tuple[Any, Any]]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        children = ((field.name, getattr(node, field.name)) for field in dataclasses.fields(node))
    elif isinstance(node, (list, tuple)):
        children = iter(enumerate(node))
    elif isinstance(node, dict):
        children = iter(node.items())
    else:
        return
    for name, child in children:
        yield from walk(child, f"{path}.{name}" if path else str(name))
