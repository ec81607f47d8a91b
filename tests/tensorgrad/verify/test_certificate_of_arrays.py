"""The certificate holds for elementwise functions, reductions, shapes, order and transforms."""

from __future__ import annotations

import pytest

from tensorgrad.verify.cases import elementwise, index, reduce, shape, sorting, transforms
from tests.tensorgrad.verify.holds import holds, names

PARTS = (elementwise, index, reduce, shape, sorting, transforms)


@pytest.mark.untraced
@pytest.mark.parametrize("name", names(PARTS))
def test_values_and_derivatives(name: str) -> None:
    holds(name)
