"""A table of pairs: `table.pair(op, shapes, ...)` pairs `op` with PyTorch's spelling of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorgrad as tg
from tests.tensorgrad.oracle.compare import Pair
from tests.tensorgrad.oracle.inputs import Shape
from tests.tensorgrad.oracle.peers import PEERS


class Table:
    """The pairs of one part of the library."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def pair(
        self,
        op: str,
        *shapes: tuple[Shape, ...],
        of: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda f: f,
        **options: Any,
    ) -> None:
        """Compare `of(ours)` with `of(theirs)`, functions of the inputs and of the named arguments."""
        self.pairs.append(Pair(op, of(PEERS[op]), shapes, of(getattr(tg, op)), **options))
