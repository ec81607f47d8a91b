"""Functions that rearrange or select elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tests.tensorgrad.oracle.inputs import KINDS, axes, choices
from tests.tensorgrad.oracle.table import Table

table = Table()

SHAPES = (((3, 4, 2),), ((2, 1),), ((0, 3),))
OTHERS = ("int64", "uint8", "bool")


def each_axis(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=tuple(range(-ndim, ndim)))


def several(op: str) -> Any:
    """Ours of a sequence, as a function of its members."""
    return lambda *xs, **rest: getattr(tg, op)(xs, **rest)


# --- rearranged --------------------------------------------------------------------------------

table.pair(
    "reshape",
    lambda x, shape: x.reshape(shape),
    ((3, 4, 2),),
    arguments=choices(shape=((24,), (-1,), (4, 6), (2, -1, 3), (3, 4, 2), (1, 24, 1))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "reshape", lambda x, shape: x.reshape(shape), ((0, 3),), arguments=choices(shape=((3, 0), (0,))), is_view=True
)
table.pair(
    "reshape", lambda x, shape: x.reshape(shape), ((),), arguments=choices(shape=((), (1,), (1, 1))), is_view=True
)
table.pair(
    "broadcast_to",
    lambda x, shape: torch.broadcast_to(x, shape),
    ((3, 1),),
    arguments=choices(shape=((3, 1), (3, 4), (2, 3, 4), (3, 0))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "permute_dims",
    lambda x, axes: x.permute(axes),
    ((3, 4, 2),),
    arguments=choices(axes=((0, 1, 2), (2, 0, 1), (-1, 1, 0), (1, -3, 2))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "moveaxis",
    lambda x, source, destination: x.moveaxis(source, destination),
    ((3, 4, 2),),
    arguments=choices(source=((0, 2), (2, -2), (-3, 1)), destination=((0, 1), (2, 0), (-1, -3))),
    ours=lambda x, source, destination: tg.moveaxis(x, source, destination),
    is_view=True,
)
table.pair(
    "broadcast_arrays",
    lambda *xs: torch.broadcast_tensors(*xs),
    *(((3, 1), (2, 1, 4)), ((), (0, 2)), ((3, 4), (3, 4), (4,))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair("matrix_transpose", lambda x: x.mT, *SHAPES, dtypes=OTHERS, is_view=True)
table.pair(
    "moveaxis",
    lambda x, source, destination: x.moveaxis(source, destination),
    ((3, 4, 2),),
    arguments=choices(source=(0, 2, -1, -3), destination=(0, 1, -1)),
    ours=lambda x, source, destination: tg.moveaxis(x, source, destination),
    is_view=True,
)
table.pair("expand_dims", lambda x, axis: x.unsqueeze(axis), *SHAPES, arguments=each_axis, dtypes=OTHERS, is_view=True)
table.pair(
    "squeeze",
    lambda x, axis: x.squeeze(axis),
    ((1, 3, 1),),
    ours=lambda x, axis: tg.squeeze(x, axis=axis),
    arguments=choices(axis=(0, 2, -1, (0, 2), (-3, -1), ())),
    is_view=True,
)
table.pair(
    "flip",
    lambda x, axis: x.flip(tuple(range(x.ndim)) if axis is None else axis),
    *SHAPES,
    arguments=lambda ndim: choices(axis=tuple(axes(ndim))),
    dtypes=OTHERS,
    is_view=True,
)
table.pair(
    "roll",
    lambda x, shift, axis: x.roll(shift, axis),
    *SHAPES,
    ours=lambda x, shift, axis: tg.roll(x, shift, axis=axis),
    arguments=lambda ndim: choices(shift=(0, 1, -1, 5), axis=tuple(range(-ndim, ndim))),
    dtypes=OTHERS,
)
table.pair(
    "roll",
    lambda x, shift, axis: x.roll(shift, axis),
    ((3, 4, 2),),
    ours=lambda x, shift, axis: tg.roll(x, shift, axis=axis),
    arguments=[*choices(shift=((1, -2), (5, 0)), axis=((0, 1), (-1, 0))), *choices(shift=(0, 3, -25), axis=(None,))],
)
for op in ("tril", "triu"):
    table.pair(
        op,
        lambda x, k, f=getattr(torch, op): f(x, k),
        *(((2, 3, 4),), ((4, 2),), ((0, 3),), ((1, 1),)),
        arguments=choices(k=(0, 1, -1, -3, 4)),
        dtypes=OTHERS,
    )

# --- joined and parted -------------------------------------------------------------------------

table.pair(
    "concat",
    lambda *xs, axis: torch.cat(xs, axis),
    *(((3, 4, 2),) * 3, ((2, 1),), ((0, 3), (0, 3))),
    ours=several("concat"),
    arguments=each_axis,
    dtypes=OTHERS,
)
table.pair(
    "concat",
    lambda *xs: torch.cat([x.reshape(-1) for x in xs]),
    *(((3, 4), (2,), ()), ((0, 3), (2, 1))),
    ours=lambda *xs: tg.concat(xs, axis=None),
)
table.pair("concat", lambda *xs: torch.cat(xs, 1), ((2, 3), (2, 0), (2, 1)), ours=lambda *xs: tg.concat(xs, axis=1))
table.pair(
    "stack",
    lambda *xs, axis: torch.stack(xs, axis),
    *(((3, 4, 2),) * 3, ((2, 1),), ((0, 3), (0, 3))),
    ours=several("stack"),
    arguments=lambda ndim: choices(axis=tuple(range(-ndim - 1, ndim + 1))),
    dtypes=OTHERS,
)
table.pair("unstack", lambda x, axis: x.unbind(axis), ((3, 4, 2),), ((2, 1),), arguments=each_axis, is_view=True)
table.pair(
    "split",
    lambda x, sizes, axis: x.split(x.shape[axis] // sizes if isinstance(sizes, int) else sizes, axis),
    ((4, 6, 2),),
    ours=lambda x, sizes, axis: tg.split(x, sizes, axis=axis),
    arguments=[*choices(sizes=(1, 2, (1, 1, 0, 2)), axis=(0, -3)), *choices(sizes=(2, 3, (5, 1)), axis=(1, -2))],
    is_view=True,
)

# --- repeated ----------------------------------------------------------------------------------

table.pair(
    "tile",
    lambda x, repetitions: x.tile(repetitions),
    *(((3, 4),), ((),), ((0, 2),)),
    arguments=choices(repetitions=((2, 3), (1, 1), (2,), (2, 1, 3), (0, 2), ())),
    dtypes=OTHERS,
)
table.pair(
    "repeat",
    lambda x, repeats, axis: x.repeat_interleave(
        torch.tensor(repeats) if isinstance(repeats, np.ndarray) else repeats, axis
    ),
    *(((3, 3),), ((3,),)),
    ours=lambda x, repeats, axis: tg.repeat(x, repeats, axis=axis),
    arguments=choices(repeats=(0, 1, 3, np.array([2, 0, 1])), axis=(0, -1)),
    dtypes=OTHERS,
)
table.pair("repeat", lambda x: x.repeat_interleave(2), *SHAPES, ((),), ours=lambda x: tg.repeat(x, 2))
table.pair(
    "meshgrid",
    lambda *xs, indexing: torch.meshgrid(*xs, indexing=indexing),
    *(((3,), (4,)), ((2,), (1,), (3,)), ((3,),), ((0,), (2,))),
    arguments=choices(indexing=("ij", "xy")),
    dtypes=OTHERS,
    is_view=True,
)


def padded(x: Any, pad_width: Any, mode: str, value: float) -> Any:
    """PyTorch's widths begin at the last axis."""
    widths = [n for pair in pad_width[::-1] for n in pair]
    if mode == "constant":
        return torch.nn.functional.pad(x, widths, mode, value)
    return torch.nn.functional.pad(x[None, None], widths, mode)[0, 0]


