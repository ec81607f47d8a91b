"""Adding into rows that an index may name again and again."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array, module_of


def scatter_add(buffer: Array, index: Any, values: Array, order: Array | None = None) -> None:
    xp = module_of(buffer)
    if type(index) is tuple or index.dtype == bool:
        xp.add.at(buffer, index, values)
        return
    # Rows of a table: sorted by row, then each run of one row is summed in a fixed order.
    if not index.size or not values.size:
        return
    rows = index.reshape(-1).astype(xp.int64, copy=False)  # narrow integers could not hold the table's length
    values = values.reshape(rows.shape[0], -1)
    rows = xp.where(rows < 0, rows + buffer.shape[0], rows)
    order = xp.argsort(rows, kind="stable") if order is None else order
    ordered = rows[order]
    starts = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]))
    sums = xp.add.reduceat(values[order], starts, axis=0)
    buffer[ordered[starts]] += sums.reshape(-1, *buffer.shape[1:])
