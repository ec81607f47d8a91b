"""What all tests share: one hypothesis profile, and arrays to test with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

# The same examples on every run and every machine; nothing is written beside the tests.
hypothesis.settings.register_profile("stable", derandomize=True, deadline=None, database=None, max_examples=150)
hypothesis.settings.load_profile("stable")


@pytest.fixture
def cupy() -> Iterator[Any]:
    """CuPy's stand-in, as which `import cupy` finds it for the length of a test: device "cuda" without a GPU."""
    from tests.cupy_stand_in import installed
    from tests.cupy_stand_in.kernels import choosing_anew

    with installed() as module, choosing_anew():
        yield module


@pytest.fixture
def cupy_kernels(cupy: Any) -> Iterator[Any]:
    """`cupy`, with the CUDA kernels run by the shim; gives the shim, which notes what was launched."""
    from tests.cuda_shim import is_available
    from tests.cupy_stand_in.kernels import launching

    if not is_available():
        pytest.skip("needs g++")
    with launching() as shim:
        yield shim


@pytest.fixture
def normal() -> Callable[..., np.ndarray]:
    """normal(*shape, seed=0): a float64 array of standard normal numbers."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng([seed, *shape]).normal(size=shape)

    return make