table.pair(
    "pad",
    padded,
    ((3, 4),),
    arguments=choices(
        pad_width=(((1, 2), (0, 3)), ((0, 0), (2, 1)), ((2, 2), (3, 3))),
        mode=("constant", "replicate", "reflect", "circular"),
        value=(0, 1.5),
    ),
)
table.pair("pad", padded, ((2, 0),), arguments=({"pad_width": ((1, 2), (0, 1)), "mode": "constant", "value": -1},))
table.pair(
    "pad", padded, ((4,),), arguments=({"pad_width": ((1, 2),), "mode": "constant", "value": 1},), dtypes=OTHERS[:2]
)

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


def indexed(x: Any, index: Any) -> Any:
    return x[tuple(map(as_peer, index)) if isinstance(index, tuple) else as_peer(index)]


def as_peer(part: Any) -> Any:
    return torch.tensor(part) if isinstance(part, np.ndarray) else part


for index in INDICES.values():
    table.pair(
        "getitem",
        lambda x, i=index: indexed(x, i),
        ((3, 4, 2),),
        ours=lambda x, i=index: tg.getitem(x, i),
        dtypes=OTHERS,
        is_view=True,
    )
table.pair(
    "take",
    lambda x, indices, axis: x[(slice(None),) * (axis % x.ndim) + (indices,)],
    ((3, 4, 2),),
    ours=lambda x, indices, axis: tg.take(x, indices, axis=axis),
    arguments=choices(indices=(np.array([1, 0, 1, 1]), np.array([-1]), np.zeros(0, np.int64)), axis=(0, 1, 2, -1, -3)),
    dtypes=OTHERS,
)
table.pair(
    "take_along_axis",
    lambda x, indices, axis: torch.take_along_dim(x, indices, axis),
    ((3, 4, 2),),
    ours=lambda x, indices, axis: tg.take_along_axis(x, indices, axis=axis),
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
table.pair(
    "index_update",
    lambda x, v: x.index_put((torch.tensor([2, 0]),), v),
    *(((3, 4), (2, 4)), ((3, 4), (4,)), ((3, 4), ())),
    ours=lambda x, v: tg.index_update(x, np.array([2, 0]), v),
    kinds=("ties", "nan", "infinite"),
)
table.pair(
    "index_add",
    lambda x, v: x.index_put((torch.tensor([2, 0, 2]),), v, accumulate=True),
    *(((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 4), ())),
    ours=lambda x, v: tg.index_add(x, np.array([2, 0, 2]), v),
    kinds=("ties", "nan", "infinite"),
)
table.pair("nonzero", lambda x: torch.nonzero(x, as_tuple=True), *SHAPES, ((5,),), dtypes=OTHERS)

# --- in order ----------------------------------------------------------------------------------

for stable in (True, False):
    table.pair(
        "sort",
        lambda x, axis, descending: torch.sort(x, dim=axis, descending=descending, stable=True).values,
        *(((3, 4, 2),), ((5,),), ((0, 3),)),
        ours=lambda x, axis, descending, s=stable: tg.sort(x, axis=axis, descending=descending, stable=s),
        arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), descending=(False, True)),
        kinds=KINDS if stable else ("nan", "infinite"),
        dtypes=OTHERS,
    )
