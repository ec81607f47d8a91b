"""The certificate holds for the functions of neural networks."""

from __future__ import annotations

import pytest

from tensorgrad.verify.cases import activation, attention, convolution, distance, loss, nn, norm
from tests.tensorgrad.verify.holds import holds, names

PARTS = (activation, attention, convolution, distance, loss, nn, norm)


@pytest.mark.untraced
@pytest.mark.parametrize("name", names(PARTS))
def test_values_and_derivatives(name: str) -> None:
    holds(name)
