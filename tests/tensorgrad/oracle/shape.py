"""Functions that rearrange or select elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.inputs import axes, choices
from tests.tensorgrad.oracle.table import Table

table = Table()

SHAPES = (((3, 4, 2),), ((2, 1),), ((0, 3),))
OTHERS = ("int64", "uint8", "bool")


def each_axis(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=tuple(range(-ndim, ndim)))


# A function of a sequence, called with the members as its arguments.
of_members = {"of": lambda f: lambda *xs, **named: f(xs, **named)}

# --- rearranged --------------------------------------------------------------------------------

table.pair(
    "reshape",
    ((3, 4, 2),),
    arguments=choices(shape=((24,), (-1,), (4, 6), (2, -1, 3), (3, 4, 2), (1, 24, 1))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair("reshape", ((0, 3),), arguments=choices(shape=((3, 0), (0,))), is_view=True)
table.pair("reshape", ((),), arguments=choices(shape=((), (1,), (1, 1))), is_view=True)
table.pair("reshape", ((3, 4),), arguments=choices(shape=((4, 3),), copy=(True,)), kinds=())
table.pair(
    "broadcast_to",
    ((3, 1),),
    arguments=choices(shape=((3, 1), (3, 4), (2, 3, 4), (3, 0))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "permute_dims",
    ((3, 4, 2),),
    arguments=choices(axes=((0, 1, 2), (2, 0, 1), (-1, 1, 0), (1, -3, 2))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "moveaxis",
    ((3, 4, 2),),
    arguments=[
        *choices(source=((0, 2), (2, -2), (-3, 1)), destination=((0, 1), (2, 0), (-1, -3))),
        *choices(source=(0, 2, -1, -3), destination=(0, 1, -1)),
    ],
    is_view=True,
)
table.pair(
    "broadcast_arrays",
    *(((3, 1), (2, 1, 4)), ((), (0, 2)), ((3, 4), (3, 4), (4,))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair("matrix_transpose", *SHAPES, dtypes=OTHERS, is_view=True)
table.pair("expand_dims", *SHAPES, arguments=each_axis, dtypes=OTHERS, is_view=True)
table.pair("squeeze", ((1, 3, 1),), arguments=choices(axis=(0, 2, -1, (0, 2), (-3, -1), ())), is_view=True)
table.pair("flip", *SHAPES, arguments=lambda ndim: choices(axis=tuple(axes(ndim))), dtypes=OTHERS, is_view=True)
table.pair(
    "roll",
    *SHAPES,
    arguments=lambda ndim: choices(shift=(0, 1, -1, 5), axis=tuple(range(-ndim, ndim))),
    dtypes=OTHERS,
)
table.pair(
    "roll",
    ((3, 4, 2),),
    arguments=[*choices(shift=((1, -2), (5, 0)), axis=((0, 1), (-1, 0))), *choices(shift=(0, 3, -25), axis=(None,))],
)
for op in ("tril", "triu"):
    table.pair(
        op,
        *(((2, 3, 4),), ((4, 2),), ((0, 3),), ((1, 1),)),
        arguments=choices(k=(0, 1, -1, -3, 4)),
        dtypes=OTHERS,
    )

# --- joined and parted -------------------------------------------------------------------------

JOINED = (((3, 4, 2),) * 3, ((2, 1),), ((0, 3), (0, 3)))
table.pair("concat", *JOINED, arguments=each_axis, dtypes=OTHERS, **of_members)
table.pair("concat", *(((3, 4), (2,), ()), ((0, 3), (2, 1))), arguments=choices(axis=(None,)), **of_members)
table.pair("concat", ((2, 3), (2, 0), (2, 1)), arguments=choices(axis=(1,)), **of_members)
table.pair(
    "stack",
    *JOINED,
    arguments=lambda ndim: choices(axis=tuple(range(-ndim - 1, ndim + 1))),
    dtypes=OTHERS,
    **of_members,
)
table.pair("unstack", ((3, 4, 2),), ((2, 1),), arguments=each_axis, is_view=True)
table.pair(
    "split",
    ((4, 6, 2),),
    arguments=[*choices(sizes=(1, 2, (1, 1, 0, 2)), axis=(0, -3)), *choices(sizes=(2, 3, (5, 1)), axis=(1, -2))],
    is_view=True,
)

# --- repeated ----------------------------------------------------------------------------------

table.pair(
    "tile",
    *(((3, 4),), ((),), ((0, 2),)),
    arguments=choices(repetitions=((2, 3), (1, 1), (2,), (2, 1, 3), (0, 2), ())),
    dtypes=OTHERS,
)
table.pair(
    "repeat",
    *(((3, 3),), ((3,),)),
    arguments=choices(repeats=(0, 1, 3, np.array([2, 0, 1])), axis=(0, -1)),
    dtypes=OTHERS,
)
table.pair("repeat", *SHAPES, ((),), arguments=choices(repeats=(2,)))
table.pair(
    "meshgrid",
    *(((3,), (4,)), ((2,), (1,), (3,)), ((3,),), ((0,), (2,))),
    arguments=choices(indexing=("ij", "xy")),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "pad",
    ((3, 4),),
    arguments=choices(
        pad_width=(((1, 2), (0, 3)), ((0, 0), (2, 1)), ((2, 2), (3, 3))),
        mode=("constant", "replicate", "reflect", "circular"),
        value=(0, 1.5),
    ),
)
table.pair("pad", ((2, 0),), arguments=choices(pad_width=(((1, 2), (0, 1)),), value=(-1,)))
table.pair("pad", ((4,),), arguments=choices(pad_width=(((1, 2),),), value=(1,)), dtypes=OTHERS[:2])

# --- selected ----------------------------------------------------------------------------------

ROWS = np.array([2, 0, -1, 2])
PLACES = np.array([[0, 1, 1], [1, 0, 1]])
CHOSEN = np.arange(24).reshape(3, 4, 2) % 3 == 0
INDICES = {
    "an integer": 1,
    "from the end": -2,
    "a slice": slice(1, None),
    "steps": (slice(None, None, 2), slice(1, None, 2)),
    "nothing": slice(2, 2),
    "ellipsis": (..., 0),
    "a new axis": (None, 1, ..., None),
    "rows": ROWS,
    "rows and columns": (ROWS, np.array([0, 1, 3, 0])),
    "a grid": (PLACES, slice(1, 3)),
    "apart": (PLACES, slice(None), PLACES),
    "an integer and rows": (0, ROWS),
    "bools": CHOSEN,
    "bools of rows": CHOSEN[:, 0, 0],
    "no bools": np.zeros(3, bool),
    "no rows": np.zeros(0, np.int64),
    "all": (),
}
for index in INDICES.values():
    table.pair("getitem", ((3, 4, 2),), of=lambda f, i=index: lambda x: f(x, i), dtypes=OTHERS, is_view=True)
table.pair(
    "take",
    ((3, 4, 2),),
    arguments=choices(indices=(np.array([1, 0, 1, 1]), np.array([-1]), np.zeros(0, np.int64)), axis=(0, 1, 2, -1, -3)),
    dtypes=OTHERS,
)
table.pair(
    "take_along_axis",
    ((3, 4, 2),),
    arguments=[
        {
            "indices": np.random.default_rng(0).integers(
                0, (3, 4, 2)[axis], np.where(np.arange(3) == axis % 3, size, (3, 4, 2))
            ),
            "axis": axis,
        }
        for axis in (0, 1, 2, -1, -2)
        for size in (1, 5)
    ],
    dtypes=OTHERS,
)
for op, places in (("index_update", [2, 0]), ("index_add", [2, 0, 2])):
    rows = len(places)
    table.pair(
        op,
        *(((3, 4), (rows, 4)), ((3, 4), (4,)), ((3, 4), ())),
        of=lambda f, i=places: lambda x, v: f(x, i, v),
        kinds=("ties", "nan", "infinite"),
    )
table.pair("nonzero", *SHAPES, ((5,),), dtypes=OTHERS)

# --- in order ----------------------------------------------------------------------------------


def in_order(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=tuple(range(-ndim, ndim)), descending=(False, True))


ORDERED = (((3, 4, 2),), ((5,),), ((0, 3),))
table.pair("sort", *ORDERED, arguments=in_order, dtypes=OTHERS)
table.pair(
    "sort",
    *ORDERED,
    arguments=lambda ndim: [{**named, "stable": False} for named in in_order(ndim)],
    kinds=("nan", "infinite"),
    dtypes=OTHERS,
)
table.pair("argsort", *ORDERED, arguments=in_order, dtypes=OTHERS)
table.pair("argsort", ((7,),), arguments=choices(stable=(False,)), kinds=())
table.pair(
    "topk",
    *(((3, 4, 2),), ((3, 5, 3),)),
    arguments=choices(k=(0, 1, 2), axis=(0, 1, -1), largest=(True, False)),
    kinds=(),  # PyTorch does not tell its order of equal elements
)
table.pair(
    "searchsorted",
    *(((5,), (5,)), ((4,), (2, 3)), ((0,), (2,))),
    of=lambda f: (
        lambda x, values, side: f(x.sort().values if isinstance(x, torch.Tensor) else tg.sort(x), values, side=side)
    ),
    arguments=choices(side=("left", "right")),
    kinds=("ties", "infinite"),
    dtypes=("int64", "uint8"),
)
table.pair(
    "searchsorted",
    ((5,), (5,)),
    of=lambda f: (
        lambda x, values: f(x, values, sorter=torch.argsort(x) if isinstance(x, torch.Tensor) else tg.argsort(x))
    ),
    kinds=("ties", "infinite"),
)
table.pair("unique_values", *SHAPES, kinds=("ties", "equal", "infinite"), dtypes=OTHERS)
for op in ("unique_counts", "unique_inverse"):
    table.pair(op, *SHAPES, kinds=("ties", "equal"), dtypes=OTHERS)