table.pair(
    "argsort",
    lambda x, axis, descending: torch.argsort(x, dim=axis, descending=descending, stable=True),
    *(((3, 4, 2),), ((5,),), ((0, 3),)),
    arguments=lambda ndim: choices(axis=tuple(range(-ndim, ndim)), descending=(False, True)),
    dtypes=OTHERS,
)
table.pair(
    "topk",
    lambda x, k, axis, largest: torch.topk(x, k, axis, largest),
    *(((3, 4, 2),), ((3, 5, 3),)),
    arguments=choices(k=(0, 1, 2), axis=(0, 1, -1), largest=(True, False)),
    kinds=(),  # PyTorch's order of equal elements is not told
    dtypes=(),
)
table.pair(
    "searchsorted",
    lambda x, values, side: torch.searchsorted(x.sort().values, values, side=side),
    *(((5,), (5,)), ((4,), (2, 3)), ((0,), (2,))),
    ours=lambda x, values, side: tg.searchsorted(tg.sort(x), values, side=side),
    arguments=choices(side=("left", "right")),
    kinds=("ties", "infinite"),
    dtypes=("int64", "uint8"),
)
table.pair(
    "unique_values", lambda x: torch.unique(x.detach()), *SHAPES, kinds=("ties", "equal", "infinite"), dtypes=OTHERS
)
table.pair(
    "unique_counts",
    lambda x: torch.unique(x.detach(), return_counts=True),
    *SHAPES,
    kinds=("ties", "equal"),
    dtypes=OTHERS,
)
table.pair(
    "unique_inverse",
    lambda x: torch.unique(x.detach(), return_inverse=True),
    *SHAPES,
    kinds=("ties", "equal"),
    dtypes=OTHERS,
)
table.pair(
    "searchsorted",
    lambda x, values: torch.searchsorted(x, values, sorter=torch.argsort(x)),
    ((5,), (5,)),
    ours=lambda x, values: tg.searchsorted(x, values, sorter=tg.argsort(x)),
    kinds=("ties", "infinite"),
)
table.pair("argsort", lambda x: torch.argsort(x), ((7,),), ours=lambda x: tg.argsort(x, stable=False), kinds=())
table.pair(
    "reshape", lambda x: x.reshape(4, 3).clone(), ((3, 4),), ours=lambda x: tg.reshape(x, (4, 3), copy=True), kinds=()
)
