"""A table of pairs: `table.pair(op, theirs, shapes, ...)` adds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorgrad as tg
from tests.tensorgrad.oracle.compare import Pair
from tests.tensorgrad.oracle.inputs import Shape


class Table:
    """The pairs of one part of the library."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def pair(
        self,
        op: str,
        theirs: Callable[..., Any],
        *shapes: tuple[Shape, ...],
        ours: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        self.pairs.append(Pair(op, theirs, shapes, ours or getattr(tg, op), **options))
