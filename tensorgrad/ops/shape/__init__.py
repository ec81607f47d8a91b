"""Ops that rearrange elements without changing them: views where NumPy can give one."""

from tensorgrad.ops.shape.axes import expand_dims, matrix_transpose, moveaxis, permute_dims, squeeze
from tensorgrad.ops.shape.joining import concat, split, stack, unstack
from tensorgrad.ops.shape.order import flip, roll, tril, triu
from tensorgrad.ops.shape.repetition import meshgrid, pad, repeat, tile

__all__ = [
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "pad",
    "permute_dims",
    "repeat",
    "roll",
    "split",
    "squeeze",
    "stack",
    "tile",
    "tril",
    "triu",
    "unstack",
]
