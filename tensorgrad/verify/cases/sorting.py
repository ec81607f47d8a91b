"""Ops that order elements, or find their place in an order."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case, constant = table.case, table.constant


def along(x: Array, axis: int, order_row: Any) -> Array:
    """A Python function of each row along `axis`."""
    rows = np.moveaxis(x, axis, -1)
    out = [order_row(row.tolist()) for row in rows.reshape(-1, rows.shape[-1])]
    return np.moveaxis(np.array(out).reshape(*rows.shape[:-1], len(out[0])), -1, axis)


def indices_in_order(row: list[float], descending: bool = False) -> list[int]:
    return sorted(range(len(row)), key=row.__getitem__, reverse=descending)


for axis in (-1, 0):
    for descending in (False, True):
        options: dict[str, Any] = {"axis": axis, "descending": descending, "stable": axis == 0}
        case(
            "sort",
            tg.sort,
            lambda x, axis, descending, stable: along(x, axis, lambda row: sorted(row, reverse=descending)),
            "3x4, 5, 2x1x3",
            domain="distinct",
            label=f"{axis}-{descending}",
            **options,
        )
        constant(
            "argsort",
            tg.argsort,
            lambda x, axis, descending, stable: along(x, axis, lambda row: indices_in_order(row, descending)),
            "3x4, 5",
            domain="distinct",
            label=f"{axis}-{descending}",
            **options,
        )
    for largest in (True, False):
        for k in (0, 2):
            options = {"axis": axis, "largest": largest, "k": k}
            case(
                "topk",
                lambda x, **o: tg.topk(x, **o)[0],
                lambda x, axis, largest, k: along(x, axis, lambda row: sorted(row, reverse=largest)[:k]),
                "3x4, 5",
                domain="distinct",
                **options,
            )
            constant(
                "topk",
                lambda x, **o: tg.topk(x, **o)[1],
                lambda x, axis, largest, k: along(x, axis, lambda row: indices_in_order(row, largest)[:k]),
                "3x4",
                domain="distinct",
                label=f"indices-{axis}-{largest}-{k}",
                **options,
            )
case("sort", tg.sort, lambda x: x, "0, 2x0, 0x3, 3x1")
for side in ("left", "right"):
    constant(
        "searchsorted",
        lambda x, v, side: tg.searchsorted(tg.sort(x), v, side=side),
        lambda x, v, side: (v[..., None] > x).sum(axis=-1),
        "5 2x3, 0 2, 3 scalar",
        side=side,
    )
constant(
    "searchsorted",
    lambda x: tg.searchsorted(x, x, sorter=tg.argsort(x), side="right"),
    lambda x: (x[:, None] >= x).sum(axis=-1),
    "4",
    domain="distinct",
    label="sorter",
)


def repeated(x: Any) -> Any:
    """x joined with itself: every element occurs twice."""
    return tg.concat([x, x])


def occurrences(x: Array) -> list[tuple[float, list[int]]]:
    """Each distinct element in ascending order, and its positions in `repeated(x)`, flattened."""
    row = 2 * x.ravel().tolist()
    return [(v, [i for i, other in enumerate(row) if other == v]) for v in sorted(set(row))]


constant(
    "unique_values", lambda x: tg.unique_values(repeated(x)), lambda x: np.array([v for v, _ in occurrences(x)]), "5, 0"
)
constant(
    "unique_counts",
    lambda x: tg.unique_counts(repeated(x)).counts,
    lambda x: np.array([len(places) for _, places in occurrences(x)]),
    "5, 2x3",
)
constant(
    "unique_inverse",
    lambda x: (u := tg.unique_inverse(repeated(x))).values[u.inverse_indices],
    lambda x: np.concatenate([x, x]),
    "5, 2x3",
)
constant(
    "unique_all",
    lambda x: tg.unique_all(repeated(x)).indices,
    lambda x: np.array([places[0] for _, places in occurrences(x)]),
    "5, 2x3",
)
