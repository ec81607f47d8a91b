"""Rows of a table named by an index, in which rows may repeat: taken, and added to."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array, device_of, module_of
from tensorgrad.kernels.reference.blocks import wide

__all__ = ["scatter_add", "take_rows"]


def take_rows(table: Array, ids: Array) -> Array:
    return table[ids]


def scatter_add(buffer: Array, index: Any, values: Array, order: Array | None = None) -> None:
    xp = module_of(buffer)
    if type(index) is tuple or index.dtype == bool:
        if device_of(buffer) == "cpu":
            xp.add.at(buffer, index, values)
            return
        # CuPy's add.at adds in any order. Elements are rows of one, named by their position in the buffer.
        places = xp.arange(buffer.size).reshape(buffer.shape)[index]
        flat = buffer.reshape(-1)
        scatter_add(flat, places.reshape(-1), xp.broadcast_to(values, places.shape).reshape(-1))
        if not xp.may_share_memory(flat, buffer):
            buffer[...] = flat.reshape(buffer.shape)
        return
    # Rows of a table: sort by row, then sum each run of one row in a fixed order.
    if not index.size or not values.size:
        return
    rows = index.reshape(-1).astype(xp.int64, copy=False)  # narrow integers could not hold the table's length
    values = values.reshape(rows.shape[0], -1)
    rows = xp.where(rows < 0, rows + buffer.shape[0], rows)
    order = xp.argsort(rows, kind="stable") if order is None else order
    ordered = rows[order]
    if device_of(buffer) != "cpu":
        sums = _sums_of_all_rows(buffer.shape[0], ordered, wide(values[order]))
        buffer += sums.reshape(buffer.shape).astype(buffer.dtype, copy=False)
        return
    starts = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]))
    sums = xp.add.reduceat(wide(values[order]), starts, axis=0)
    buffer[ordered[starts]] += sums.reshape(-1, *buffer.shape[1:]).astype(buffer.dtype, copy=False)


def _sums_of_all_rows(num_rows: int, ordered_N: Array, values_NC: Array) -> Array:
    """The sum of each row's values, (num_rows, C), without waiting for the device to tell where runs begin.

    In log2(N) steps each value takes in the values before it in its run, so the last of a run becomes its sum. CuPy's
    add.reduceat takes differences of one running sum, which would lose digits.
    """
    xp = module_of(values_NC)
    reach = 1
    while reach < ordered_N.size:
        is_one_run = (ordered_N[reach:] == ordered_N[:-reach])[:, None]
        values_NC[reach:] += xp.where(is_one_run, values_NC[:-reach], 0)
        reach *= 2
    last = xp.searchsorted(ordered_N, xp.arange(num_rows), side="right") - 1
    is_named = (last >= 0) & (ordered_N[last] == xp.arange(num_rows))
    return xp.where(is_named[:, None], values_NC[last], 0)  # type: ignore[no-any-return]
