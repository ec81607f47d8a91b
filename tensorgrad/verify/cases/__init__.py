"""The cases of every public function: of the ops, in files that mirror `tensorgrad.ops`, and of `transforms`."""

from tensorgrad.verify.case import Case
from tensorgrad.verify.cases import (
    activation,
    attention,
    convolution,
    distance,
    elementwise,
    index,
    linalg,
    loss,
    matrix,
    nn,
    norm,
    reduce,
    shape,
    sorting,
    transforms,
)

__all__ = ["CASES"]

PARTS = (
    elementwise,
    reduce,
    shape,
    sorting,
    index,
    linalg,
    matrix,
    activation,
    nn,
    loss,
    norm,
    attention,
    convolution,
    distance,
    transforms,
)
CASES: list[Case] = [case for part in PARTS for case in part.table.cases]
