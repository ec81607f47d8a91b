"""The certificate holds for products, norms, systems and decompositions."""

from __future__ import annotations

import pytest

from tensorgrad.verify.cases import linalg, matrix
from tests.tensorgrad.verify.holds import holds, names

PARTS = (linalg, matrix)


@pytest.mark.untraced
@pytest.mark.parametrize("name", names(PARTS))
def test_values_and_derivatives(name: str) -> None:
    holds(name)
