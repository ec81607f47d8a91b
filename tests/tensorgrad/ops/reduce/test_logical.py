"""What counts as zero, for every dtype."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorgrad as tg


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64"])
def test_every_dtype(dtype: str) -> None:
    x = tg.tensor([[0, 1, 0], [1, 1, 1]], dtype=dtype)
    assert tg.any(x, axis=0).numpy().tolist() == [True, True, True]
    assert tg.all(x, axis=1).numpy().tolist() == [False, True]
    count = tg.count_nonzero(x, axis=1)
    assert (count.numpy().tolist(), count.dtype) == ([1, 3], np.int64)
    assert tg.count_nonzero(x).item() == 4


def test_nan_is_not_zero_and_minus_zero_is() -> None:
    x = tg.tensor([math.nan, -0.0])
    assert (tg.any(x).item(), tg.all(x).item(), tg.count_nonzero(x).item()) == (True, False, 1)
    assert tg.all(x[:1]).item() is True


def test_of_no_elements() -> None:
    x = tg.zeros((0, 2))
    assert (tg.any(x).item(), tg.all(x).item(), tg.count_nonzero(x).item()) == (False, True, 0)
