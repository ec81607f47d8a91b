"""Ops that order elements, or find their place in an order."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case


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
            lambda x, o=options: tg.sort(x, **o),
            lambda x, o=options: along(x, o["axis"], lambda row: sorted(row, reverse=o["descending"])),
            ((3, 4),),
            ((5,),),
            ((2, 1, 3),),
            domain="distinct",
            label=f"{axis}-{descending}-",
        )
        case(
            "argsort",
            lambda x, o=options: tg.argsort(x, **o),
            lambda x, o=options: along(x, o["axis"], lambda row: indices_in_order(row, o["descending"])),
            ((3, 4),),
            ((5,),),
            domain="distinct",
            is_differentiable=False,
            label=f"{axis}-{descending}-",
        )
    for largest in (True, False):
        for k in (0, 2):
            options = {"axis": axis, "largest": largest}
            case(
                "topk",
                lambda x, k=k, o=options: tg.topk(x, k, **o)[0],
                lambda x, k=k, o=options: along(x, o["axis"], lambda row: sorted(row, reverse=o["largest"])[:k]),
                ((3, 4),),
                ((5,),),
                domain="distinct",
                label=f"{axis}-{largest}-{k}-",
            )
            case(
                "topk",
                lambda x, k=k, o=options: tg.topk(x, k, **o)[1],
                lambda x, k=k, o=options: along(x, o["axis"], lambda row: indices_in_order(row, o["largest"])[:k]),
                ((3, 4),),
                domain="distinct",
                is_differentiable=False,
                label=f"indices-{axis}-{largest}-{k}-",
            )
case("sort", tg.sort, lambda x: x, ((0,),), ((2, 0),), ((0, 3),), ((3, 1),))
for side in ("left", "right"):
    case(
        "searchsorted",
        lambda x, v, s=side: tg.searchsorted(tg.sort(x), v, side=s),
        lambda x, v: (v[..., None] > x).sum(axis=-1),
        ((5,), (2, 3)),
        ((0,), (2,)),
        ((3,), ()),
        is_differentiable=False,
        label=f"{side}-",
    )
case(
    "searchsorted",
    lambda x: tg.searchsorted(x, x, sorter=tg.argsort(x), side="right"),
    lambda x: (x[:, None] >= x).sum(axis=-1),
    ((4,),),
    domain="distinct",
    is_differentiable=False,
    label="sorter-",
)


def repeated(x: Any) -> Any:
    """With every element twice."""
    return tg.concat([x, x])


def occurrences(x: Array) -> list[tuple[float, list[int]]]:
    """Each distinct element in order, and where it is in the flattened x that comes twice."""
    row = 2 * x.ravel().tolist()
    return [(v, [i for i, other in enumerate(row) if other == v]) for v in sorted(set(row))]


case(
    "unique_values",
    lambda x: tg.unique_values(repeated(x)),
    lambda x: np.array([v for v, _ in occurrences(x)]),
    ((5,),),
    ((0,),),
    is_differentiable=False,
)
case(
    "unique_counts",
    lambda x: tg.unique_counts(repeated(x)).counts,
    lambda x: np.array([len(places) for _, places in occurrences(x)]),
    ((5,),),
    ((2, 3),),
    is_differentiable=False,
)
case(
    "unique_inverse",
    lambda x: (u := tg.unique_inverse(repeated(x))).values[u.inverse_indices],
    lambda x: np.concatenate([x, x]),
    ((5,),),
    ((2, 3),),
    is_differentiable=False,
)
case(
    "unique_all",
    lambda x: tg.unique_all(repeated(x)).indices,
    lambda x: np.array([places[0] for _, places in occurrences(x)]),
    ((5,),),
    ((2, 3),),
    is_differentiable=False,
)
