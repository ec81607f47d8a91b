"""The cases of every public function, in the files that mirror `tensorgrad.ops`."""

from tensorgrad.verify.case import Case
from tensorgrad.verify.cases import elementwise, index, linalg, nn, reduce, shape

__all__ = ["CASES"]

CASES: list[Case] = [case for part in (elementwise, reduce, shape, index, linalg, nn) for case in part.table.cases]
